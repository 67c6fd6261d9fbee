"""How the fakes are made: two kinds of face swap, and the honest face that they are compared with.

A *spatial* swap pastes the face of another person, shrunk and enlarged again, through a soft mask: single frames show
it. It is *steady*, or also jitters and flickers (*both*). In a *temporal* swap each frame on its own could be an honest
face; but its place, its light and its features change several times a second, which those of an honest face never do.
"""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from dfdc_utils.sample.canvas import Canvas, ramp
from dfdc_utils.sample.heads import Light, LitHead, Pose, express, light_head
from dfdc_utils.sample.people import Appearance, Person, make_appearances, mix_features
from dfdc_utils.sample.portrait import INNER_HEIGHT, INNER_WIDTH, INNER_Y, Portrait, paint_portrait
from dfdc_utils.videos import FRAME_RATE

# Identities painted between two people; maps between these are cross-faded. With five, a step is less than a pixel.
IDENTITY_STEPS = 5


class HonestFace:
    """A person's own face."""

    def __init__(self, person: Person, canvas: Canvas) -> None:
        self.portrait = paint_portrait(person, canvas)

    def worn(self, index: int) -> tuple[Portrait, Appearance]:
        """Return the face of frame `index`."""
        return self.portrait, self.portrait.person.appearance

    def show(self, index: int, pose: Pose, light: Light) -> LitHead:
        """Return the head at frame `index`."""
        portrait, appearance = self.worn(index)
        return LitHead(light_head(portrait, express(portrait, pose), light, pose, appearance), portrait, appearance)


class TemporalSwap(HonestFace):
    """A face whose single frames are honest, but which changes over time as no honest face does."""

    def __init__(
        self, person: Person, donor: Person, canvas: Canvas, frame_count: int, rng: np.random.Generator
    ) -> None:
        self.person, self.donor = person, donor
        # Two or three of the three faults, so that no single cue finds all fakes.
        faults = self.faults = ["jitter", "flicker", "drift"]
        if rng.random() < 0.5:
            faults.pop(int(rng.integers(3)))
        self.strength = float(rng.uniform(0.7, 1.0))
        # Fraction of the variance of each number that changes over time: four for the place, four for the tone.
        changing = self.strength * np.repeat(["jitter" in faults, "flicker" in faults], 4)
        place, tone = _jumps(rng, frame_count, 0.08, 0.18, 4), _jumps(rng, frame_count, 0.08, 0.18, 5)
        self.appearances = make_appearances(np.hstack([place, tone]), person.appearance, changing)
        steps = np.ones(1)
        if "drift" in faults:
            self.weights, steps = _drift(rng, frame_count), np.linspace(0, 1, IDENTITY_STEPS)
        between = [mix_features(person.features, donor.features, float(step)) for step in steps]
        self.portraits = [paint_portrait(replace(person, features=features), canvas) for features in between]

    def worn(self, index: int) -> tuple[Portrait, Appearance]:
        """Return the face of frame `index`, which may lie between two painted ones."""
        if "drift" not in self.faults:
            return self.portraits[0], self.appearances[index]
        weight = float(self.weights[index])  # 0 the person .. 1 the donor
        place = weight * (IDENTITY_STEPS - 1)
        low = min(int(place), IDENTITY_STEPS - 2)
        first, second, part = self.portraits[low], self.portraits[low + 1], place - low
        pairs = {name: (getattr(first, name), getattr(second, name)) for name in ("albedo", "normals", "glasses")}
        mixed = {name: cv2.addWeighted(one, 1 - part, two, part, 0) for name, (one, two) in pairs.items()}
        features = mix_features(self.person.features, self.donor.features, weight)
        return replace(first, person=replace(self.person, features=features), **mixed), self.appearances[index]


