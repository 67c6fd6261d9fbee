"""One clip from plan to file: the scene, its faces frame by frame, the camera, the encoder, and the truth about it."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dfdc_utils.sample.heads import Light, canvas_for, face_box, place_head
from dfdc_utils.sample.motion import Motion, draw_motion, draw_voice, smooth_path
from dfdc_utils.sample.nuisances import FrameTreatment, Treatment, draw_treatment
from dfdc_utils.sample.people import Person
from dfdc_utils.sample.scenes import Layer, MARGIN, draw_background, draw_body, draw_room, place_layer
from dfdc_utils.sample.swaps import Face, HonestFace, SpatialSwap, TemporalSwap, mask_ellipse
from dfdc_utils.videos import FRAME_RATE, SAMPLE_RATE, encode_and_decode, write_clip

# Which random stream of the seed is used for what; a scene's stream is shared by an original and its fakes.
SCENE_STREAM, SWAP_STREAM, TREATMENT_STREAM = 1, 2, 3


@dataclass(frozen=True)
class ClipPlan:
    """What one clip is to show. `kind` is real, spatial, temporal, no_face, two_people or cut_off."""

    name: str
    folder: str
    kind: str
    index: int  # of the clip
    scene: int  # of its original
    people: tuple[Person, ...]
    person_ids: tuple[int, ...]
    donor: Person | None = None
    donor_id: int | None = None
    original: str | None = None
    upright: bool = False

    @property
    def label(self) -> str:
        """What the metadata says."""
        return "REAL" if self.original is None else "FAKE"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the frame."""
        return (360, 640) if self.upright else (640, 360)


@dataclass
class Actor:
    """A person in a scene."""

    person: Person
    motion: Motion
    body: Layer
    rest: tuple[float, float]
    size: float


@dataclass
class Scene:
    """All that an original and its fakes share."""

    background: np.ndarray
    actors: list[Actor]
    lights: list[Light]
    sound: np.ndarray
    frame_count: int


def _draw_lights(rng: np.random.Generator, frame_count: int) -> list[Light]:
    """The lamp a frame: it stays, or sways as when a door or a cloud moves."""
    side = rng.uniform(0.15, 0.75) * rng.choice((-1, 1))
    height, strength = rng.uniform(-0.75, -0.25), rng.uniform(0.68, 0.90)
    warmth = rng.normal(0, 0.04)
    key = strength * np.array((1 + warmth, 1.0, 1 - warmth))
    ambient = rng.uniform(0.30, 0.46) * np.array((1 - warmth, 1.0, 1 + 1.5 * warmth))
    sway = rng.choice((0.0, 0.10)) * smooth_path(rng, frame_count, 5.0, 2.5)
    lights = []
    for t in range(frame_count):
        direction = np.array((side + sway[t], height, 0.85))
        direction /= np.linalg.norm(direction)
        lights.append(Light(tuple(direction.tolist()), tuple(key.tolist()), tuple(ambient.tolist())))
    return lights


