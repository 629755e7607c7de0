"""Fixed-shape tiles of an image of any size, and their seamless sum (numpy, host side)."""

from dataclasses import dataclass

import numpy as np

OVERLAP = 64  # pixels that neighbours share at least


@dataclass(frozen=True)
class Plan:
    """Where tiles of one shape lie on a padded image; all offsets are multiples of `grid`."""

    shape: tuple[int, int]  # height and width of a tile
    padded: tuple[int, int]  # height and width after padding
    offsets: tuple[tuple[int, int], ...]  # (top, left) of each tile


def plan(height: int, width: int, sides: tuple[int, int], grid: int) -> Plan:
    """Tiles of `sides`, height and width, that cover height x width, evenly spread; both are multiples of `grid`."""
    for side, length in zip(sides, (height, width), strict=True):
        if side % grid or (side <= 2 * OVERLAP and side < length):
            raise ValueError(f'a tile of {side} pixels must be a multiple of {grid} and more than {2 * OVERLAP}')
    padded = tuple(max(side, -(-n // grid) * grid) for side, n in zip(sides, (height, width), strict=True))
    rows, columns = (_starts(n, side, grid) for n, side in zip(padded, sides, strict=True))
    return Plan(sides, (padded[0], padded[1]), tuple((top, left) for top in rows for left in columns))


def single(height: int, width: int) -> Plan:
    """One tile, the image itself."""
    return Plan((height, width), (height, width), ((0, 0),))


def _starts(length: int, side: int, grid: int) -> list[int]:
    count = 1 if length == side else -(-(length - OVERLAP) // (side - OVERLAP))
    if count == 1:
        return [0]
    return [round(i * (length - side) / (count - 1) / grid) * grid for i in range(count)]


def pad(image: np.ndarray, plan: Plan) -> np.ndarray:
    """[H, W, C] -> [*padded, C], mirrored to the right and below."""
    h, w = image.shape[:2]
    return np.pad(image, ((0, plan.padded[0] - h), (0, plan.padded[1] - w), (0, 0)), mode='symmetric')


def cut(array: np.ndarray, plan: Plan, factor: int = 1) -> np.ndarray:
    """[..., H / f, W / f, C] -> [tiles, ..., h / f, w / f, C] for tiles of h x w."""
    h, w = (n // factor for n in plan.shape)
    return np.stack([array[..., top // factor :, left // factor :, :][..., :h, :w, :] for top, left in plan.offsets])


def blend(tiles: np.ndarray, plan: Plan, height: int, width: int) -> np.ndarray:
    """[tiles, h, w, C] -> [height, width, C]: means weighted by the distance from the tile's border."""
    total = np.zeros((*plan.padded, tiles.shape[-1]), np.float32)
    weights = np.zeros((*plan.padded, 1), np.float32)
    rows, columns = (_ramp(n) for n in plan.shape)
    window = (rows[:, None] * columns[None])[..., None]
    for tile, (top, left) in zip(tiles, plan.offsets, strict=True):
        place = np.s_[top : top + plan.shape[0], left : left + plan.shape[1]]
        total[place] += window * tile
        weights[place] += window
    return (total / weights)[:height, :width]


def _ramp(length: int) -> np.ndarray:
    """1 inside, falling towards both ends over the overlap."""
    distance = np.minimum(np.arange(length) + 1, length - np.arange(length))
    return np.minimum(distance / OVERLAP, 1).astype(np.float32)
