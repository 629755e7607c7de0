"""Fixed-shape tiles of an image of any size, and their seamless sum (numpy, host side)."""

from dataclasses import dataclass

import numpy as np

OVERLAP = 48  # pixels that neighbours share at least


@dataclass(frozen=True)
class Plan:
    """Where tiles of one shape lie on a padded image; all offsets are multiples of `grid`."""

    shape: tuple[int, int]  # height and width of a tile
    padded: tuple[int, int]  # height and width after padding
    offsets: tuple[tuple[int, int], ...]  # (top, left) of each tile

    @property
    def computed(self) -> int:
        """Pixels of all tiles together."""
        return len(self.offsets) * self.shape[0] * self.shape[1]


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


def tile(array: np.ndarray, plan: Plan, number: int, factor: int = 1) -> np.ndarray:
    """[..., H / f, W / f, C] -> the tile of that number, [..., h / f, w / f, C]."""
    (h, w), (top, left) = plan.shape, plan.offsets[number]
    return array[..., top // factor : (top + h) // factor, left // factor : (left + w) // factor, :]


class Canvas:
    """Tiles [h, w, C] put together as they come: means weighted by the distance from the tile's border."""

    def __init__(self, plan: Plan, channels: int = 3) -> None:
        self.plan, self.missing = plan, set(range(len(plan.offsets)))
        self.total = np.zeros((*plan.padded, channels), np.float32)
        self.ramps = [_ramp(n)[:, None] for n in plan.shape]  # [h, 1], [w, 1]

    def add(self, number: int, tile: np.ndarray) -> None:
        rows, columns = self.ramps
        self.missing.discard(number)
        top, left = self.plan.offsets[number]
        h, w = self.plan.shape
        self.total[top : top + h, left : left + w] += (rows * columns.T)[..., None] * tile

    def image(self, height: int, width: int) -> np.ndarray:
        """[height, width, C], without what was padded; the canvas is used up, so that its memory can go."""
        total, self.total = self.total, self.total[:0]
        rows, columns = (self._weights(axis) for axis in (0, 1))  # tiles stand in rows and columns
        for row, weight in zip(total, rows, strict=True):
            row /= (weight * columns)[:, None]
        return total[:height, :width]

    def _weights(self, axis: int) -> np.ndarray:
        """Sum of the ramps along one side."""
        total, ramp = np.zeros(self.plan.padded[axis], np.float32), self.ramps[axis][:, 0]
        for start in sorted({offset[axis] for offset in self.plan.offsets}):
            total[start : start + len(ramp)] += ramp
        return total


def _ramp(length: int) -> np.ndarray:
    """1 inside, falling towards both ends over the overlap."""
    distance = np.minimum(np.arange(length) + 1, length - np.arange(length))
    return np.minimum(distance / OVERLAP, 1).astype(np.float32)
