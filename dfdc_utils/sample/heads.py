"""A painted head under light, turned and placed in a frame."""

import math
from typing import NamedTuple

import cv2
import numpy as np

from dfdc_utils.sample.canvas import BOTTOM, LEFT, RIGHT, TOP, composite, ramp
from dfdc_utils.sample.expressions import Expression, draw_eye, draw_mouth
from dfdc_utils.sample.people import Appearance, Person
from dfdc_utils.sample.portrait import INNER_HEIGHT, INNER_WIDTH, INNER_Y, Portrait

# The head turns about an axis this far behind the plane of its outline (head units of depth).
PIVOT_DEPTH = 0.30
# Depth of the middle of the inner face: when the head turns, it moves by this much more than the outline.
INNER_DEPTH = 0.80
# Turning is computed for every fourth pixel and interpolated between: it is smooth, and this is 16 times less work.
WARP_STEP = 4
# How much light passes around the edge of the shadow: a gain for each colour, then offsets of the lamp's cosine.
WRAP = np.array([(0.70, 0, 0, 0.30), (0, 0.79, 0, 0.21), (0, 0, 0.83, 0.17)], np.float32)


class Pose(NamedTuple):
    """Where a head is: its origin in the frame, its size, and three angles in radians."""

    x: float  # pixels
    y: float
    size: float  # pixels per head unit
    roll: float
    yaw: float
    pitch: float

    def to_frame(self, x: float, y: float, depth: float = 0.0) -> tuple[float, float]:
        """Return the position in the frame of a point of the head."""
        u = x + (depth - PIVOT_DEPTH) * math.sin(self.yaw)
        v = y + (depth - PIVOT_DEPTH) * math.sin(self.pitch)
        u, v = _turn(u, v, self.roll)
        return self.x + self.size * u, self.y + self.size * v


def _turn(u: float, v: float, angle: float) -> tuple[float, float]:
    return u * math.cos(angle) - v * math.sin(angle), u * math.sin(angle) + v * math.cos(angle)


class Light(NamedTuple):
    """One lamp and the light of the room. Each has three numbers."""

    direction: tuple[float, ...]  # to the lamp: right, down, towards the viewer
    key: tuple[float, ...]  # gain per colour of what faces the lamp
    ambient: tuple[float, ...]  # gain per colour of everything


class LitHead(NamedTuple):
    """The head of one frame, ready to be placed."""

    colours: np.ndarray  # (H, W, 3), lit
    portrait: Portrait  # with the maps to cut it out
    appearance: Appearance
    offset: tuple[float, float] = (0.0, 0.0)  # of a pasted face from its place, head units


def express(portrait: Portrait, moment: Expression) -> np.ndarray:
    """Return a copy of the head's colours with eyes, mouth and glasses of this moment."""
    albedo = portrait.albedo.copy()
    for side in (-1, 1):
        draw_eye(albedo, portrait.canvas, portrait.person, moment, side)
    draw_mouth(albedo, portrait.canvas, portrait.person, moment)
    if portrait.person.glasses:
        albedo *= (1.0 - 0.85 * portrait.glasses)[..., None]
    return albedo


def light_head(portrait: Portrait, albedo: np.ndarray, light: Light, pose: Pose, appearance: Appearance) -> np.ndarray:
    """Return the head's colours under this light, float32 (H, W, 3), about 0..255."""
    # The direction of the lamp relative to the turned head.
    lx, ly, lz = light.direction
    lx, lz = _turn(lx, lz, pose.yaw)
    ly, lz = _turn(ly, lz, pose.pitch)
    half = np.array((lz + 1.0, ly, lx))
    half /= np.linalg.norm(half)
    # Three channels in, three out, even if two would do: OpenCV is ten times as fast at it.
    key, shine, _ = cv2.split(cv2.transform(portrait.normals, np.array(((lz, ly, lx), half, half), np.float32)))
    # Light creeps a little into the shadow under the skin, red the furthest.
    key = np.maximum(cv2.transform(cv2.merge([key] * 3), WRAP), 0.0)
    shine = np.maximum(shine, 0.0)
    for _ in range(4):  # to the 16th power: the soft highlight of skin
        shine *= shine
    shine *= portrait.gloss
    shade = cv2.transform(key, np.column_stack([np.diag(light.key), light.ambient]).astype(np.float32))
    tints = (appearance.red, appearance.green, appearance.blue)
    gains = np.array([(tint, appearance.slope, 1.0) for tint in tints], np.float32)
    lit = cv2.multiply(cv2.multiply(albedo, shade), cv2.transform(portrait.inner_slope, gains))
    # 26 grey levels at most: skin is moist, not wet.
    return np.asarray(lit + cv2.merge([shine * (26.0 * k) for k in light.key]))


