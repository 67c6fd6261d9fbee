"""The surface that a head is drawn on, and the few shapes that everything is made of."""

import cv2
import numpy as np

# The part of the plane that a head with its hair needs, in head units: left, top, right, bottom.
LEFT, TOP, RIGHT, BOTTOM = -1.42, -1.72, 1.42, 1.86
OVERSAMPLING = 1.3  # canvas pixels per frame pixel: clean edges after linear interpolation, without aliasing


class Canvas:
    """Pixel coordinates for a head of `size` frame pixels per head unit.

    `x`, `y` are float32 (H, W) in head units; `scale` is canvas pixels per head unit.
    """

    def __init__(self, size: float) -> None:
        self.scale = round(size * OVERSAMPLING)
        sides = (RIGHT - LEFT, BOTTOM - TOP)
        columns, rows = (np.arange(round(side * self.scale), dtype=np.float32) for side in sides)
        self.x, self.y = np.meshgrid(LEFT + (columns + 0.5) / self.scale, TOP + (rows + 0.5) / self.scale)

    def window(self, x: float, y: float, half_width: float, half_height: float) -> tuple[slice, slice]:
        """Return rows and columns of a box around (x, y), cut at the border."""

        def part(low: float, high: float) -> slice:
            return slice(max(0, int(low * self.scale)), int(high * self.scale) + 1)

        return part(y - half_height - TOP, y + half_height - TOP), part(x - half_width - LEFT, x + half_width - LEFT)


def ramp(low: float, high: float, values: np.ndarray) -> np.ndarray:
    """Smoothstep: 0 below `low`, 1 above `high`, without corners."""
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def inside(distance: np.ndarray, scale: float) -> np.ndarray:
    """Return an antialiased mask of where a signed distance (head units) is positive: its edge is one pixel wide."""
    return np.clip(distance * scale + 0.5, 0.0, 1.0)


def bell(values: np.ndarray, deviation: np.ndarray | float) -> np.ndarray:
    """Gaussian of height 1 around 0."""
    return np.exp(-0.5 * (values / deviation) ** 2)


def bump(x: np.ndarray, y: np.ndarray, at: tuple[float, float], spread: tuple[float, float]) -> np.ndarray:
    """Gaussian hill of height 1."""
    return np.exp(-0.5 * (((x - at[0]) / spread[0]) ** 2 + ((y - at[1]) / spread[1]) ** 2))


def soft_noise(rng: np.random.Generator, shape: tuple[int, ...], cell: float) -> np.ndarray:
    """Draw smooth noise, float32, of mean 0 and deviation about 1, with lumps of `cell` pixels."""
    rows, columns = max(2, int(shape[0] / cell) + 2), max(2, int(shape[1] / cell) + 2)
    grid = rng.standard_normal((rows, columns)).astype(np.float32)
    return np.asarray(cv2.resize(grid, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC))


def strands(rng: np.random.Generator, position: np.ndarray, count: int) -> np.ndarray:
    """Draw fine and coarse streaks along lines of equal `position` (0..1); mean 0, deviation about 1."""
    total = np.zeros_like(position)
    for weight, cells in ((0.6, count), (0.6, count // 3), (0.5, count // 10)):
        table = rng.standard_normal(max(cells, 2) + 1).astype(np.float32)
        total += weight * np.interp(position * (len(table) - 1), np.arange(len(table)), table).astype(np.float32)
    return total


def paint(picture: np.ndarray, colour: np.ndarray | tuple[float, ...], mask: np.ndarray) -> None:
    """Paint a colour (one, or one per pixel) over `picture` (H, W, 3) in place, through a mask (H, W) of 0..1."""
    picture += mask[..., None] * (np.asarray(colour, np.float32) - picture)


def composite(target: np.ndarray, layer: np.ndarray) -> None:
    """Lay a layer (H, W, 4) uint8 RGBA over `target` (H, W, 3) uint8 in place."""
    alpha = cv2.extractChannel(layer, 3) * np.float32(1 / 255)
    colours = cv2.cvtColor(layer, cv2.COLOR_RGBA2RGB)
    target[:] = cv2.blendLinear(colours, np.ascontiguousarray(target), alpha, 1.0 - alpha)
