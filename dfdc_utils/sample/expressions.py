"""What moves within a face: eyes that look and blink, a mouth that speaks. Painted anew for each frame."""

from typing import NamedTuple

import numpy as np

from dfdc_utils.sample.canvas import Canvas, bell, inside, paint, ramp
from dfdc_utils.sample.people import Person

SCLERA = np.array((208, 200, 194), np.float32)
LIPSTICK = np.array((168, 48, 56), np.float32)
MOUTH_INSIDE = np.array((62, 22, 22), np.float32)
TEETH = np.array((222, 214, 200), np.float32)


class Expression(NamedTuple):
    """One moment of a face."""

    blink: float  # 0 open .. 1 shut
    gaze_x: float  # head units
    gaze_y: float
    mouth_open: float  # 0..1
    mouth_spread: float  # -1 round .. 1 wide


def draw_eye(albedo: np.ndarray, canvas: Canvas, person: Person, expression: Expression, side: int) -> None:
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
    upper = raised + expression.blink * (0.88 * lower - raised)
    ball = inside(y - upper, scale) * inside(lower - y, scale) * (np.abs(t) < 1.0)

    # Skin of the shut lid, a fold above it, a light rim below the eye.
    patch = albedo[window]
    lid = inside(y - raised + 0.01, scale) * inside(lower - y, scale) * (1 - ball)
    paint(patch, np.asarray(person.skin, np.float32) * (0.90 - 0.16 * f.lid_shade), lid * 0.9)
    fold = bell(y - raised + 0.052 - 0.03 * expression.blink, 0.014) * (vault > 0.02)
    patch *= (1.0 - 0.36 * fold * np.sqrt(vault))[..., None]
    patch *= (1.0 + 0.07 * bell(y - lower - 0.018, 0.013) * np.sqrt(vault))[..., None]

    shade = 0.55 + 0.45 * ramp(0.0, 0.07, y - upper)
    eye = SCLERA * (shade * (1.0 - 0.20 * np.abs(t) ** 3))[..., None]
    radius = f.iris_size * half
    iris_x, iris_y = x - expression.gaze_x, y + 0.05 * opening - expression.gaze_y
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


def draw_mouth(albedo: np.ndarray, canvas: Canvas, person: Person, expression: Expression) -> None:
    """Paint the lips, and teeth and darkness between them, over `albedo` (H, W, 3) in place."""
    f, scale = person.features, canvas.scale
    half = f.mouth_width * (1.0 + 0.10 * expression.mouth_spread - 0.08 * expression.mouth_open)
    gape = 0.20 * expression.mouth_open
    window = canvas.window(0.0, f.mouth_y + 0.06, half + 0.06, 0.34)
    x, y = canvas.x[window], canvas.y[window] - f.mouth_y
    t = np.clip(np.abs(x) / half, 0.0, 1.0)
    within = inside(half - np.abs(x), scale)
    vault = 1.0 - t * t
    corner = -(f.smile + 0.012 * expression.mouth_spread) * t**2.5
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
