"""How the fakes are made: two kinds of face swap, and the honest face they are compared with.

*Spatial* swaps paste another person's face, made small and enlarged again, through a soft mask: single frames show it.
*Temporal* swaps keep every frame such as an honest face could look; but where the inner face sits, how it takes
the light and whose features it has change several times a second, which no honest face does.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from dfdc_utils.sample.canvas import Canvas, ramp
from dfdc_utils.sample.expressions import Expression
from dfdc_utils.sample.heads import INNER_DEPTH, Light, Pose, express, light_head
from dfdc_utils.sample.people import (
    Features,
    LOOK_AVERAGE,
    LOOK_SPREAD,
    Look,
    Person,
    SHARED_GAIN,
    look_values,
    mix_features,
)
from dfdc_utils.sample.portrait import INNER_HEIGHT, INNER_WIDTH, INNER_Y, Portrait, paint_portrait
from dfdc_utils.videos import FRAME_RATE

# Steps between two identities that are painted beforehand; between neighbours, maps are cross-faded. With five, the
# features move less than a pixel a step.
IDENTITY_STEPS = 5
# Order of `Look`'s fields: the first four place the inner face, the others light it.
PLACE, TONE = slice(0, 4), slice(4, 8)


@dataclass
class Shown:
    """One frame's head: its lit colours (H, W, 3), the maps to cut it out with, and where the inner face sits.

    `offset` is by how far (head units) a pasted face lies beside its place.
    """

    lit: np.ndarray
    portrait: Portrait
    look: Look
    offset: tuple[float, float] = (0.0, 0.0)


class HonestFace:
    """A person's own face."""

    faults: tuple[str, ...] = ()
    strength = 0.0

    def __init__(self, person: Person, canvas: Canvas) -> None:
        self.person, self.canvas = person, canvas
        self.portrait = paint_portrait(person, canvas)

    def show(self, index: int, pose: Pose, light: Light, moment: Expression) -> Shown:
        """The head at frame `index`."""
        albedo = express(self.portrait, self.portrait.albedo, self.canvas, self.person.features, moment)
        return Shown(light_head(self.portrait, albedo, light, pose, self.person.look), self.portrait, self.person.look)


def _jumps(rng: np.random.Generator, frame_count: int, shortest: float, longest: float, width: int) -> np.ndarray:
    """Bell-shaped values (T, width) that hold for `shortest`..`longest` seconds, then jump; cut at two deviations."""
    values = np.empty((frame_count, width))
    at = 0
    while at < frame_count:
        hold = max(1, round(rng.uniform(shortest, longest) * FRAME_RATE))
        values[at : at + hold] = np.clip(rng.normal(size=width), -2, 2)
        at += hold
    return values


def _wander(rng: np.random.Generator, frame_count: int) -> np.ndarray:
    """Weights (T,) of the other identity: at one of the two for a while, then over to the other in 0.2 to 0.5 s."""
    knots, weights, at, side = [0.0], [0.0], 0.0, float(rng.random() < 0.5)
    weights[0] = side
    while at < frame_count:
        at += rng.uniform(0.2, 0.5) * FRAME_RATE
        side = 1.0 - side
        knots.append(at)
        weights.append(abs(side - rng.uniform(0.0, 0.25)))
    return np.interp(np.arange(frame_count), knots, weights)


def temporal_looks(
    rng: np.random.Generator, own: Look, frame_count: int, *, jitter: bool, flicker: bool, moving: float
) -> list[Look]:
    """A look a frame. Each is distributed as looks are among people; `moving` (0..1) is the share that changes.

    Without `jitter` the inner face stays where it sits on `own`, without `flicker` it keeps that person's tone.
    """
    average, spread = look_values(LOOK_AVERAGE), look_values(LOOK_SPREAD)
    still = (look_values(own) - average) / spread
    moved = np.empty((frame_count, 8))
    moved[:, PLACE] = _jumps(rng, frame_count, 0.08, 0.18, 4)
    tones = _jumps(rng, frame_count, 0.08, 0.18, 5)
    moved[:, 4:7] = SHARED_GAIN * tones[:, 4:] + (1 - SHARED_GAIN**2) ** 0.5 * tones[:, :3]
    moved[:, 7] = tones[:, 3]
    share = np.zeros(8)
    share[PLACE], share[TONE] = moving * jitter, moving * flicker
    # Variances add up to one, so each frame on its own is distributed as honest looks are.
    standard = np.sqrt(1 - share) * still + np.sqrt(share) * moved
    return [Look(*map(float, row)) for row in average + spread * standard]


