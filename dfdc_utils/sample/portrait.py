"""One person's head as maps on a canvas: colour, surface normals, gloss, cover. Painted once per clip.

Hair, beard and brows are streaks in the direction of growth.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from dfdc_utils.sample.canvas import Canvas, bell, bump, inside, paint, ramp, soft_noise, strands
from dfdc_utils.sample.people import Person

WIDEST_Y = -0.02  # where the head is widest; the two halves of its outline meet there
# Centre and half axes of the inner face, which swaps replace: an ellipse from above the brows to just above the chin.
INNER_Y, INNER_WIDTH, INNER_HEIGHT = 0.36, 0.80, 0.90
# How far down hair reaches at the sides (head units): a sideburn, or below the shoulders.
SIDE_END = {"short": 0.02, "parted": 0.10, "curly": 0.20, "long": 1.75, "bald": 0.12}


@dataclass
class Portrait:
    """A painted head. All maps are float32 on the canvas (H, W)."""

    person: Person
    canvas: Canvas
    albedo: np.ndarray  # (H, W, 3) in 0..255
    normals: np.ndarray  # (H, W, 3), unit length: z towards the viewer, y, x
    gloss: np.ndarray
    cover: np.ndarray  # 0..1
    depth: np.ndarray  # head units, smooth, for turning
    glasses: np.ndarray  # their rims, 0..1
    inner_slope: np.ndarray  # (H, W, 3): the inner face 0..1, the same growing from left to right, and ones


def outline(person: Person, x: np.ndarray, y: np.ndarray, grown: float = 0.0) -> np.ndarray:
    """Return how far out points lie: 0 in the middle of the head, 1 on its outline (grown by `grown`), more outside."""
    below = np.maximum(y - WIDEST_Y, 0.0) / (person.chin_y - WIDEST_Y + grown)
    above = np.maximum(WIDEST_Y - y, 0.0) / (person.skull_height + grown)
    width = (person.head_width + grown) * (1.0 - person.jaw_taper * ramp(0.05, 1.0, below))
    power = np.where(y > WIDEST_Y, person.jaw_power, 2.2)
    across = np.abs(x) / width
    return np.asarray((across**power + np.where(y > WIDEST_Y, below, above) ** power) ** (1.0 / power))


def _segment_distance(x: np.ndarray, y: np.ndarray, start: tuple[float, float], end: tuple[float, float]) -> np.ndarray:
    along_x, along_y = end[0] - start[0], end[1] - start[1]
    t = np.clip(((x - start[0]) * along_x + (y - start[1]) * along_y) / (along_x**2 + along_y**2), 0, 1)
    return np.hypot(x - start[0] - t * along_x, y - start[1] - t * along_y)


def _relief(canvas: Canvas, person: Person) -> np.ndarray:
    """Return the height (head units) above the smooth head: nose, sockets, lips, folds."""
    x, y, side = canvas.x, canvas.y, np.abs(canvas.x)
    f, age = person.features, person.age
    height = np.zeros_like(x)
    # Nose: a ridge that grows towards the tip and falls off sharply below it, a tip, two wings.
    along = np.clip((y - f.eye_y + 0.08) / (f.nose_y - f.eye_y + 0.08), 0.0, 1.0)
    ridge = bell(x, 0.080 + 0.062 * along * f.nose_width)
    fall = 1.0 - ramp(f.nose_y - 0.02, f.nose_y + 0.07, y)
    height += f.nose_height * (0.05 + 0.15 * along**1.3) * ridge * fall * ramp(f.eye_y - 0.22, f.eye_y + 0.05, y)
    height += 0.075 * f.nose_height * bump(x, y, (0, f.nose_y - 0.06), (0.085 * f.nose_width, 0.075))
    height += 0.075 * bump(side, y, (0.135 * f.nose_width, f.nose_y - 0.015), (0.05 * f.nose_width, 0.055))
    # Sockets, eyeballs, brow ridge, cheekbones.
    height -= 0.085 * bump(side, y, (f.eye_gap - 0.06, f.eye_y - 0.06), (0.17, 0.10))
    height += 0.045 * bump(side, y, (f.eye_gap, f.eye_y), (0.14, 0.085))
    height += 0.030 * bump(side, y, (f.eye_gap, f.eye_y - f.brow_y + 0.05), (0.24, 0.07))
    height += 0.055 * f.cheek_fullness * bump(side, y, (0.56, 0.36), (0.20, 0.16))
    height -= 0.030 * (1.4 - f.cheek_fullness) * bump(side, y, (0.60, 0.78), (0.16, 0.20))
    # Lips, the dent above them, the fold below, the chin.
    mouth = bell(x, f.mouth_width * 0.62)
    height += 0.035 * mouth * bell(y - f.mouth_y + 0.05, 0.045)
    height += 0.045 * mouth * bell(y - f.mouth_y - 0.06, 0.045)
    height -= 0.035 * mouth * bell(y - f.mouth_y - 0.19, 0.05)
    height -= 0.014 * bump(x, y, (0, f.mouth_y - 0.16), (0.035, 0.07))
    height += 0.060 * bump(x, y, (0, f.mouth_y + 0.33), (0.22, 0.12))
    # Folds deepen with age: from the nose to the mouth's corners, below the eyes, across the forehead.
    fold = _segment_distance(side, y, (0.20 * f.nose_width, f.nose_y), (f.mouth_width + 0.10, f.mouth_y + 0.02))
    height -= (0.006 + 0.026 * age) * bell(fold, 0.035)
    bag = _segment_distance(side, y, (f.eye_gap - 0.13, f.eye_y + 0.16), (f.eye_gap + 0.14, f.eye_y + 0.17))
    height -= (0.004 + 0.014 * age) * bell(bag, 0.028)
    lines = np.sin((y + 0.05 * x * x) * 55.0) * bump(x, y, (0, -0.62), (0.34, 0.11))
    height += max(0.0, age - 0.4) * 0.010 * lines
    return height


def _skin(canvas: Canvas, person: Person, rng: np.random.Generator) -> np.ndarray:
    """Draw the colour of the skin (H, W, 3): tone, flush, shade around the eyes, blotches, pores, freckles."""
    x, y, side = canvas.x, canvas.y, np.abs(canvas.x)
    f, shape, scale = person.features, canvas.x.shape, canvas.scale
    albedo = np.empty((*shape, 3), np.float32)
    albedo[:] = person.skin
    lightness = np.mean(person.skin) / 220.0
    nose = bump(x, y, (0, f.nose_y - 0.05), (0.14, 0.10))
    flush = f.cheek_red * (bump(side, y, (0.56, 0.42), (0.20, 0.17)) + 0.7 * nose)
    flush += 0.25 * bump(x, y, (0, 1.15), (0.25, 0.15)) + 0.10 * soft_noise(rng, shape, 0.30 * scale)
    albedo *= 1.0 - flush[..., None] * np.array((0.0, 0.15, 0.13), np.float32) * lightness
    shade = (0.10 + 0.14 * person.age) * bump(side, y, (f.eye_gap - 0.02, f.eye_y + 0.09), (0.17, 0.07))
    shade += 0.16 * f.lid_shade * bump(side, y, (f.eye_gap, f.eye_y - 0.10), (0.17, 0.06))
    albedo *= 1.0 - shade[..., None] * np.array((0.75, 1.0, 0.9), np.float32)
    pores = 0.018 * soft_noise(rng, shape, 0.10 * scale) + 0.016 * soft_noise(rng, shape, 0.028 * scale)
    albedo *= 1.0 + pores[..., None]
    spots = ramp(1.5, 2.3, soft_noise(rng, shape, 0.034 * scale)) * bump(side, y, (0.25, 0.35), (0.40, 0.28))
    albedo *= 1.0 - person.freckles * spots[..., None] * np.array((0.14, 0.26, 0.32), np.float32)
    nostril = bump(side, y, (0.088 * f.nose_width, f.nose_y + 0.028), (0.034 * f.nose_width, 0.019))
    albedo *= 1.0 - 0.62 * np.clip(nostril * 1.2, 0, 1)[..., None]
    return albedo


def _add_ears(canvas: Canvas, person: Person, albedo: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Paint both ears in place and return where they are (H, W), 0..1."""
    side = np.abs(canvas.x)
    size = person.ear_size
    across = (side - person.head_width * 0.985 - 0.035 * size) / (0.115 * size)
    along = (canvas.y - 0.14) / (0.29 * size)
    radius = np.hypot(across - 0.25 * along * along + 0.18 * along, along)
    ear = inside((1.0 - radius) * 0.115, canvas.scale)
    hollow = bell(np.hypot(across * 1.1 - 0.05, along * 1.05) - 0.52, 0.13)
    outside = ear * (outline(person, canvas.x, canvas.y) > 1.0)
    albedo *= 1.0 - (outside * (0.06 + 0.30 * hollow))[..., None] * np.array((0.7, 1.0, 1.0), np.float32)
    height += outside * 0.05 * np.sqrt(np.clip(1.0 - radius * radius, 0.0, 1.0))
    return ear