class SpatialSwap:
    """The face of a donor pasted over a person's: blurred, off in colour, with a grid and an edge that show.

    A `steady` one lies still on the head. Others also jitter and flicker, as of software that works frame by frame.
    """

    def __init__(
        self, person: Person, donor: Person, canvas: Canvas, frame_count: int, rng: np.random.Generator, *, steady: bool
    ) -> None:
        self.faults = ["resolution", "colour", "grid", "edge", *([] if steady else ["jitter", "flicker"])]
        self.canvas = canvas
        self.portrait = paint_portrait(person, canvas)
        own, other = np.asarray(person.skin), np.asarray(donor.skin)
        # Swapping software matches colours imperfectly: a fifth of the difference stays.
        skin = own + 0.2 * np.clip(other - own, -40, 40)
        mixed: dict[str, Any] = {"skin": tuple(skin.tolist()), "beard": 0.5 * (person.beard + donor.beard)}
        taken = {name: getattr(donor, name) for name in ("features", "age", "freckles", "texture_seed")}
        self.worn = paint_portrait(replace(person, glasses=False, **mixed, **taken), canvas)
        strength = self.strength = float(rng.uniform(0.6, 1.0))
        self.pixels = round(64 - 34 * strength * rng.uniform(0.7, 1.0))  # across the face, as autoencoders produce
        shared = rng.choice((-1, 1)) * rng.uniform(0.06, 0.12) * strength
        self.gain = 1.0 + shared + rng.normal(0, 0.05, 3) * strength
        self.edge = float(rng.uniform(0.10, 0.30) / (0.6 + strength))
        # Swapping software sharpens what it enlarges: fine detail stays lost and edges gain halos.
        self.sharpening = float(rng.uniform(0.5, 1.3))
        self.seam = float(rng.choice((-1, 1)) * rng.uniform(0.04, 0.14) * strength)
        # Transposed convolutions leave a regular grid (Odena et al. 2016, https://distill.pub/2016/deconv-checkerboard).
        self.grid = float(rng.uniform(0.11, 0.22) * strength)
        moves = _jumps(rng, frame_count, 0.07, 0.2, 6) * (not steady)
        self.offsets = strength * 0.028 * moves[:, :2]  # head units
        self.flicker = 1.0 + strength * 0.040 * (moves[:, 2:3] + 0.5 * moves[:, 3:])

        # The part of the canvas that the pasted square covers, and the maps in it.
        self.window = canvas.window(0.0, INNER_Y, INNER_WIDTH * 1.25, INNER_HEIGHT * 1.2)
        maps = {name: getattr(self.worn, name)[self.window] for name in ("normals", "gloss", "inner_slope")}
        self.pasted = replace(self.worn, **maps)

    def show(self, index: int, pose: Pose, light: Light) -> LitHead:
        portrait, appearance = self.portrait, self.portrait.person.appearance
        # The person's own eyes and mouth lie under the pasted face: no need to paint them.
        lit = light_head(portrait, portrait.albedo, light, pose, appearance)
        face = light_head(self.pasted, express(self.worn, pose)[self.window], light, pose, appearance)
        height, width = face.shape[:2]
        small = (self.pixels, round(self.pixels * height / width))
        face = cv2.resize(face, small, interpolation=cv2.INTER_AREA)
        soft = cv2.GaussianBlur(face, (5, 5), 1.0)
        face = cv2.addWeighted(face, 1.0 + self.sharpening, soft, -self.sharpening, 0.0)
        rows, columns = np.indices(face.shape[:2]) // 2 % 2
        face *= (1.0 + self.grid * np.where(rows == columns, 1, -1))[..., None].astype(np.float32)
        offset = self.offsets[index]
        # Enlarge and move in one step.
        factors, shift = np.array((width, height)) / small, offset * self.canvas.scale
        enlarge = np.column_stack([np.diag(factors), 0.5 * factors - 0.5 + shift]).astype(np.float32)
        face = cv2.warpAffine(face, enlarge, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        x, y = self.canvas.x[self.window] - offset[0], self.canvas.y[self.window] - INNER_Y - offset[1]
        mask = 1.0 - ramp(1.0 - self.edge, 1.0 + 0.3 * self.edge, np.hypot(x / INNER_WIDTH, y / INNER_HEIGHT))
        seam = 1.0 + self.seam * 4.0 * mask * (1.0 - mask)
        target = lit[self.window]
        target += mask[..., None] * (face * (self.gain * self.flicker[index]).astype(np.float32) - target)
        target *= seam[..., None].astype(np.float32)
        target *= (1.0 - 0.5 * portrait.glasses[self.window] * mask)[..., None]
        return LitHead(lit, portrait, appearance, (float(offset[0]), float(offset[1])))


def _jumps(rng: np.random.Generator, frame_count: int, shortest: float, longest: float, width: int) -> np.ndarray:
    """Draw normal numbers (T, width), cut at two deviations, that hold for `shortest`..`longest` seconds and jump."""
    values = np.empty((frame_count, width))
    at = 0
    while at < frame_count:
        hold = max(1, round(rng.uniform(shortest, longest) * FRAME_RATE))
        values[at : at + hold] = np.clip(rng.normal(size=width), -2, 2)
        at += hold
    return values


def _drift(rng: np.random.Generator, frame_count: int) -> np.ndarray:
    """Draw weights (T,) of the other identity, which go from about 0 to about 1 or back in 0.2 to 0.5 s."""
    side = float(rng.random() < 0.5)
    knots, weights = [0.0], [side]
    while knots[-1] < frame_count:
        knots.append(knots[-1] + rng.uniform(0.2, 0.5) * FRAME_RATE)
        side = 1.0 - side
        weights.append(abs(side - rng.uniform(0.0, 0.25)))
    return np.interp(np.arange(frame_count), knots, weights)
