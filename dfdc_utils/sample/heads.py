"""A painted head under light, turned and placed in a frame."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from dfdc_utils.sample.canvas import BOTTOM, Canvas, LEFT, RIGHT, TOP, blend, make_canvas, ramp
from dfdc_utils.sample.expressions import Expression, draw_expression
from dfdc_utils.sample.people import Features, Look
from dfdc_utils.sample.portrait import INNER_HEIGHT, INNER_WIDTH, INNER_Y, Portrait

# The head turns about an axis this far behind the plane of its outline's middle (head units of depth).
PIVOT_DEPTH = 0.30
# Where the middle of the inner face lies in depth: it moves by this much more than the outline when the head turns.
INNER_DEPTH = 0.80
# Turning is worked out on every fourth pixel and interpolated between: it is smooth, and this is 16 times less work.
WARP_STEP = 4
# How much of the light passes round the edge of the shadow, a colour: gain and offset of the lamp's cosine.
WRAP = ((0.70, 0.30), (0.79, 0.21), (0.83, 0.17))
# Canvas pixels per frame pixel: enough for clean edges after linear interpolation, without aliasing.
OVERSAMPLING = 1.3


@dataclass(frozen=True)
class Pose:
    """Where a head is: `x`, `y` its origin in the frame and `size` pixels a head unit; angles in radians."""

    x: float
    y: float
    size: float
    roll: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0

    def to_frame(self, x: float, y: float, depth: float = 0.0) -> tuple[float, float]:
        """Frame position of a point of the head."""
        u = x + (depth - PIVOT_DEPTH) * math.sin(self.yaw)
        v = y + (depth - PIVOT_DEPTH) * math.sin(self.pitch)
        return (
            self.x + self.size * (u * math.cos(self.roll) - v * math.sin(self.roll)),
            self.y + self.size * (u * math.sin(self.roll) + v * math.cos(self.roll)),
        )


@dataclass(frozen=True)
class Light:
    """One lamp and the light of the room. `direction` (3,) points to the lamp: right, down, towards the viewer."""

    direction: tuple[float, float, float]
    key: tuple[float, float, float]  # gain a colour of what faces the lamp
    ambient: tuple[float, float, float]


def canvas_for(size: float) -> Canvas:
    """The canvas that suits heads of `size` frame pixels a head unit."""
    return make_canvas(round(size * OVERSAMPLING))


def light_head(portrait: Portrait, albedo: np.ndarray, light: Light, pose: Pose, look: Look) -> np.ndarray:
    """The head's colours under this light, float32 (H, W, 3), about 0..255."""
    # The lamp as the turned head sees it.
    lx, ly, lz = light.direction
    lx, lz = (
        lx * math.cos(pose.yaw) - lz * math.sin(pose.yaw),
        lx * math.sin(pose.yaw) + lz * math.cos(pose.yaw),
    )
    ly, lz = (
        ly * math.cos(pose.pitch) - lz * math.sin(pose.pitch),
        ly * math.sin(pose.pitch) + lz * math.cos(pose.pitch),
    )
    half = np.array((lx, ly, lz + 1.0))
    half /= np.linalg.norm(half)
    key, shine = cv2.split(cv2.transform(portrait.normals, np.array(((lx, ly, lz), half), np.float32)))
    # Light creeps a little way round into the shadow under skin, red the furthest.
    key = np.maximum(cv2.transform(key, np.array(WRAP, np.float32)), 0.0)
    shine = np.maximum(shine, 0.0)
    for _ in range(4):  # to the 16th power: skin's soft highlight
        shine *= shine
    shine *= portrait.gloss
    shade = cv2.transform(key, np.column_stack([np.diag(light.key), light.ambient]).astype(np.float32))
    gain = cv2.transform(
        portrait.inner_slope,
        np.array([(tint, look.slope, 1.0) for tint in (look.red, look.green, look.blue)], np.float32),
    )
    lit = cv2.multiply(cv2.multiply(albedo, shade), gain)
    # 26 grey levels at most: skin is moist, not wet.
    lit = lit + cv2.merge([shine * (26.0 * k) for k in light.key])
    return np.asarray(lit)


