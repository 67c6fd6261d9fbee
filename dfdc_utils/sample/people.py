"""Who appears in the sample: people as a few dozen numbers, drawn at random.

Lengths are in head units: half the width of an average head is 1, x grows to the right, y grows downwards, and (0, 0)
lies between the eyes, a little above the middle of the face. Colours are RGB, 0..255.
"""

from dataclasses import dataclass
from typing import Annotated, NamedTuple, get_type_hints

import numpy as np

# Probability of each hair style. Few people are bald: without hair, heads look much alike.
HAIR_STYLES = {"short": 0.28, "parted": 0.24, "long": 0.26, "curly": 0.12, "bald": 0.10}
# Six skin tones from light to dark, about evenly spaced on the Fitzpatrick scale; people lie between them.
SKIN_TONES = np.array(
    [(246, 213, 191), (232, 190, 162), (214, 166, 132), (184, 130, 96), (142, 96, 68), (104, 70, 52)], np.float32
)
HAIR_COLOURS = np.array([(34, 28, 26), (58, 42, 34), (92, 64, 44), (142, 104, 66), (196, 160, 108)], np.float32)
GREY_HAIR = np.array((168, 164, 160), np.float32)
IRIS_COLOURS = np.array([(58, 38, 26), (84, 56, 34), (86, 88, 54), (78, 104, 126), (92, 102, 108)], np.float32)


class Features(NamedTuple):
    """The inner face, which a face swap replaces. Each number is drawn uniformly from the range beside it."""

    eye_gap: Annotated[float, 0.38, 0.46]  # from the middle of the face to the centre of an eye
    eye_y: Annotated[float, -0.03, 0.05]
    eye_width: Annotated[float, 0.185, 0.235]  # half of it
    eye_height: Annotated[float, 0.38, 0.54]  # opening, relative to the half width
    eye_tilt: Annotated[float, -0.05, 0.13]  # radians, outer corner up
    iris_size: Annotated[float, 0.40, 0.48]  # relative to the half width
    iris_red: float
    iris_green: float
    iris_blue: float
    lid_shade: Annotated[float, 0.3, 1.0]  # how dark lids and lashes are, 0..1
    brow_y: Annotated[float, 0.25, 0.35]  # above the eye
    brow_width: Annotated[float, 0.26, 0.34]
    brow_thickness: Annotated[float, 0.035, 0.075]
    brow_arch: Annotated[float, 0.02, 0.09]
    brow_tilt: Annotated[float, -0.06, 0.12]
    brow_density: Annotated[float, 0.55, 1.0]
    nose_y: Annotated[float, 0.46, 0.58]
    nose_width: Annotated[float, 0.8, 1.35]
    nose_height: Annotated[float, 0.8, 1.25]
    mouth_y: Annotated[float, 0.80, 0.92]
    mouth_width: Annotated[float, 0.31, 0.42]  # half of it
    lip_upper: Annotated[float, 0.050, 0.100]
    lip_lower: Annotated[float, 0.075, 0.130]
    lip_red: Annotated[float, 0.1, 0.9]  # 0 pale .. 1 painted
    smile: Annotated[float, -0.008, 0.045]  # how far the corners of the mouth are raised
    cheek_fullness: Annotated[float, 0.3, 1.3]
    cheek_red: Annotated[float, 0.2, 1.0]


class Appearance(NamedTuple):
    """Where the inner face sits on the head and how it takes the light.

    A temporal fake draws it anew every few frames, as among people: each single frame could be an honest one.
    """

    shift_x: float  # head units
    shift_y: float
    turn: float  # radians
    size: float  # 1 is average
    red: float  # gain of the inner face relative to ears and neck, 0 is none
    green: float
    blue: float
    slope: float  # gain that grows from the left cheek to the right one


# Mean and standard deviation among people. The deviations are also the size of the temporal faults, which must be
# visible on a face 70 pixels high: 0.04 of half a head is 1.4 pixels there, 0.058 of a skin tone 9 grey levels.
MEAN_APPEARANCE = Appearance(0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0)
APPEARANCE_DEVIATION = np.array((0.040, 0.042, 0.026, 0.032, 0.058, 0.054, 0.058, 0.070))
SHARED_GAIN = 0.92  # weight of the number that the three colour gains share: mostly brightness changes, partly tint


@dataclass(frozen=True)
class Person:
    """One drawn person: the inner face, the head around it, and the voice."""

    number: int
    features: Features
    appearance: Appearance
    head_width: float
    skull_height: float
    chin_y: float
    jaw_taper: float  # 0 square .. 0.5 pointed
    jaw_power: float
    ear_size: float
    skin: tuple[float, ...]
    age: float  # 0 young .. 1 old
    freckles: float
    hair_style: str
    hair_colour: tuple[float, ...]
    hair_volume: float
    hairline: float
    parting: float  # -1 left .. 1 right
    beard: float  # 0 none, 0.3 stubble .. 1 full
    glasses: bool
    pitch: float  # of the voice, Hz
    texture_seed: int