def _glasses(canvas: Canvas, person: Person) -> np.ndarray:
    """Draw the glasses: rims, bridge and the start of the arms (H, W), 0..1."""
    if not person.glasses:
        return np.zeros_like(canvas.x)
    f, side = person.features, np.abs(canvas.x)
    across, along = (side - f.eye_gap - 0.01) / 0.30, (canvas.y - f.eye_y - 0.04) / 0.215
    rim = np.abs((across**4 + along**4) ** 0.25 - 1.0) * 0.24
    bridge = np.where(side < f.eye_gap - 0.28, np.abs(canvas.y - f.eye_y + 0.02 + 1.5 * side**2), 1.0)
    arm = np.where((side > f.eye_gap + 0.30) & (side < person.head_width), np.abs(canvas.y - f.eye_y + 0.03), 1.0)
    # 0.014 head units: rims about as thin as a pixel of the frame, so that face detectors still see the eyes.
    return inside(0.014 - np.minimum(np.minimum(rim, bridge), arm), canvas.scale)


def _hairline(canvas: Canvas, person: Person, rng: np.random.Generator) -> np.ndarray:
    """Return for each point (H, W) how far down hair reaches there."""
    x = canvas.x / person.head_width
    front = person.hairline + 0.22 * np.abs(x) ** 2.5
    if person.hair_style == "parted":
        front = person.hairline + 0.30 * ramp(-0.5, 0.95, x * np.sign(person.parting)) + 0.10 * np.abs(x) ** 3
    elif person.hair_style == "long":
        front = person.hairline + 0.42 * np.clip(np.abs(x - 0.12 * person.parting), 0, 1) ** 1.6
    elif person.hair_style == "bald":
        front = np.full_like(x, -9.0)
    ragged = 0.02 * strands(rng, (canvas.x / 3.6 + 0.5), 90)
    sides = ramp(0.78, 0.93, np.abs(x))
    end = np.full_like(x, SIDE_END[person.hair_style])
    if person.hair_style == "bald":
        # A ring around ears and neck: nothing above the temples.
        end = np.where(canvas.y > -0.42 + 0.03 * ragged, end, -9.0)
    return np.asarray(front * (1 - sides) + end * sides + ragged)


