"""Who appears in the sample: people as a few dozen numbers, drawn at random.

Lengths are in head units: half the width of an average head is 1, x grows to the right, y downwards and (0, 0) lies
between the eyes, a little above the middle of the face.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

HAIR_STYLES = ("short", "parted", "long", "curly", "bald")
# Few bald people: without hair one head looks much like the next.
HAIR_SHARES = (0.28, 0.24, 0.26, 0.12, 0.10)

# Six skin tones from light to dark (RGB), about evenly spaced on the Fitzpatrick scale; people lie between them.
SKIN_TONES = np.array(
    [(246, 213, 191), (232, 190, 162), (214, 166, 132), (184, 130, 96), (142, 96, 68), (104, 70, 52)],
    np.float32,
)
HAIR_COLOURS = np.array([(34, 28, 26), (58, 42, 34), (92, 64, 44), (142, 104, 66), (196, 160, 108)], np.float32)
GREY_HAIR = np.array((168, 164, 160), np.float32)
IRIS_COLOURS = np.array([(58, 38, 26), (84, 56, 34), (86, 88, 54), (78, 104, 126), (92, 102, 108)], np.float32)


@dataclass(frozen=True)
class Features:
    """The inner face: what a face swap replaces. Head units; red, green and blue in 0..255."""

    eye_gap: float  # from the middle to the centre of an eye
    eye_y: float
    eye_width: float  # half of it
    eye_height: float  # opening as a share of the half width
    eye_tilt: float  # radians, outer corner up
    iris_size: float  # as a share of the half width
    iris_red: float
    iris_green: float
    iris_blue: float
    lid_shade: float  # how dark lids and lashes are, 0..1
    brow_y: float  # above the eye
    brow_width: float
    brow_thickness: float
    brow_arch: float
    brow_tilt: float
    brow_density: float
    nose_y: float
    nose_width: float
    nose_height: float
    mouth_y: float
    mouth_width: float  # half of it
    lip_upper: float
    lip_lower: float
    lip_red: float  # 0 pale .. 1 painted
    smile: float  # how far the corners of the mouth are raised, head units
    cheek_fullness: float
    cheek_red: float


@dataclass(frozen=True)
class Look:
    """Where the inner face sits on the head and how it takes the light.

    Every person has such a look; a temporal fake takes its values from the same distribution anew every few frames,
    so that each single frame could be an honest one.
    """

    shift_x: float  # head units
    shift_y: float
    turn: float  # radians
    size: float  # 1 is average
    red: float  # gain of the inner face against ears and neck, 0 is none
    green: float
    blue: float
    slope: float  # gain growing from the left cheek to the right one


# Standard deviations of a look among people. They are also the size of the temporal faults, which must be seen on a
# face 70 pixels high: 0.04 of half a head is 1.4 pixels there, 0.058 of a skin tone 9 grey levels.
LOOK_SPREAD = Look(0.040, 0.042, 0.026, 0.032, 0.058, 0.054, 0.058, 0.070)
LOOK_AVERAGE = Look(0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0)
# Gain that all three colours share: the sum of the spreads is then mostly brightness and partly tint.
SHARED_GAIN = 0.92


@dataclass(frozen=True)
class Person:
    """One drawn person: the inner face, the head around it, and the voice."""

    features: Features
    look: Look
    head_width: float
    skull_height: float
    chin_y: float
    jaw_taper: float  # 0 square .. 0.5 pointed
    jaw_power: float
    ear_size: float
    skin: tuple[float, float, float]
    age: float  # 0 young .. 1 old
    freckles: float
    hair_style: str
    hair_colour: tuple[float, float, float]
    hair_volume: float
    hairline: float
    parting: float  # -1 left .. 1 right
    beard: float  # 0 none, 0.3 stubble .. 1 full
    glasses: bool
    pitch: float  # of the voice, Hz
    texture_seed: int


def draw_features(rng: np.random.Generator, tone: float) -> Features:
    """Draws an inner face, nearly every number independently and evenly over what looks natural.

    `tone` is the skin's, 0 light .. 5 dark: dark skin goes with brown eyes.
    """

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    iris = IRIS_COLOURS[rng.integers(len(IRIS_COLOURS) if tone < 2.5 else 2)] * rng.uniform(0.85, 1.15)
    return Features(
        eye_gap=between(0.38, 0.46),
        eye_y=between(-0.03, 0.05),
        eye_width=between(0.185, 0.235),
        eye_height=between(0.38, 0.54),
        eye_tilt=between(-0.05, 0.13),
        iris_size=between(0.40, 0.48),
        iris_red=float(iris[0]),
        iris_green=float(iris[1]),
        iris_blue=float(iris[2]),
        lid_shade=between(0.3, 1.0),
        brow_y=between(0.25, 0.35),
        brow_width=between(0.26, 0.34),
        brow_thickness=between(0.035, 0.075),
        brow_arch=between(0.02, 0.09),
        brow_tilt=between(-0.06, 0.12),
        brow_density=between(0.55, 1.0),
        nose_y=between(0.46, 0.58),
        nose_width=between(0.8, 1.35),
        nose_height=between(0.8, 1.25),
        mouth_y=between(0.80, 0.92),
        mouth_width=between(0.31, 0.42),
        lip_upper=between(0.050, 0.100),
        lip_lower=between(0.075, 0.130),
        lip_red=between(0.1, 0.9),
        smile=between(-0.008, 0.045),
        cheek_fullness=between(0.3, 1.3),
        cheek_red=between(0.2, 1.0),
    )


def draw_look(rng: np.random.Generator) -> Look:
    """Draws where an inner face sits and how it takes the light, bell-shaped and cut at two standard deviations."""

    def normal() -> float:
        return float(np.clip(rng.normal(), -2.0, 2.0))

    values = {item.name: normal() for item in fields(Look)}
    shared = normal()
    for colour in ("red", "green", "blue"):
        values[colour] = SHARED_GAIN * shared + (1 - SHARED_GAIN**2) ** 0.5 * values[colour]
    return Look(
        **{name: getattr(LOOK_AVERAGE, name) + value * getattr(LOOK_SPREAD, name) for name, value in values.items()}
    )


def draw_people(rng: np.random.Generator, count: int) -> list[Person]:
    """Draws people whose skin tones are spread evenly, in no order."""
    tones = (rng.permutation(count) + rng.random(count)) / count * (len(SKIN_TONES) - 1)
    return [draw_person(rng, float(tone)) for tone in tones]


def draw_person(rng: np.random.Generator, tone: float) -> Person:
    """Draws one person with skin of this tone, 0 light .. 5 dark."""
    female = rng.random() < 0.5
    age = float(rng.beta(1.4, 1.8))
    skin = np.array([np.interp(tone, np.arange(len(SKIN_TONES)), SKIN_TONES[:, c]) for c in range(3)])
    # Light hair goes with light skin; grey comes with age.
    hair_tone = np.clip(rng.uniform(0, 4) * (1 - tone / 5), 0, 4)
    hair = np.array([np.interp(hair_tone, np.arange(5), HAIR_COLOURS[:, c]) for c in range(3)])
    grey = np.clip((age - 0.55) * 2.2, 0, 1) * rng.uniform(0.3, 1)
    hair = hair * (1 - grey) + GREY_HAIR * grey
    style = str(rng.choice(HAIR_STYLES, p=HAIR_SHARES))
    if female and style == "bald":
        style = "long"
    if not female and style == "long" and rng.random() < 0.7:
        style = "short"
    bearded = not female and rng.random() < 0.55
    features = draw_features(rng, tone)
    if not female:
        features = replace(features, lip_red=features.lip_red * 0.45, lid_shade=features.lid_shade * 0.6)
    return Person(
        features=features,
        look=draw_look(rng),
        head_width=float(rng.uniform(0.93, 1.03)),
        skull_height=float(rng.uniform(1.26, 1.38)),
        chin_y=float(rng.uniform(1.28, 1.36) if female else rng.uniform(1.32, 1.42)),
        jaw_taper=float(rng.uniform(0.16, 0.30) if female else rng.uniform(0.08, 0.22)),
        jaw_power=float(rng.uniform(2.0, 2.5) if female else rng.uniform(2.2, 2.9)),
        ear_size=float(rng.uniform(0.85, 1.15)),
        skin=(float(skin[0]), float(skin[1]), float(skin[2])),
        age=age,
        freckles=float(max(0.0, rng.uniform(-1.0, 1.0)) * (tone < 2)),
        hair_style=style,
        hair_colour=(float(hair[0]), float(hair[1]), float(hair[2])),
        hair_volume=float(rng.uniform(0.7, 1.3)),
        hairline=float(rng.uniform(-0.90, -0.74) - 0.10 * (not female) * age),
        parting=float(rng.choice((-1, 1)) * rng.uniform(0.4, 1.0)),
        beard=float(rng.choice((0.25, 0.6, 0.95))) if bearded else 0.0,
        glasses=bool(rng.random() < 0.2),
        pitch=float(rng.uniform(165, 240) if female else rng.uniform(90, 150)),
        texture_seed=int(rng.integers(2**31)),
    )


def mix_features(first: Features, second: Features, weight: float) -> Features:
    """The inner face at `weight` (0..1) of the way from the first to the second."""
    return Features(
        *((1 - weight) * getattr(first, item.name) + weight * getattr(second, item.name) for item in fields(Features))
    )


def look_values(look: Look) -> np.ndarray:
    """A look as an array (8,), in the order of its fields."""
    return np.array([getattr(look, item.name) for item in fields(Look)])
