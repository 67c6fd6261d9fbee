"""Hair, beard and brows, painted as streaks in the direction of growth."""

from typing import NamedTuple

import cv2
import numpy as np

from dfdc_utils.sample.canvas import Canvas, bell, bump, inside, paint, ramp, soft_noise, strands
from dfdc_utils.sample.people import Person

# How far down hair reaches at the sides (head units): a sideburn, or below the shoulders.
SIDE_END = {"short": 0.02, "parted": 0.10, "curly": 0.20, "long": 1.75, "bald": 0.12}


class Hair(NamedTuple):
    """Maps on the canvas: `cover` (H, W) 0..1, `colour` (H, W, 3), `height` (H, W) in head units."""

    cover: np.ndarray
    colour: np.ndarray
    height: np.ndarray


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


def grow_hair(canvas: Canvas, person: Person, radius: np.ndarray, grown: np.ndarray, rng: np.random.Generator) -> Hair:
    """Draw the hair of the head.

    `radius` and `grown` (H, W) are the distance from the middle relative to the head's outline and to the hair's.
    """
    x, y, scale, style = canvas.x, canvas.y, canvas.scale, person.hair_style
    edge: np.ndarray | float = 0.0
    if style == "curly":
        edge = 0.028 * soft_noise(rng, x.shape, 0.13 * scale)
        grown = np.maximum(grown - 0.06, 0.0)
    limit = grown if style != "bald" else radius - 0.03
    within = inside((1.0 + edge - limit) * 0.9, scale)
    cover = within * inside(_hairline(canvas, person, rng) - y, scale * 0.28)
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
    return Hair(cover.astype(np.float32), colour.astype(np.float32), height.astype(np.float32))


def grow_beard(
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


def grow_brows(canvas: Canvas, person: Person, albedo: np.ndarray, rng: np.random.Generator) -> None:
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
    colour = np.minimum(colour, np.asarray(person.skin, np.float32) * 0.50)
    paint(albedo, colour, mask * 0.92)