def _grow_hair(
    canvas: Canvas, person: Person, radius: np.ndarray, grown: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """Draw the hair of the head: cover (H, W) 0..1, colour (H, W, 3), height (H, W) in head units.

    `radius` and `grown` (H, W) are the distance from the middle relative to the head's outline and to the hair's.
    """
    x, y, scale, style = canvas.x, canvas.y, canvas.scale, person.hair_style
    edge: np.ndarray | float = 0.0
    if style == "curly":
        edge = 0.028 * soft_noise(rng, x.shape, 0.13 * scale)
        grown = np.maximum(grown - 0.06, 0.0)
    limit = grown if style != "bald" else radius - 0.03
    cover = inside((1.0 + edge - limit) * 0.9, scale) * inside(_hairline(canvas, person, rng) - y, scale * 0.28)
    if style == "long":
        # Two curtains beside the face, over the ears and in front of the shoulders.
        outer = person.head_width + 0.12 * person.hair_volume + 0.06 * ramp(0.2, 1.4, y)
        inner = person.head_width * (0.90 - 0.10 * ramp(0.3, 1.0, y))
        inner = inner + 0.03 * np.sin(3.0 * y + 2.0 * person.parting)
        side = np.abs(x)
        curtain = inside(outer - side, scale) * inside(side - inner, scale * 0.6) * ramp(-0.3, 0.0, y)
        tips = 1.55 + 0.12 * strands(rng, x / 3.6 + 0.5, 60)
        cover = np.maximum(cover, curtain * ramp(0.0, 0.10, tips - y))
    # Streaks run from the parting over the skull, then straight down beside the face.
    root = 0.35 * person.parting if style in ("parted", "long") else 0.0
    angle = np.arctan2(x - root * ramp(-0.2, -1.0, y), -(y + 0.35)) / (2 * np.pi) + 0.5
    beside = ramp(-0.7, -0.1, y)
    position = angle * (1 - beside) + (x / 3.6 + 0.5) * beside
    wave = 0.006 * soft_noise(rng, x.shape, 0.25 * scale)
    if style == "curly":
        wave = 0.022 * soft_noise(rng, x.shape, 0.10 * scale)
    streaks = strands(rng, np.clip(position + wave, 0, 1), 420)
    light = 1.0 + 0.16 * streaks
    # A band of light across the streaks, as on smooth hair.
    band = bell(grown - 0.78 + 0.03 * streaks, 0.10)
    light += 0.45 * band * ramp(0.2, -0.8, y) + 0.10 * soft_noise(rng, x.shape, 0.2 * scale)
    light *= 1.0 - 0.35 * ramp(0.85, 1.0, grown) * (y < 0.3)
    colour = np.asarray(person.hair_colour, np.float32) * np.clip(light, 0.35, 2.2)[..., None]
    height = np.clip(1.0 - grown**2.4, 0.0, 1.0) ** 0.6 + 0.006 * streaks
    if style == "bald":
        cover = cover * 0.6
    return cover.astype(np.float32), colour.astype(np.float32), height.astype(np.float32)


def _grow_beard(
    canvas: Canvas, person: Person, radius: np.ndarray, albedo: np.ndarray, gloss: np.ndarray, rng: np.random.Generator
) -> None:
    """Paint stubble or a beard over `albedo` and dull `gloss`, both in place."""
    if person.beard <= 0.0:
        return
    x, y, side, f = canvas.x, canvas.y, np.abs(canvas.x), person.features
    # No beard above a curve from the ear to the corner of the mouth, nor on and just below the lips.
    cheek_line = f.mouth_y - 0.12 + 0.05 * side - 0.95 * np.clip(side - 0.55, 0, 1) ** 1.1
    region = ramp(-0.07, 0.07, y - cheek_line) * ramp(1.04, 0.97, radius)
    moustache = bump(side, y, (0.14, f.mouth_y - 0.145), (0.17, 0.05)) * 1.3
    region = np.clip(np.maximum(region, np.where(y < f.mouth_y, moustache, 0)), 0, 1)
    region *= 1.0 - np.clip(1.6 * bump(x, y, (0, f.mouth_y + 0.01), (f.mouth_width * 0.62, 0.075)), 0, 1)
    streaks = strands(rng, np.clip(x / 3.6 + 0.5 + 0.03 * soft_noise(rng, x.shape, 0.1 * canvas.scale), 0, 1), 420)
    density = person.beard * np.clip(0.85 + 0.20 * streaks, 0, 1) * region
    density = cv2.GaussianBlur(density, (0, 0), 0.012 * canvas.scale)
    colour = np.asarray(person.hair_colour, np.float32) * np.clip(0.95 + 0.12 * streaks, 0.5, 1.5)[..., None]
    if person.beard < 0.4:
        colour = 0.6 * colour + 0.4 * np.array((70, 72, 78), np.float32)
    paint(albedo, colour, density * 0.9)
    gloss *= 1.0 - 0.8 * density


def _grow_brows(canvas: Canvas, person: Person, albedo: np.ndarray, rng: np.random.Generator) -> None:
    """Paint both brows over `albedo` in place, hair by hair, slanted outwards."""
    f, side = person.features, np.abs(canvas.x)
    along = (side - f.eye_gap + 0.02) / f.brow_width
    # Highest two thirds of the way out, then down to the tip.
    middle = f.eye_y - f.brow_y + f.brow_tilt * along * f.brow_width - f.brow_arch * (1 - (along - 0.10) ** 2)
    thickness = f.brow_thickness * np.clip(1.0 - 0.55 * ramp(-0.2, 1.1, along), 0.1, 1.0)
    band = np.exp(-(((canvas.y - middle) / (thickness * 0.95)) ** 4))
    band *= ramp(-1.12, -0.80, along) * ramp(1.12, 0.75, along)
    hairs = strands(rng, np.clip((side - 0.8 * (canvas.y - middle)) / 2.4, 0, 1), 260)
    mask = np.clip(band * (0.80 + 0.18 * hairs), 0, 1) * f.brow_density
    colour = np.asarray(person.hair_colour, np.float32) * 0.62
    # Grey and fair people keep darker brows.
    paint(albedo, np.minimum(colour, np.asarray(person.skin, np.float32) * 0.50), mask * 0.92)


def _normals(height: np.ndarray, scale: float) -> np.ndarray:
    height = height.astype(np.float32)
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3, scale=scale / 8.0)
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3, scale=scale / 8.0)
    length = 1.0 / np.sqrt(1.0 + slope_x**2 + slope_y**2)
    return np.asarray(cv2.merge([length, -slope_y * length, -slope_x * length]))


