"""What surrounds a head: a background, neck and shoulders, and a room without people."""

from typing import NamedTuple

import cv2
import numpy as np

from dfdc_utils.sample.canvas import bell, composite, inside, paint, ramp, soft_noise
from dfdc_utils.sample.heads import Pose
from dfdc_utils.sample.people import Person

MARGIN = 16  # pixels by which backgrounds reach beyond the frame: a shaking camera never shows their edge


def _colour(rng: np.random.Generator, low: float, high: float, saturation: float) -> np.ndarray:
    """Draw a random colour (3,) of brightness low..high; `saturation` 0 grey .. 1."""
    tint = rng.uniform(-1.0, 1.0, 3)
    return np.asarray(rng.uniform(low, high) * (1.0 + saturation * (tint - tint.mean())), np.float32)


def draw_background(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Draw a wall with furniture out of focus: uint8 (H + 2 MARGIN, W + 2 MARGIN, 3)."""
    rows, columns = height + 2 * MARGIN, width + 2 * MARGIN
    ys = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    xs = np.linspace(0, 1, columns, dtype=np.float32)[None]
    left, right = (_colour(rng, 70, 190, 0.10) for _ in range(2))
    weight = np.clip(0.5 + (xs - 0.5) * rng.uniform(-1, 1) + (ys - 0.5) * rng.uniform(-0.8, 0.8), 0, 1)[..., None]
    wall = left * (1 - weight) + right * weight
    # Long upright and lying shapes (shelves, windows, doors): nothing that a face detector could take for a head.
    for _ in range(rng.integers(3, 9)):
        upright = rng.random() < 0.6
        w, h = rng.uniform(0.03, 0.14) * columns, rng.uniform(0.5, 1.2) * rows
        if not upright:
            w, h = rng.uniform(0.3, 0.9) * columns, rng.uniform(0.03, 0.14) * rows
        x, y = rng.uniform(-0.1, 1) * columns, rng.uniform(-0.2, 1) * rows
        opacity = rng.uniform(0.3, 0.9)
        box = (slice(max(0, int(y)), max(0, int(y + h))), slice(max(0, int(x)), max(0, int(x + w))))
        wall[box] = wall[box] * (1 - opacity) + _colour(rng, 40, 215, 0.20) * opacity
    # Out of focus by a few pixels up to a blur of everything, different in each scene.
    wall = cv2.GaussianBlur(wall, (0, 0), float(np.exp(rng.uniform(np.log(2.0), np.log(12.0)))))
    lumps = 3.0 * soft_noise(rng, (rows, columns), 60)
    grain = rng.uniform(0, 4.0) * soft_noise(rng, (rows, columns), rng.uniform(1.2, 4.0))
    wall += (lumps + grain)[..., None]
    return np.asarray(wall.clip(0, 255), np.uint8)


class Layer(NamedTuple):
    """Something that is drawn once and moved about."""

    colours: np.ndarray  # uint8 (H, W, 4) RGBA
    top: int  # its first row in the frame
    left: int  # its first column


def draw_body(
    rng: np.random.Generator, person: Person, frame_size: tuple[int, int], rest: Pose, brightness: np.ndarray
) -> Layer:
    """Draw neck, shoulders and clothes under a head at `rest`; `brightness` (3,) is the light's gain per colour."""
    (width, height), size = frame_size, rest.size
    top = max(0, int(rest.y))
    ys, xs = np.mgrid[top : height + MARGIN, 0:width].astype(np.float32)
    x, y = (xs - rest.x) / size, (ys - rest.y) / size
    side = np.abs(x)
    colours = np.zeros((*x.shape, 3), np.float32)
    cover = np.zeros_like(x)

    def add(colour: np.ndarray, mask: np.ndarray) -> None:
        paint(colours, colour, mask)
        np.maximum(cover, mask, out=cover)

    if person.hair_style == "long":
        behind = inside(person.head_width + 0.02 - side, size) * ramp(1.55, 1.35, y)
        add(np.asarray(person.hair_colour, np.float32) * 0.45, behind)
    female = person.pitch > 160
    neck = (0.50 if female else 0.60) * rng.uniform(0.94, 1.06)
    base_y = person.chin_y + rng.uniform(0.34, 0.46)  # where the neck meets the shoulders
    reach = neck + 0.16 * ramp(base_y - 0.30, base_y + 0.15, y)
    round_neck = np.sqrt(np.clip(1.0 - (side / (reach + 0.02)) ** 2, 0, 1))
    under_chin = 0.52 + 0.48 * ramp(person.chin_y - 0.10, person.chin_y + 0.40, y)
    tendon = 1.0 - 0.05 * bell(side - 0.20 - 0.12 * (base_y - y), 0.05)
    skin = np.asarray(person.skin, np.float32)
    add(skin * ((0.60 + 0.40 * round_neck) * under_chin * tendon)[..., None], inside(reach - side, size))

    # Shoulders fall gently from the neck, then round into the arms.
    half = rng.uniform(1.90, 2.15) * (0.90 if female else 1.05)
    out = np.clip((side - neck) / (half - neck), 0.0, 1.0)
    slope = base_y + 0.36 * out + 0.55 * (1.0 - np.sqrt(1.0 - out**5))
    trunk = inside(y - slope, size) * inside(half - side, size)
    add(skin * (0.90 - 0.10 * ramp(base_y + 0.5, base_y + 1.2, y))[..., None], trunk)
    # Collar: round, pointed, or high and closed.
    style = str(rng.choice(("round", "pointed", "high")))
    depth = {"round": 0.24, "pointed": 0.62, "high": -0.05}[style]
    open_to = np.clip(side / (neck + 0.20), 0.0, 1.0)
    edge = base_y + 0.03 + depth * ((1 - open_to) if style == "pointed" else (1 - open_to**2))
    cloth = np.where(side < neck + 0.20, inside(y - edge, size), 1.0) * np.maximum(
        trunk, inside(y - edge, size) * inside(reach + 0.02 - side, size) * (y > edge)
    )
    base = _colour(rng, 30, 175, 0.35)
    folds = 0.05 * soft_noise(rng, x.shape, 0.7 * size) + 0.025 * soft_noise(rng, x.shape, 0.25 * size)
    weave = rng.uniform(0, 0.04) * soft_noise(rng, x.shape, 2.0)
    # Cloth falls away from the light at the arms and below the chest.
    shading = (1.0 - 0.35 * out**3 - 0.22 * ramp(base_y + 0.3, base_y + 1.8, y)) * (1 + folds + weave)
    if rng.random() < 0.25:
        shading = shading * (1 + rng.uniform(0.04, 0.14) * np.clip(3 * np.sin(y * rng.uniform(12, 24)), -1, 1))
    hem = 1.0 - 0.30 * bell(y - edge - 0.03, 0.03) * (side < neck + 0.22)
    add(np.clip(base * (shading * hem)[..., None], 0, 255), cloth)
    colours = np.concatenate([colours * np.float32(brightness), 255.0 * cover[..., None]], axis=2)
    covered = np.flatnonzero(cover.any(axis=0))
    left = max(0, int(covered[0]) - MARGIN)
    return Layer(np.clip(colours[:, left : int(covered[-1]) + MARGIN], 0, 255).astype(np.uint8), top, left)


def place_layer(frame: np.ndarray, layer: Layer, shift: tuple[float, float]) -> None:
    """Lay a layer, moved by `shift` (right, down) pixels, over `frame` (H, W, 3) uint8 in place."""
    # Moved down, the layer still starts under the head, which hides its first rows.
    target = frame[layer.top :, layer.left : layer.left + layer.colours.shape[1]]
    move = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    composite(target, cv2.warpAffine(layer.colours, move, target.shape[1::-1], borderMode=cv2.BORDER_REPLICATE))


def draw_room(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Draw a room without people, in focus: uint8 (H + 2 MARGIN, W + 2 MARGIN, 3)."""
    rows, columns = height + 2 * MARGIN, width + 2 * MARGIN
    room = np.empty((rows, columns, 3), np.float32)
    ys = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None]
    floor = int(0.72 * rows)
    room[:] = _colour(rng, 150, 190, 0.08) * (1.05 - 0.2 * ys)
    room[floor:] = _colour(rng, 80, 110, 0.25) * (0.7 + 0.5 * ys[floor:])
    room[floor:] += (np.arange(columns) // 37 % 2 * 6).astype(np.float32)[None, :, None]  # boards
    room[floor - 5 : floor] = 215.0

    def box(x: float, y: float, w: float, h: float, colour: tuple[int, int, int]) -> None:
        room[int(y * rows) : int((y + h) * rows), int(x * columns) : int((x + w) * columns)] = colour

    box(0.08, 0.12, 0.27, 0.44, (225, 225, 225))  # window
    box(0.09, 0.14, 0.25, 0.40, (176, 204, 228))
    box(0.21, 0.14, 0.012, 0.40, (225, 225, 225))
    # The Haar cascade took a dark picture frame for a face here; it never does with a light one.
    box(0.52, 0.14, 0.24, 0.22, (214, 206, 190))
    box(0.53, 0.16, 0.22, 0.18, (176, 190, 196))
    box(0.53, 0.27, 0.22, 0.07, (138, 158, 124))
    box(0.50, 0.62, 0.40, 0.035, (126, 86, 54))  # table, and a vase on it
    box(0.53, 0.655, 0.018, 0.27, (104, 70, 44))
    box(0.855, 0.655, 0.018, 0.27, (104, 70, 44))
    box(0.60, 0.53, 0.05, 0.09, (60, 96, 120))
    room = cv2.GaussianBlur(room, (0, 0), 1.2) + 2.0 * soft_noise(rng, (rows, columns), 2.5)[..., None]
    return np.asarray(room.clip(0, 255), np.uint8)
