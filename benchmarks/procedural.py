"""Training pictures that nobody has to license: dead leaves and rendered text.

    python -m benchmarks.procedural FOLDER --count 376

Dead leaves (Matheron; Lee, Mumford & Huang 2001): opaque shapes of power-law sizes hide one another, which gives the
edges, corners and spectrum of photographs. Here leaves are ellipses and polygons with a shade across them and grain.
"""

import argparse
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIDE, OVER = 384, 2  # pixels of a picture; drawn so many times larger, then reduced, for soft edges
WORDS = ('the', 'of', 'light', 'house', 'river', 'paper', 'Seven', 'market', '1987', 'open', '24', 'winter', 'GmbH')


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('folder', type=Path)
    parser.add_argument('--count', type=int, default=376)
    values = parser.parse_args()
    values.folder.mkdir(parents=True)  # refuses a folder that is there
    for i in range(values.count):
        rng = np.random.default_rng(i)
        picture = text(rng) if i % 4 == 3 else dead_leaves(rng)
        picture.resize((SIDE, SIDE), Image.Resampling.BOX).save(values.folder / f'{i:04d}.png')


def dead_leaves(rng: np.random.Generator) -> Image.Image:
    """Leaves from the front to the back, until nothing of the ground is seen."""
    side = SIDE * OVER
    canvas = np.zeros((side, side, 3), np.float32)
    empty = np.ones((side, side), bool)
    palette = rng.uniform(20, 235, (int(rng.integers(4, 12)), 3))
    palette = palette.mean(axis=1, keepdims=True) * 0.65 + palette * 0.35  # photographs are rarely gaudy
    least, most = 6 * OVER, side / 3
    for _ in range(4000):
        radius = 1 / math.sqrt(rng.uniform(1 / most**2, 1 / least**2))  # p(r) ~ r^-3
        x, y = rng.uniform(-radius, side + radius, 2)
        box = [max(int(v), 0) for v in (y - radius, y + radius + 1, x - radius, x + radius + 1)]
        window = (slice(*box[:2]), slice(*box[2:]))
        new = leaf(rng, (x, y), radius, box, side) & empty[window]
        if new.any():
            colour = palette[rng.integers(len(palette))] + rng.normal(0, 12, 3)
            canvas[window][new] = surface(rng, colour, new.shape)[new]
            empty[window] &= ~new
        if not empty.any():
            break
    canvas[empty] = palette[0]
    soft = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    return soft.filter(ImageFilter.GaussianBlur(float(rng.choice([0, 0, 1, 2]))))


def leaf(rng: np.random.Generator, centre: tuple[float, float], radius: float, box: list[int], side: int) -> np.ndarray:
    """Which pixels of the box lie in an ellipse or a polygon: bool [h, w]."""
    top, bottom, left, right = box[0], min(box[1], side), box[2], min(box[3], side)
    mask = Image.new('1', (max(right - left, 1), max(bottom - top, 1)))
    corners = int(rng.choice([3, 4, 4, 5, 40, 40]))  # 40: an ellipse
    flat, turn = rng.uniform(0.2, 1), rng.uniform(0, 2 * math.pi)
    points = []
    for angle in np.arange(corners) * 2 * math.pi / corners:
        u, v = radius * math.cos(angle), radius * flat * math.sin(angle)
        x = centre[0] + u * math.cos(turn) - v * math.sin(turn) - left
        y = centre[1] + u * math.sin(turn) + v * math.cos(turn) - top
        points.append((x, y))
    ImageDraw.Draw(mask).polygon(points, fill=1)
    return np.asarray(mask)[: bottom - top, : right - left]


def surface(rng: np.random.Generator, colour: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A colour with a shade across it, and stripes or grain on every other leaf: float [h, w, 3]."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    angle, period = rng.uniform(0, 2 * math.pi), rng.uniform(3, 16) * OVER
    along = x * math.cos(angle) + y * math.sin(angle)
    shade = rng.normal(0, 40) * along / max(shape)
    kind = rng.integers(4)
    if kind == 0:
        shade += rng.uniform(5, 40) * np.sign(np.sin(2 * math.pi * along / period))
    elif kind == 1:
        coarse = rng.normal(0, rng.uniform(4, 25), (shape[0] // OVER + 1, shape[1] // OVER + 1))
        shade += coarse.repeat(OVER, 0).repeat(OVER, 1)[: shape[0], : shape[1]]
    return colour + shade[..., None]


def text(rng: np.random.Generator) -> Image.Image:
    """Lines of words in several sizes, dark on light or light on dark, on a dead-leaves ground now and then."""
    side = SIDE * OVER
    paper, ink = rng.uniform(180, 255, 3), rng.uniform(0, 90, 3)
    if rng.random() < 0.3:
        paper, ink = ink, paper
    page = dead_leaves(rng) if rng.random() < 0.25 else Image.new('RGB', (side, side), tuple(int(v) for v in paper))
    draw, y = ImageDraw.Draw(page), float(rng.uniform(0, 40))
    while y < side:
        size = int(rng.uniform(9, 48)) * OVER
        line = ' '.join(rng.choice(WORDS, 12))
        font = ImageFont.load_default(size)
        draw.text((rng.uniform(-40, 40), y), line, fill=tuple(int(v) for v in ink), font=font)
        y += size * rng.uniform(1.1, 1.8)
    turn, ground = float(rng.choice([0, 0, rng.uniform(-15, 15)])), tuple(int(v) for v in paper)
    return page.rotate(turn, Image.Resampling.BICUBIC, fillcolor=ground)


if __name__ == '__main__':
    main()
