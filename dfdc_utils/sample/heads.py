"""A painted head at one moment: eyes and mouth, which move within it, light, and its place in a frame."""

import math
from typing import NamedTuple

import cv2
import numpy as np

from dfdc_utils.sample.canvas import BOTTOM, LEFT, RIGHT, TOP, Canvas, bell, composite, inside, paint, ramp
from dfdc_utils.sample.people import Appearance, Person
from dfdc_utils.sample.portrait import INNER_HEIGHT, INNER_WIDTH, INNER_Y, Portrait

PIVOT_DEPTH = 0.30  # the head turns about an axis this far behind the plane of its outline (head units of depth)
# Depth of the middle of the inner face: when the head turns, it moves by this much more than the outline.
INNER_DEPTH = 0.80
# Turning is computed for every fourth pixel and interpolated between: it is smooth, and this is 16 times less work.
WARP_STEP = 4
# How much light passes around the edge of the shadow: a gain for each colour, then offsets of the lamp's cosine.
WRAP = np.array([(0.70, 0, 0, 0.30), (0, 0.79, 0, 0.21), (0, 0, 0.83, 0.17)], np.float32)
SCLERA = np.array((208, 200, 194), np.float32)
LIPSTICK = np.array((168, 48, 56), np.float32)
MOUTH_INSIDE = np.array((62, 22, 22), np.float32)
TEETH = np.array((222, 214, 200), np.float32)


class Pose(NamedTuple):
    """A head at one moment: its origin in the frame, its size, three angles in radians, and what its face does."""

    x: float  # pixels
    y: float
    size: float  # pixels per head unit
    roll: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    blink: float = 0.0  # 0 open .. 1 shut
    gaze_x: float = 0.0  # head units
    gaze_y: float = 0.0
    mouth_open: float = 0.0  # 0..1
    mouth_spread: float = 0.0  # -1 round .. 1 wide

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


def _draw_eye(albedo: np.ndarray, canvas: Canvas, person: Person, pose: Pose, side: int) -> None:
    """Paint one eye over `albedo` (H, W, 3) in place; `side` is -1 for the left of the picture, 1 for the right."""
    f, scale = person.features, canvas.scale
    half = f.eye_width
    window = canvas.window(side * f.eye_gap, f.eye_y - 0.02, half + 0.08, 0.24)
    x, y = canvas.x[window] - side * f.eye_gap, canvas.y[window] - f.eye_y
    y = y + side * x * f.eye_tilt
    t = x / half
    vault = np.clip(1.0 - np.abs(t) ** 2.3, 0.0, 1.0)
    opening = half * f.eye_height
    raised = -opening * 0.95 * vault
    lower = opening * 0.52 * vault
    upper = raised + pose.blink * (0.88 * lower - raised)
    ball = inside(y - upper, scale) * inside(lower - y, scale) * (np.abs(t) < 1.0)

    # Skin of the shut lid, a fold above it, a light rim below the eye.
    patch = albedo[window]
    lid = inside(y - raised + 0.01, scale) * inside(lower - y, scale) * (1 - ball)
    paint(patch, np.asarray(person.skin, np.float32) * (0.90 - 0.16 * f.lid_shade), lid * 0.9)
    fold = bell(y - raised + 0.052 - 0.03 * pose.blink, 0.014) * (vault > 0.02)
    patch *= (1.0 - 0.36 * fold * np.sqrt(vault))[..., None]
    patch *= (1.0 + 0.07 * bell(y - lower - 0.018, 0.013) * np.sqrt(vault))[..., None]

    shade = 0.55 + 0.45 * ramp(0.0, 0.07, y - upper)
    eye = SCLERA * (shade * (1.0 - 0.20 * np.abs(t) ** 3))[..., None]
    radius = f.iris_size * half
    iris_x, iris_y = x - pose.gaze_x, y + 0.05 * opening - pose.gaze_y
    distance = np.hypot(iris_x, iris_y)
    ring = distance / radius
    iris = np.array((f.iris_red, f.iris_green, f.iris_blue), np.float32)
    tint = iris * ((0.75 + 0.55 * ramp(0.45, 0.85, ring) - 0.75 * ramp(0.78, 1.0, ring)) * shade)[..., None]
    paint(eye, tint, inside(radius - distance, scale))
    paint(eye, (12, 10, 10), inside(radius * 0.42 - distance, scale))
    glint = np.hypot(iris_x + 0.28 * radius, iris_y + 0.30 * radius)
    paint(eye, (255, 255, 255), 0.95 * inside(radius * 0.24 - glint, scale))
    paint(patch, eye, ball)

    lash = bell(y - upper + 0.004, 0.012 + 0.008 * f.lid_shade)
    lash = lash * ramp(1.12, 0.95, np.abs(t)) * (0.65 + 0.35 * ramp(-0.8, 0.6, side * t))
    lower_lash = 0.32 * bell(y - lower, 0.010) * ramp(1.08, 0.9, np.abs(t))
    paint(patch, (30, 22, 20), np.clip(np.maximum(lash * (0.72 + 0.25 * f.lid_shade), lower_lash), 0, 1))


