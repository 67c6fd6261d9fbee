"""The head's own drawing surface and the few shapes that everything is made of."""

from functools import lru_cache

import cv2
import numpy as np

# Part of the plane that a head with its hair needs, in head units: left, top, right, bottom.
LEFT, TOP, RIGHT, BOTTOM = -1.42, -1.72, 1.42, 1.86


class Canvas:
    """Pixel coordinates of a head's surface.

    `x`, `y` are float32 (H, W) in head units; `scale` is pixels per head unit.
    """

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self.width = round((RIGHT - LEFT) * scale)
        self.height = round((BOTTOM - TOP) * scale)
        xs = (LEFT + (np.arange(self.width, dtype=np.float32) + 0.5) / scale).astype(np.float32)
        ys = (TOP + (np.arange(self.height, dtype=np.float32) + 0.5) / scale).astype(np.float32)
        self.x, self.y = np.meshgrid(xs, ys)

    def window(self, x: float, y: float, half_width: float, half_height: float) -> tuple[slice, slice]:
        """Rows and columns of a box around (x, y), cut at the canvas."""
        left = max(0, int((x - half_width - LEFT) * self.scale))
        right = min(self.width, int((x + half_width - LEFT) * self.scale) + 1)
        top = max(0, int((y - half_height - TOP) * self.scale))
        bottom = min(self.height, int((y + half_height - TOP) * self.scale) + 1)
        return slice(top, bottom), slice(left, right)


@lru_cache(maxsize=8)
def make_canvas(scale: float) -> Canvas:
    """The canvas of this scale; clips of one size share it."""
    return Canvas(scale)


def ramp(low: float, high: float, values: np.ndarray) -> np.ndarray:
    """Smoothstep: 0 below `low`, 1 above `high`, without corners."""
    share = np.clip((values - low) / (high - low), 0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)


def inside(distance: np.ndarray, scale: float) -> np.ndarray:
    """Antialiased mask of where a signed distance (head units) is positive: the edge is one pixel wide."""
    return np.clip(distance * scale + 0.5, 0.0, 1.0)


def bump(x: np.ndarray, y: np.ndarray, at: tuple[float, float], spread: tuple[float, float]) -> np.ndarray:
    """A Gaussian hill of height 1."""
    return np.exp(-0.5 * (((x - at[0]) / spread[0]) ** 2 + ((y - at[1]) / spread[1]) ** 2))


def soft_noise(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> np.ndarray:
    """Smooth noise of mean 0 and deviation about 1 (float32), with lumps of `cell` pixels."""
    rows, columns = max(2, int(shape[0] / cell) + 2), max(2, int(shape[1] / cell) + 2)
    grid = rng.standard_normal((rows, columns)).astype(np.float32)
    noise: np.ndarray = cv2.resize(grid, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return noise


def strands(rng: np.random.Generator, position: np.ndarray, count: int) -> np.ndarray:
    """Fine and coarse streaks along lines of equal `position` (0..1); mean 0, deviation about 1."""
    total = np.zeros_like(position)
    for share, cells in ((0.6, count), (0.6, count // 3), (0.5, count // 10)):
        table = rng.standard_normal(max(cells, 2) + 1).astype(np.float32)
        total += share * np.interp(position * (len(table) - 1), np.arange(len(table)), table).astype(np.float32)
    return total


def paint(albedo: np.ndarray, colour: np.ndarray | tuple[float, ...], mask: np.ndarray) -> None:
    """Lays a colour (one, or one a pixel) over `albedo` (H, W, 3) in place, through a mask of 0..1 (H, W)."""
    albedo += mask[..., None] * (np.asarray(colour, np.float32) - albedo)


def blend(target: np.ndarray, colours: np.ndarray) -> None:
    """Lays `colours` (H, W, 4) uint8, the last one the cover, over `target` (H, W, 3) uint8 in place."""
    cover = cv2.extractChannel(colours, 3) * np.float32(1 / 255)
    over = cv2.cvtColor(colours, cv2.COLOR_RGBA2RGB)
    target[:] = cv2.blendLinear(over, np.ascontiguousarray(target), cover, 1.0 - cover)