def _sources(
    portrait: Portrait, canvas: Canvas, pose: Pose, look: Look, jaw: float, roi: tuple[int, int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel of `roi` (left, top, width, height), the canvas pixel seen there."""
    left, top, width, height = roi
    columns, rows = width // WARP_STEP + 2, height // WARP_STEP + 2
    px = left + np.arange(columns, dtype=np.float32) * WARP_STEP - pose.x
    py = (top + np.arange(rows, dtype=np.float32) * WARP_STEP - pose.y)[:, None]
    cos, sin = math.cos(pose.roll) / pose.size, math.sin(pose.roll) / pose.size
    u, v = px * cos + py * sin, py * cos - px * sin
    # A point moves sideways by its depth; solve for the point that has moved here. Each round halves the error.
    sin_yaw, sin_pitch = math.sin(pose.yaw), math.sin(pose.pitch)
    x, y = u, v
    for _ in range(4):
        depth = cv2.remap(
            portrait.depth,
            ((x - LEFT) * canvas.scale - 0.5).astype(np.float32),
            ((y - TOP) * canvas.scale - 0.5).astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        x, y = u - (depth - PIVOT_DEPTH) * sin_yaw, v - (depth - PIVOT_DEPTH) * sin_pitch
    # The chin goes down with the lower lip.
    y = y - 0.075 * jaw * ramp(0.75, 1.15, y) * ramp(2.0, 1.4, y)
    radius = np.hypot(x / (INNER_WIDTH * 1.12), (y - INNER_Y) / (INNER_HEIGHT * 1.05))
    share = 1.0 - ramp(0.45, 1.1, radius)
    dx, dy = x, y - INNER_Y
    x = x - share * (look.shift_x + (look.size - 1.0) * dx - look.turn * dy)
    y = y - share * (look.shift_y + (look.size - 1.0) * dy + look.turn * dx)
    size = (columns * WARP_STEP, rows * WARP_STEP)
    # Not cv2.resize: it would put the first coarse value in the middle of its cell, and it belongs to pixel 0.
    enlarge = np.array([[WARP_STEP, 0, 0], [0, WARP_STEP, 0]], np.float32)
    to_x, to_y = (
        cv2.warpAffine(((values - origin) * canvas.scale - 0.5).astype(np.float32), enlarge, size)[:height, :width]
        for values, origin in ((x, LEFT), (y, TOP))
    )
    return to_x, to_y


def region_of(pose: Pose, frame_shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The part of the frame (left, top, width, height) that the head's canvas can reach."""
    corners = [pose.to_frame(x, y) for x in (LEFT, RIGHT) for y in (TOP, BOTTOM)]
    left = max(0, int(min(c[0] for c in corners)))
    top = max(0, int(min(c[1] for c in corners)))
    right = min(frame_shape[1], int(max(c[0] for c in corners)) + 1)
    bottom = min(frame_shape[0], int(max(c[1] for c in corners)) + 1)
    return left, top, right - left, bottom - top


def place_head(
    frame: np.ndarray, lit: np.ndarray, portrait: Portrait, canvas: Canvas, pose: Pose, look: Look, jaw: float
) -> None:
    """Turns a lit head and lays it over `frame` (H, W, 3) uint8 in place."""
    roi = region_of(pose, frame.shape)
    map_x, map_y = _sources(portrait, canvas, pose, look, jaw, roi)
    colours = cv2.merge([lit, portrait.cover * 255.0]).clip(0, 255).astype(np.uint8)
    seen = cv2.remap(colours, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    left, top, width, height = roi
    blend(frame[top : top + height, left : left + width], seen)


def express(
    portrait: Portrait, albedo: np.ndarray, canvas: Canvas, features: Features, moment: Expression
) -> np.ndarray:
    """A copy of `albedo` with eyes, mouth and glasses of this moment."""
    albedo = albedo.copy()
    draw_expression(albedo, canvas, features, portrait.person, moment)
    if portrait.person.glasses:
        albedo *= (1.0 - 0.85 * portrait.frame)[..., None]
    return albedo


def face_box(pose: Pose, chin_y: float, head_width: float) -> tuple[float, float, float, float]:
    """Tight box of the face in the frame: ear to ear, from the forehead to the chin."""
    # Between outline (depth 0) and inner face, where the eye puts the middle of a turned face.
    points = [pose.to_frame(x, y, 0.45) for x in (-0.95 * head_width, 0.95 * head_width) for y in (-0.80, chin_y)]
    left, top = min(p[0] for p in points), min(p[1] for p in points)
    return left, top, max(p[0] for p in points) - left, max(p[1] for p in points) - top