def _draw_mouth(albedo: np.ndarray, canvas: Canvas, person: Person, pose: Pose) -> None:
    """Paint the lips, and teeth and darkness between them, over `albedo` (H, W, 3) in place."""
    f, scale = person.features, canvas.scale
    half = f.mouth_width * (1.0 + 0.10 * pose.mouth_spread - 0.08 * pose.mouth_open)
    gape = 0.20 * pose.mouth_open
    window = canvas.window(0.0, f.mouth_y + 0.06, half + 0.06, 0.34)
    x, y = canvas.x[window], canvas.y[window] - f.mouth_y
    t = np.clip(np.abs(x) / half, 0.0, 1.0)
    within = inside(half - np.abs(x), scale)
    vault = 1.0 - t * t
    corner = -(f.smile + 0.012 * pose.mouth_spread) * t**2.5
    # Cupid's bow: a dip in the middle of the upper lip, peaks a quarter of the way out.
    bow = 1.0 - 0.22 * np.exp(-((t / 0.16) ** 2))
    upper_out = corner - f.lip_upper * 1.15 * vault**0.85 * bow - 0.25 * gape * vault
    upper_in = corner + 0.012 * vault - 0.20 * gape * vault**0.7
    lower_in = corner + 0.012 * vault + 0.80 * gape * vault**0.7
    lower_out = lower_in + f.lip_lower * 1.05 * vault**0.75

    skin = np.asarray(person.skin, np.float32)
    lip = skin * np.array((0.86, 0.66, 0.66), np.float32) * (1 - 0.55 * f.lip_red) + LIPSTICK * 0.55 * f.lip_red
    lip = lip * (1.0 - 0.12 * person.age)
    patch = albedo[window]
    edge = 0.45 * scale  # lips have no hard border
    upper = inside(y - upper_out, edge) * inside(upper_in - y, scale) * within
    depth = np.clip((y - upper_out) / np.maximum(upper_in - upper_out, 1e-3), 0, 1)
    paint(patch, lip * (0.96 - 0.26 * depth)[..., None], upper * 0.92)
    lower = inside(y - lower_in, scale) * inside(lower_out - y, edge) * within
    depth = np.clip((y - lower_in) / np.maximum(lower_out - lower_in, 1e-3), 0, 1)
    swell = 0.80 + 0.34 * bell(depth - 0.42, 0.25) - 0.14 * depth + 0.03 * np.sin(x * 75.0) * vault
    paint(patch, lip * swell[..., None], lower * 0.92)
    if gape > 0.01:
        inner = np.tile(MOUTH_INSIDE, (*x.shape, 1))
        teeth = inside(upper_in + 0.075 + 0.02 * vault - y, scale) * ramp(0.95, 0.6, t)
        paint(inner, TEETH * (0.62 + 0.30 * vault)[..., None], teeth * min(1.0, 10.0 * gape))
        paint(patch, inner, inside(y - upper_in, scale) * inside(lower_in - y, scale) * within)
    seam = bell(y - upper_in, 0.013) * within * (0.35 + 0.65 * ramp(0.0, 0.06, vault))
    paint(patch, lip * 0.28, 0.72 * seam)
    shadow = bell(y - lower_out - 0.03, 0.028) * vault * within
    patch *= (1.0 - 0.16 * shadow)[..., None]


def express(portrait: Portrait, pose: Pose) -> np.ndarray:
    """Return a copy of the head's colours with eyes, mouth and glasses of this moment."""
    albedo = portrait.albedo.copy()
    for side in (-1, 1):
        _draw_eye(albedo, portrait.canvas, portrait.person, pose, side)
    _draw_mouth(albedo, portrait.canvas, portrait.person, pose)
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


def place_head(frame: np.ndarray, head: LitHead, pose: Pose) -> None:
    """Turn a lit head and lay it over `frame` (H, W, 3) uint8 in place."""
    # The part of the frame that the canvas can reach.
    corners = np.array([pose.to_frame(x, y) for x in (LEFT, RIGHT) for y in (TOP, BOTTOM)])
    left, top = np.maximum(corners.min(axis=0).astype(int), 0).tolist()
    right, bottom = np.minimum(corners.max(axis=0).astype(int) + 1, frame.shape[1::-1]).tolist()
    layer = cv2.merge([head.colours, head.portrait.cover * 255.0]).clip(0, 255).astype(np.uint8)
    seen = cv2.remap(layer, *_sources(head, pose, left, top, right - left, bottom - top), cv2.INTER_LINEAR)
    composite(frame[top:bottom, left:right], seen)


def _sources(head: LitHead, pose: Pose, left: int, top: int, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each pixel of a part of the frame the canvas pixel that is seen there."""
    canvas, appearance = head.portrait.canvas, head.appearance
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
    y = y - 0.075 * pose.mouth_open * ramp(0.75, 1.15, y) * ramp(2.0, 1.4, y)
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
