"""One clip from plan to file: the scene, its faces frame by frame, the camera, the encoder, and the truth about it."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from dfdc_utils.sample.canvas import Canvas
from dfdc_utils.sample.heads import Light, Pose, face_box, mask_ellipse, place_head
from dfdc_utils.sample.motion import draw_motion, draw_voice, smooth_path
from dfdc_utils.sample.people import Person
from dfdc_utils.sample.scenes import MARGIN, Layer, draw_background, draw_body, draw_room, place_layer
from dfdc_utils.sample.swaps import HonestFace, SpatialSwap, TemporalSwap
from dfdc_utils.videos import FRAME_RATE, SAMPLE_RATE, encode_and_decode, write_clip
from dfdc_utils.workers import one_thread

# Random streams of the seed. An original and its fakes share the stream of the scene.
SCENE_STREAM, SWAP_STREAM, CAMERA_STREAM = 1, 2, 3
SILENT_EVERY = 10  # one scene of ten has no sound track


@dataclass(frozen=True)
class ClipPlan:
    """What one clip shows. `kind` is real, steady, temporal, both, no_face, two_people or cut_off."""

    name: str
    part: str
    kind: str
    index: int  # of the clip
    scene: int  # of its original
    people: tuple[Person, ...]
    donor: Person | None = None
    original: str | None = None
    size: tuple[int, int] = (640, 360)  # width and height of the frame


class Actor(NamedTuple):
    """A person in a scene, with the face that they wear in this clip."""

    face: HonestFace | SpatialSwap
    body: Layer
    rest: Pose
    poses: list[Pose]


class Camera:
    """What happens to any video, real or fake: blur, noise, changing light, shaking hands, compression.

    An original and its fakes draw theirs independently from the same distribution, so that none of it separates them.
    """

    def __init__(self, rng: np.random.Generator, frame_count: int, frame_size: tuple[int, int]) -> None:
        self.rng = rng
        gains = self.gains = np.full((frame_count, 3), rng.normal(1.0, 0.06))
        gains *= 1.0 + rng.normal(0.0, 0.025, 3)
        # Exposure and tint wander, in some clips much, but slowly: over 0.15 s far less than a swapped face flickers.
        amount = np.exp(rng.uniform(np.log(0.012), np.log(0.07)))
        gains *= 1.0 + amount * smooth_path(rng, frame_count, 5.0, 1.8)[:, None]
        gains *= 1.0 + 0.35 * amount * np.stack([smooth_path(rng, frame_count, 5.0, 1.8) for _ in range(3)], axis=1)
        shake = rng.uniform(0.3, 3.0) if rng.random() < 0.5 else 0.0
        self.shifts = shake * np.stack([smooth_path(rng, frame_count, 1.2, 0.35) for _ in range(2)], axis=1)  # pixels
        self.shrink = rng.uniform(0.6, 0.85) if rng.random() < 0.25 else 1.0  # a poor camera keeps less
        self.blur = rng.uniform(0.4, 1.3) if rng.random() < 0.4 else 0.0  # pixels
        noise = rng.uniform(0.5, 2.8)  # grey levels
        self.first_crf = int(rng.integers(24, 31)) if rng.random() < 0.3 else None  # of an earlier encoding
        # Rate factors of x264 between its default and visible loss, as in DFDC's files.
        self.crf = int(rng.integers(23, 29))
        width, height = frame_size
        # One field of noise, 32 pixels larger than the frame: there are a thousand places to read it from.
        field = rng.standard_normal((height + 32, width + 32, 1), np.float32)
        field = field + 0.5 * rng.standard_normal((height + 32, width + 32, 3), np.float32)
        self.noise = np.round(noise * field).astype(np.int16)

    def record(self, frame: np.ndarray, t: int) -> np.ndarray:
        """Return frame `t`, (H, W, 3) uint8, as the camera stores it; shifts are left to the renderer."""
        height, width = frame.shape[:2]
        if self.shrink < 1.0:
            small = (round(width * self.shrink), round(height * self.shrink))
            frame = cv2.resize(frame, small, interpolation=cv2.INTER_AREA)
            frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
        if self.blur > 0.0:
            frame = cv2.GaussianBlur(frame, (5, 5), self.blur)
        levels = np.arange(256)[None, :, None] * self.gains[t]  # a table: four times as fast as multiplying
        frame = cv2.LUT(frame, np.clip(levels + 0.5, 0, 255).astype(np.uint8))
        x, y = self.rng.integers(0, 32, 2)
        return np.asarray(cv2.add(frame, self.noise[y : y + height, x : x + width], dtype=cv2.CV_8U))


class ClipRenderer:
    """Draws the frames of one clip and notes where the faces are."""

    def __init__(self, plan: ClipPlan, seed: int) -> None:
        self.plan, self.seed = plan, seed
        self.boxes: list[Any] = []
        self.masks: list[list[int]] = []
        rng = np.random.default_rng([seed, SCENE_STREAM, plan.scene])
        self.frame_count = int(rng.integers(63, 78))  # 2.1 to 2.6 s
        self.background = (draw_room if plan.kind == "no_face" else draw_background)(rng, *plan.size)
        self.lights = _draw_lights(rng, self.frame_count)
        self.actors = [self._draw_actor(rng, place) for place in range(len(plan.people))]
        if self.actors:
            self.sound = draw_voice(rng, self.actors[0].poses, plan.people[0].pitch)
        else:  # hiss
            self.sound = (60 * rng.standard_normal(self.frame_count * SAMPLE_RATE // FRAME_RATE)).astype(np.int16)
        self.camera = Camera(np.random.default_rng([seed, CAMERA_STREAM, plan.index]), self.frame_count, plan.size)

    def frames(self) -> Iterator[np.ndarray]:
        """Draw all frames (H, W, 3) uint8 RGB, in order."""
        for t, (x, y) in enumerate(self.camera.shifts):
            if t == 0 or x or y:
                move = np.array([[1, 0, x - MARGIN], [0, 1, y - MARGIN]], np.float32)
                background = cv2.warpAffine(self.background, move, self.plan.size)
            frame = background.copy()
            boxes = [self._place(frame, actor, t) for actor in self.actors]
            if boxes:
                self.boxes.append(boxes[0] if len(boxes) == 1 else boxes)
            yield self.camera.record(frame, t)

    def _draw_actor(self, rng: np.random.Generator, place: int) -> Actor:
        plan, person, alone = self.plan, self.plan.people[place], len(self.plan.people) == 1
        (width, height), upright = plan.size, plan.size[1] > plan.size[0]
        # Heads of 35 to 55 % of a landscape frame's height (a head is 2.85 units high), a quarter of an upright one's.
        low, high = (0.130, 0.185) if alone else (0.118, 0.132)
        size = rng.uniform(0.14, 0.19) * width if upright else rng.uniform(low, high) * height
        x = width * (0.27 + 0.46 * place)
        if alone:
            x = width * (rng.uniform(0.46, 0.54) if upright else rng.uniform(0.38, 0.62))
        y = rng.uniform(max(1.75 * size, 0.36 * height), max(1.8 * size, 0.46 * height))
        rest = Pose(x, y, size)
        poses = draw_motion(rng, self.frame_count, rest)
        light = self.lights[0]
        brightness = 0.75 * light.direction[2] * np.array(light.key) + np.array(light.ambient)
        body = draw_body(rng, person, plan.size, rest, brightness)
        if plan.donor is None:
            return Actor(HonestFace(person, Canvas(size)), body, rest, poses)
        swap = TemporalSwap if plan.kind == "temporal" else partial(SpatialSwap, steady=plan.kind == "steady")
        swap_rng = np.random.default_rng([self.seed, SWAP_STREAM, plan.index])
        return Actor(swap(person, plan.donor, Canvas(size), self.frame_count, swap_rng), body, rest, poses)

    def _place(self, frame: np.ndarray, actor: Actor, t: int) -> list[int]:
        """Draw one actor into the frame and return the box of the face, rounded."""
        pose, (x, y) = actor.poses[t], self.camera.shifts[t]
        # Shoulders follow the head by half.
        place_layer(frame, actor.body, (0.5 * (pose.x - actor.rest.x) + x, 0.5 * (pose.y - actor.rest.y) + y))
        pose = pose._replace(x=pose.x + x, y=pose.y + y)
        head = actor.face.show(t, pose, self.lights[t])
        place_head(frame, head, pose)
        if self.plan.donor is not None:
            self.masks.append([round(value) for value in mask_ellipse(pose, head)])
        return [round(value) for value in face_box(pose, head.portrait.person)]


def render_clip(plan: ClipPlan, folder: Path, seed: int) -> tuple[str, dict[str, Any]]:
    """Draw and encode one clip into its part below `folder`, and return its name and the truth about it."""
    path = folder / plan.part / plan.name
    with one_thread():  # the pool already keeps every core busy
        renderer = ClipRenderer(plan, seed)
        camera, frames = renderer.camera, renderer.frames()
        if camera.first_crf is not None:
            frames = encode_and_decode(frames, size=plan.size, crf=camera.first_crf)
        sound = None if plan.scene % SILENT_EVERY == 5 else renderer.sound
        write_clip(path, frames, sound=sound, size=plan.size, crf=camera.crf)
    if plan.kind == "cut_off":
        # The index of an MP4 file stands at its end: half a file cannot be opened.
        os.truncate(path, math.ceil(path.stat().st_size / 2))
    truth: dict[str, Any] = {"kind": plan.kind, "person": [one.number for one in plan.people], "boxes": renderer.boxes}
    if plan.donor is not None:
        swap: Any = renderer.actors[0].face
        truth |= {"altered": "pictures", "donor": plan.donor.number}
        truth |= {"strength": round(swap.strength, 2), "faults": swap.faults, "masks": renderer.masks}
    return plan.name, truth


def _draw_lights(rng: np.random.Generator, frame_count: int) -> list[Light]:
    """Draw the light of each frame: the lamp stays, or sways as when a door or a cloud moves."""
    side = rng.uniform(0.15, 0.75) * rng.choice((-1, 1))
    height, strength = rng.uniform(-0.75, -0.25), rng.uniform(0.68, 0.90)
    warmth = rng.normal(0, 0.04)
    key = strength * np.array((1 + warmth, 1.0, 1 - warmth))
    ambient = rng.uniform(0.30, 0.46) * np.array((1 - warmth, 1.0, 1 + 1.5 * warmth))
    sway = rng.choice((0.0, 0.10)) * smooth_path(rng, frame_count, 5.0, 2.5)
    directions = np.column_stack([side + sway, np.full(frame_count, height), np.full(frame_count, 0.85)])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return [Light(tuple(direction), tuple(key.tolist()), tuple(ambient.tolist())) for direction in directions.tolist()]