def place_head(frame: np.ndarray, head: LitHead, pose: Pose, mouth_open: float) -> None:
    """Turn a lit head and lay it over `frame` (H, W, 3) uint8 in place."""
    # The part of the frame that the canvas can reach.
    corners = np.array([pose.to_frame(x, y) for x in (LEFT, RIGHT) for y in (TOP, BOTTOM)])
    left, top = np.maximum(corners.min(axis=0).astype(int), 0).tolist()
    right, bottom = np.minimum(corners.max(axis=0).astype(int) + 1, frame.shape[1::-1]).tolist()
    map_x, map_y = _sources(head, pose, mouth_open, (left, top, right - left, bottom - top))
    layer = cv2.merge([head.colours, head.portrait.cover * 255.0]).clip(0, 255).astype(np.uint8)
    seen = cv2.remap(layer, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    composite(frame[top:bottom, left:right], seen)


def _sources(
    head: LitHead, pose: Pose, mouth_open: float, region: tuple[int, int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each pixel of `region` (left, top, width, height) the canvas pixel that is seen there."""
    canvas, appearance = head.portrait.canvas, head.appearance
    left, top, width, height = region
    columns, rows = width // WARP_STEP + 2, height // WARP_STEP + 2
    px = left + np.arange(columns, dtype=np.float32) * WARP_STEP - pose.x
    py = (top + np.arange(rows, dtype=np.float32) * WARP_STEP - pose.y)[:, None]
    cos, sin = math.cos(pose.roll) / pose.size, math.sin(pose.roll) / pose.size
    u, v = px * cos + py * sin, py * cos - px * sin

    def to_canvas(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
        return [((at - origin) * canvas.scale - 0.5).astype(np.float32) for at, origin in ((x, LEFT), (y, TOP))]

    # A point moves sideways by its depth; solve for the point that has moved here. Each round halves the error.
    x, y = u, v
    for _ in range(4):
        depth = cv2.remap(head.portrait.depth, *to_canvas(x, y), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        x, y = u - (depth - PIVOT_DEPTH) * math.sin(pose.yaw), v - (depth - PIVOT_DEPTH) * math.sin(pose.pitch)
    # The chin goes down with the lower lip.
    y = y - 0.075 * mouth_open * ramp(0.75, 1.15, y) * ramp(2.0, 1.4, y)
    dx, dy = x, y - INNER_Y
    weight = 1.0 - ramp(0.45, 1.1, np.hypot(dx / (INNER_WIDTH * 1.12), dy / (INNER_HEIGHT * 1.05)))
    x = x - weight * (appearance.shift_x + (appearance.size - 1.0) * dx - appearance.turn * dy)
    y = y - weight * (appearance.shift_y + (appearance.size - 1.0) * dy + appearance.turn * dx)
    # Not cv2.resize: it would put the first coarse value in the middle of its cell, and it belongs to pixel 0.
    enlarge = np.array([[WARP_STEP, 0, 0], [0, WARP_STEP, 0]], np.float32)
    size = (columns * WARP_STEP, rows * WARP_STEP)
    to_x, to_y = (cv2.warpAffine(values, enlarge, size)[:height, :width] for values in to_canvas(x, y))
    return to_x, to_y


def face_box(pose: Pose, person: Person) -> tuple[float, float, float, float]:
    """Return the tight box (x, y, width, height) of the face in the frame: ear to ear, forehead to chin."""
    # At a depth between outline (0) and inner face: there a viewer sees the middle of a turned face.
    half = 0.95 * person.head_width
    points = np.array([pose.to_frame(x, y, 0.45) for x in (-half, half) for y in (-0.80, person.chin_y)])
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    return left, top, right - left, bottom - top


def mask_ellipse(pose: Pose, head: LitHead) -> tuple[float, float, float, float, float]:
    """Return the ellipse of the inner face in the frame: centre x, y, half axes, angle in degrees."""
    appearance, (offset_x, offset_y) = head.appearance, head.offset
    x, y = pose.to_frame(appearance.shift_x + offset_x, INNER_Y + appearance.shift_y + offset_y, INNER_DEPTH)
    size = pose.size * appearance.size
    return x, y, INNER_WIDTH * size, INNER_HEIGHT * size, float(np.degrees(pose.roll + appearance.turn))