def paint_portrait(person: Person, canvas: Canvas) -> Portrait:
    """Paint a head without eyes and mouth, which move and are left to `heads`. About 30 ms."""
    rng = np.random.default_rng(person.texture_seed)
    x, y, scale = canvas.x, canvas.y, canvas.scale
    albedo = _skin(canvas, person, rng)
    radius = outline(person, x, y)
    skull = 0.92 * np.clip(1.0 - radius**2.6, 0.0, 1.0) ** 0.55
    relief = _relief(canvas, person)
    height = cv2.GaussianBlur(skull + relief, (0, 0), 0.020 * scale)
    ears = _add_ears(canvas, person, albedo, height)
    face = inside((1.0 - radius) * 0.8, scale)
    # Hollows receive less light: compare the surface with its surroundings.
    hollow = np.clip(cv2.GaussianBlur(relief, (0, 0), 0.09 * scale) - relief, -0.04, 0.08)
    albedo *= (1.0 - 2.6 * hollow - 0.25 * ramp(0.86, 1.02, radius) * face)[..., None]

    gloss = 0.5 + 0.5 * bump(x, y, (0, 0.2), (0.5, 0.7)) + 0.08 * soft_noise(rng, x.shape, 0.03 * scale)
    grown = outline(person, x, y, grown=0.12 * person.hair_volume)
    hair, hair_colour, hair_height = _grow_hair(canvas, person, radius, grown, rng)
    _grow_beard(canvas, person, radius, albedo, gloss, rng)
    _grow_brows(canvas, person, albedo, rng)
    normals = _normals(height, scale)
    paint(albedo, hair_colour, hair)
    normals += hair[..., None] * (_normals(hair_height, scale) - normals)
    gloss = (gloss * (1.0 - hair)).astype(np.float32)
    # Hair casts a soft shadow on the forehead.
    shadow = cv2.GaussianBlur(hair, (0, 0), 0.06 * scale) * (1.0 - hair)
    albedo *= 1.0 - 0.45 * shadow[..., None]

    # For turning the head: without the steep rim and the sharp edge of the nose, so that it can be inverted.
    depth = 0.85 * np.clip(1.0 - radius**2, -0.15, 1.0) + cv2.GaussianBlur(relief, (0, 0), 0.07 * scale)
    # The inner face as a soft ellipse: 1 up to 0.4 of its radius, 0 from 1.12 on.
    inner = 1.0 - ramp(0.4, 1.12, np.hypot(x / INNER_WIDTH, (y - INNER_Y) / INNER_HEIGHT)).astype(np.float32)
    return Portrait(
        person=person,
        canvas=canvas,
        albedo=np.clip(albedo, 0.0, 255.0).astype(np.float32),
        normals=normals.astype(np.float32),
        gloss=gloss,
        cover=np.maximum(np.maximum(face, ears), hair).astype(np.float32),
        depth=depth.astype(np.float32),
        glasses=_glasses(canvas, person).astype(np.float32),
        inner_slope=cv2.merge([inner, inner * x / INNER_WIDTH, np.ones_like(inner)]),
    )