def draw_scene(plan: ClipPlan, seed: int) -> Scene:
    """The scene of a plan: the same for an original and its fakes."""
    rng = np.random.default_rng([seed, SCENE_STREAM, plan.scene])
    width, height = plan.size
    frame_count = int(rng.integers(63, 78))  # 2.1 to 2.6 s
    background = (draw_room if plan.kind == "no_face" else draw_background)(rng, width, height)
    lights = _draw_lights(rng, frame_count)
    first = lights[0]
    brightness = 0.75 * first.direction[2] * np.array(first.key) + np.array(first.ambient)
    actors = []
    for place, person in enumerate(plan.people):
        # Heads of 35 to 55 % of a landscape frame's height (a head is 2.85 units high), a quarter of an upright's.
        low, high = (0.118, 0.132) if len(plan.people) > 1 else (0.130, 0.185)
        size = rng.uniform(low, high) * height if not plan.upright else rng.uniform(0.14, 0.19) * width
        if len(plan.people) > 1:
            x = width * (0.27 + 0.46 * place)
        else:
            x = width * rng.uniform(0.38, 0.62) if not plan.upright else width * rng.uniform(0.46, 0.54)
        y = rng.uniform(max(1.75 * size, 0.36 * height), max(1.8 * size, 0.46 * height))
        motion = draw_motion(rng, frame_count, (x, y), size)
        body = draw_body(rng, person, plan.size, centre=(x, y), size=size, brightness=brightness)
        actors.append(Actor(person, motion, body, (x, y), size))
    sound = (
        draw_voice(rng, actors[0].motion, actors[0].person.pitch)
        if actors
        else (60 * rng.standard_normal(frame_count * SAMPLE_RATE // FRAME_RATE)).astype(np.int16)
    )
    return Scene(background, actors, lights, sound, frame_count)


def make_face(plan: ClipPlan, actor: Actor, frame_count: int, seed: int) -> Face:
    """The face that an actor wears in this clip."""
    canvas = canvas_for(actor.size)
    if plan.donor is None:
        return HonestFace(actor.person, canvas)
    rng = np.random.default_rng([seed, SWAP_STREAM, plan.index])
    swap = TemporalSwap if plan.kind == "temporal" else SpatialSwap
    return swap(actor.person, plan.donor, canvas, frame_count, rng)


class ClipRenderer:
    """Draws the frames of one clip and notes, on the way, where the faces are."""

    def __init__(self, plan: ClipPlan, seed: int) -> None:
        self.plan = plan
        self.scene = draw_scene(plan, seed)
        rng = np.random.default_rng([seed, TREATMENT_STREAM, plan.index])
        self.treatment: Treatment = draw_treatment(rng, self.scene.frame_count)
        width, height = plan.size
        self.camera = FrameTreatment(self.treatment, (height, width), rng)
        self.faces = [make_face(plan, actor, self.scene.frame_count, seed) for actor in self.scene.actors]
        self.boxes: list[Any] = []
        self.masks: list[list[int]] = []

    def frames(self) -> Iterator[np.ndarray]:
        """All frames (H, W, 3) uint8 RGB, in order."""
        scene = self.scene
        for t in range(scene.frame_count):
            frame = self._background(t)
            light = scene.lights[t]
            boxes = []
            for actor, face in zip(scene.actors, self.faces, strict=True):
                boxes.append(self._place(frame, actor, face, light, t))
            if boxes:
                self.boxes.append(boxes[0] if len(boxes) == 1 else boxes)
            yield self.camera.apply(frame, t)

    def _background(self, t: int) -> np.ndarray:
        width, height = self.plan.size
        shift_x, shift_y = self.treatment.shifts[t]
        if shift_x == 0.0 and shift_y == 0.0:
            return self.scene.background[MARGIN : MARGIN + height, MARGIN : MARGIN + width].copy()
        move = np.array([[1, 0, shift_x - MARGIN], [0, 1, shift_y - MARGIN]], np.float32)
        frame: np.ndarray = cv2.warpAffine(self.scene.background, move, (width, height))
        return frame

    def _place(self, frame: np.ndarray, actor: Actor, face: Face, light: Light, t: int) -> list[int]:
        """Draws one actor into the frame and returns the face's box, rounded."""
        shift_x, shift_y = self.treatment.shifts[t]
        pose, moment = actor.motion.poses[t], actor.motion.expressions[t]
        # Shoulders follow the head by half.
        body_shift = (0.5 * (pose.x - actor.rest[0]) + shift_x, 0.5 * (pose.y - actor.rest[1]) + shift_y)
        place_layer(frame, actor.body, body_shift)
        pose = replace(pose, x=pose.x + shift_x, y=pose.y + shift_y)
        shown = face.show(t, pose, light, moment)
        place_head(frame, shown.lit, shown.portrait, face.canvas, pose, shown.look, moment.mouth_open)
        if self.plan.donor is not None:
            self.masks.append([round(value) for value in mask_ellipse(pose, shown)])
        return [round(value) for value in face_box(pose, actor.person.chin_y, actor.person.head_width)]


def render_clip(plan: ClipPlan, folder: Path, seed: int) -> dict[str, Any]:
    """Draws and encodes one clip to `folder / plan.name` and returns the truth about it.

    The file appears under its name only when it is complete.
    """
    renderer = ClipRenderer(plan, seed)
    frames = renderer.frames()
    treatment = renderer.treatment
    if treatment.first_crf is not None:
        frames = encode_and_decode(frames, size=plan.size, crf=treatment.first_crf)
    # The process id keeps two builds of one sample, started side by side, out of each other's way.
    unfinished = folder / f"{plan.name}.{os.getpid()}.part"
    write_clip(unfinished, frames, sound=renderer.scene.sound, size=plan.size, crf=treatment.crf)
    if plan.kind == "cut_off":
        content = unfinished.read_bytes()
        # The index of an MP4 file stands at its end: half a file cannot be opened.
        unfinished.write_bytes(content[: math.ceil(len(content) / 2)])
    unfinished.replace(folder / plan.name)

    truth: dict[str, Any] = {"kind": plan.kind, "person": list(plan.person_ids), "boxes": renderer.boxes}
    if plan.donor is not None:
        face = renderer.faces[0]
        truth.update(donor=plan.donor_id, strength=round(face.strength, 2), faults=list(face.faults))
        truth["masks"] = renderer.masks
    return truth