class TemporalSwap:
    """A face whose single frames are honest and whose course is not."""

    def __init__(
        self, person: Person, donor: Person, canvas: Canvas, frame_count: int, rng: np.random.Generator
    ) -> None:
        self.person, self.canvas = person, canvas
        # Two or three of the three faults, so that no fake hangs on one cue.
        faults = ["jitter", "flicker", "drift"]
        if rng.random() < 0.5:
            faults.pop(int(rng.integers(3)))
        self.faults = tuple(faults)
        self.strength = float(rng.uniform(0.7, 1.0))
        self.looks = temporal_looks(
            rng,
            person.look,
            frame_count,
            jitter="jitter" in faults,
            flicker="flicker" in faults,
            moving=self.strength,
        )
        self.weights = _wander(rng, frame_count) if "drift" in faults else np.ones(frame_count)
        steps = np.linspace(0, 1, IDENTITY_STEPS) if "drift" in faults else np.ones(1)
        self.identities = [mix_features(person.features, donor.features, float(step)) for step in steps]
        self.portraits = [paint_portrait(replace(person, features=f), canvas) for f in self.identities]

    def _identity(self, weight: float) -> tuple[Features, Portrait]:
        """Features and maps at `weight` of the way from the person to the donor."""
        if len(self.portraits) == 1:
            return self.identities[0], self.portraits[0]
        place = weight * (IDENTITY_STEPS - 1)
        low = min(int(place), IDENTITY_STEPS - 2)
        first, second, share = self.portraits[low], self.portraits[low + 1], place - low
        mixed = replace(
            first,
            albedo=cv2.addWeighted(first.albedo, 1 - share, second.albedo, share, 0),
            normals=cv2.addWeighted(first.normals, 1 - share, second.normals, share, 0),
            frame=cv2.addWeighted(first.frame, 1 - share, second.frame, share, 0),
        )
        return mix_features(self.identities[0], self.identities[-1], weight), mixed

    def show(self, index: int, pose: Pose, light: Light, moment: Expression) -> Shown:
        """The head at frame `index`."""
        features, portrait = self._identity(float(self.weights[index]))
        albedo = express(portrait, portrait.albedo, self.canvas, features, moment)
        look = self.looks[index]
        return Shown(light_head(portrait, albedo, light, pose, look), portrait, look)