def draw_people(rng: np.random.Generator, count: int) -> list[Person]:
    """Draw people whose skin tones are spread evenly, in random order."""
    tones = (rng.permutation(count) + rng.random(count)) / count * (len(SKIN_TONES) - 1)
    return [_draw_person(rng, number, float(tone)) for number, tone in enumerate(tones)]


def _draw_person(rng: np.random.Generator, number: int, tone: float) -> Person:
    """Draw one person with skin of this tone, 0 light .. 5 dark."""
    female = rng.random() < 0.5
    age = rng.beta(1.4, 1.8)
    skin = _between(SKIN_TONES, tone)
    # Light hair goes with light skin; grey comes with age.
    hair = _between(HAIR_COLOURS, np.clip(rng.uniform(0, 4) * (1 - tone / 5), 0, 4))
    grey = np.clip((age - 0.55) * 2.2, 0, 1) * rng.uniform(0.3, 1)
    hair = hair * (1 - grey) + GREY_HAIR * grey
    style = str(rng.choice(list(HAIR_STYLES), p=list(HAIR_STYLES.values())))
    if female and style == "bald":
        style = "long"
    if not female and style == "long" and rng.random() < 0.7:
        style = "short"
    bearded = not female and rng.random() < 0.55
    # Dark skin goes with brown eyes.
    iris = IRIS_COLOURS[rng.integers(len(IRIS_COLOURS) if tone < 2.5 else 2)] * rng.uniform(0.85, 1.15)
    hints = get_type_hints(Features, include_extras=True)
    drawn = {name: rng.uniform(*hint.__metadata__) for name, hint in hints.items() if hint is not float}
    features = Features(iris_red=float(iris[0]), iris_green=float(iris[1]), iris_blue=float(iris[2]), **drawn)
    if not female:
        features = features._replace(lip_red=features.lip_red * 0.45, lid_shade=features.lid_shade * 0.6)
    return Person(
        number=number,
        features=features,
        appearance=make_appearances(rng.normal(size=(1, 9)).clip(-2, 2))[0],
        head_width=rng.uniform(0.93, 1.03),
        skull_height=rng.uniform(1.26, 1.38),
        chin_y=rng.uniform(1.28, 1.36) if female else rng.uniform(1.32, 1.42),
        jaw_taper=rng.uniform(0.16, 0.30) if female else rng.uniform(0.08, 0.22),
        jaw_power=rng.uniform(2.0, 2.5) if female else rng.uniform(2.2, 2.9),
        ear_size=rng.uniform(0.85, 1.15),
        skin=tuple(skin.tolist()),
        age=age,
        freckles=max(0.0, rng.uniform(-1.0, 1.0)) * (tone < 2),
        hair_style=style,
        hair_colour=tuple(hair.tolist()),
        hair_volume=rng.uniform(0.7, 1.3),
        hairline=rng.uniform(-0.90, -0.74) - 0.10 * (not female) * age,
        parting=float(rng.choice((-1, 1)) * rng.uniform(0.4, 1.0)),
        beard=float(rng.choice((0.25, 0.6, 0.95))) if bearded else 0.0,
        glasses=rng.random() < 0.2,
        pitch=rng.uniform(165, 240) if female else rng.uniform(90, 150),
        texture_seed=int(rng.integers(2**31)),
    )


def _between(colours: np.ndarray, place: float) -> np.ndarray:
    """Interpolate a table of colours (N, 3) at `place`, 0..N - 1."""
    return np.array([np.interp(place, np.arange(len(colours)), column) for column in colours.T])


def make_appearances(
    normal: np.ndarray, own: Appearance = MEAN_APPEARANCE, changing: np.ndarray | float = 1.0
) -> list[Appearance]:
    """Make appearances, distributed as among people, of standard normal numbers (N, 9).

    The colour gains share the last number. `changing`, one or (8,), is the fraction of the variance of each number of
    an appearance that changes; the rest stays at `own`. Variances add up to one.
    """
    values = normal[:, :8].copy()
    values[:, 4:7] = SHARED_GAIN * normal[:, 8:] + (1 - SHARED_GAIN**2) ** 0.5 * normal[:, 4:7]
    still = (np.array(own) - MEAN_APPEARANCE) / APPEARANCE_DEVIATION
    values = np.sqrt(1 - changing) * still + np.sqrt(changing) * values
    return [Appearance(*row) for row in (MEAN_APPEARANCE + values * APPEARANCE_DEVIATION).tolist()]


def mix_features(first: Features, second: Features, weight: float) -> Features:
    """Return the inner face at `weight` (0..1) of the way from the first to the second."""
    return Features(*((1 - weight) * np.array(first) + weight * np.array(second)).tolist())