class SpatialSwap:
    """A donor's face pasted over a person's: small and enlarged, off in colour, with an edge, and unsteady.

    Swapping software works frame by frame, so what it pastes also trembles and flickers.
    """

    faults = ("resolution", "colour", "edge", "jitter", "flicker")

    def __init__(
        self, person: Person, donor: Person, canvas: Canvas, frame_count: int, rng: np.random.Generator
    ) -> None:
        self.person, self.canvas = person, canvas
        self.portrait = paint_portrait(person, canvas)
        own, other = np.asarray(person.skin), np.asarray(donor.skin)
        # Swapping software matches colours, not quite: a fifth of the difference stays.
        skin = own + 0.2 * np.clip(other - own, -40, 40)
        self.worn = replace(
            person,
            features=donor.features,
            skin=(float(skin[0]), float(skin[1]), float(skin[2])),
            age=donor.age,
            freckles=donor.freckles,
            beard=0.5 * (person.beard + donor.beard),
            glasses=False,
            texture_seed=donor.texture_seed,
        )
        self.donor = paint_portrait(self.worn, canvas)
        strength = self.strength = float(rng.uniform(0.6, 1.0))
        self.pixels = round(80 - 34 * strength * rng.uniform(0.7, 1.0))  # across the face, as autoencoders produce
        shared = rng.choice((-1, 1)) * rng.uniform(0.03, 0.09) * strength
        self.gain = 1.0 + shared + rng.normal(0, 0.035, 3) * strength
        self.edge = float(rng.uniform(0.10, 0.30) / (0.6 + strength))
        # Swapping software sharpens what it enlarges: fine detail stays lost and edges gain halos.
        self.sharpening = float(rng.uniform(0.5, 1.3))
        self.seam = float(rng.choice((-1, 1)) * rng.uniform(0.0, 0.12) * strength)
        moves = _jumps(rng, frame_count, 0.07, 0.2, 6)
        self.offsets = strength * 0.028 * moves[:, :2]  # head units
        self.flicker = 1.0 + strength * 0.040 * (moves[:, 2:3] + 0.5 * moves[:, 3:])

        # The window of the canvas that the pasted square covers, and the coordinates in it.
        self.window = canvas.window(0.0, INNER_Y, INNER_WIDTH * 1.25, INNER_HEIGHT * 1.2)
        self.x, self.y = canvas.x[self.window], canvas.y[self.window]
        self.pasted = replace(
            self.donor,
            **{name: getattr(self.donor, name)[self.window] for name in ("normals", "gloss", "inner_slope")},
        )

    def _mask(self, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        radius = np.hypot((self.x - offset[0]) / INNER_WIDTH, (self.y - INNER_Y - offset[1]) / INNER_HEIGHT)
        mask = 1.0 - ramp(1.0 - self.edge, 1.0 + 0.3 * self.edge, radius)
        return mask, 1.0 + self.seam * 4.0 * mask * (1.0 - mask)

    def show(self, index: int, pose: Pose, light: Light, moment: Expression) -> Shown:
        """The head at frame `index`."""
        look = self.person.look
        # The person's own eyes and mouth lie under the pasted face: no need to paint them.
        lit = light_head(self.portrait, self.portrait.albedo, light, pose, look)
        albedo = express(self.donor, self.donor.albedo, self.canvas, self.worn.features, moment)
        face = light_head(self.pasted, albedo[self.window], light, pose, look)
        height, width = face.shape[:2]
        small = (self.pixels, round(self.pixels * height / width))
        face = cv2.resize(face, small, interpolation=cv2.INTER_AREA)
        soft = cv2.GaussianBlur(face, (5, 5), 1.0)
        face = cv2.addWeighted(face, 1.0 + self.sharpening, soft, -self.sharpening, 0.0)
        offset = self.offsets[index]
        # Enlarge and move in one step.
        enlarge = np.array(
            [
                [width / small[0], 0, 0.5 * width / small[0] - 0.5 + offset[0] * self.canvas.scale],
                [0, height / small[1], 0.5 * height / small[1] - 0.5 + offset[1] * self.canvas.scale],
            ],
            np.float32,
        )
        face = cv2.warpAffine(face, enlarge, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        mask, seam = self._mask(offset)
        target = lit[self.window]
        target += mask[..., None] * (face * (self.gain * self.flicker[index]).astype(np.float32) - target)
        target *= seam[..., None].astype(np.float32)
        if self.person.glasses:
            target *= (1.0 - 0.5 * self.portrait.frame[self.window] * mask)[..., None]
        return Shown(lit, self.portrait, look, (float(offset[0]), float(offset[1])))


Face = HonestFace | TemporalSwap | SpatialSwap


def mask_ellipse(pose: Pose, shown: Shown) -> tuple[float, float, float, float, float]:
    """Where the swapped inner face lies in the frame: centre x, y, half axes, angle in degrees."""
    look, (offset_x, offset_y) = shown.look, shown.offset
    x, y = pose.to_frame(look.shift_x + offset_x, INNER_Y + look.shift_y + offset_y, INNER_DEPTH)
    size = pose.size * look.size
    return x, y, INNER_WIDTH * size, INNER_HEIGHT * size, float(np.degrees(pose.roll + look.turn))
