"""Fixed-shape tiles of an image of any size, and their seamless sum (numpy, host side)."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

OVERLAP = 48  # pixels that neighbours share at least
STEPS = 32767  # of 1, in which restored rows are held: a level of 16 bits


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
    more = [(0, n - have) for n, have in zip(plan.padded, image.shape[:2], strict=True)]
    return np.pad(image, (*more, (0, 0)), mode='symmetric') if any(after for _, after in more) else image


def tile(array: np.ndarray, plan: Plan, number: int, factor: int = 1) -> np.ndarray:
    """[..., H / f, W / f, C] -> the tile of that number, [..., h / f, w / f, C]."""
    return array[..., *place(plan, number, factor), :]


def place(plan: Plan, number: int, factor: int = 1) -> tuple[slice, slice]:
    """Rows and columns of a tile, of an array that is `factor` times smaller than the picture."""
    (h, w), (top, left) = plan.shape, plan.offsets[number]
    return slice(top // factor, (top + h) // factor), slice(left // factor, (left + w) // factor)


@dataclass(frozen=True)
class Strips:
    """Rows [H, W, C] of a picture in [-1, 1], held as 16-bit whole numbers, in the pieces in which they were made.

    What is read for the last time can be let go, piece by piece, while what is made of it grows.
    """

    shape: tuple[int, int, int]
    pieces: dict[int, np.ndarray]  # [h, W or more, C] by first row, in order

    def __getitem__(self, part: slice | tuple[slice, slice]) -> np.ndarray:
        """[h, w, C] of rows, or of rows and columns, float32."""
        rows, columns = part if isinstance(part, tuple) else (part, slice(None))
        height, width, _ = self.shape
        start, stop, _ = rows.indices(height)
        left, right, _ = columns.indices(width)
        parts = [
            piece[max(start - first, 0) : stop - first, left:right]
            for first, piece in self.pieces.items()
            if first < stop and first + len(piece) > start
        ]
        return np.concatenate(parts) / np.float32(STEPS)

    def let_go(self, row: int) -> None:
        """Nothing above that row is read again."""
        for first in [first for first, piece in self.pieces.items() if first + len(piece) <= row]:
            del self.pieces[first]


class Canvas:
    """Tiles [h, w, C] put together as they come: means weighted by the distance from the tile's border.

    Tiles stand in rows and columns. Sums are held of rows of tiles that are not complete; of the others 16 bits, which
    end at -1 and 1.
    """

    def __init__(self, plan: Plan, channels: int = 3) -> None:
        self.plan, self.channels = plan, channels
        self.missing = set(range(len(plan.offsets)))
        self._down, self._across = (_ramp(n)[:, None] for n in plan.shape)  # [h, 1], [w, 1]
        self._weights = [_total(plan, axis) for axis in (0, 1)]  # [H], [W]
        self._tops = sorted({top for top, _ in plan.offsets})  # of rows of tiles that are not complete
        self._coming = Counter(top for top, _ in plan.offsets)  # tiles
        self._sums: dict[int, np.ndarray] = {}  # [h, W, C] by top
        self._below = np.zeros((0, plan.padded[1], channels), np.float32)  # what the next row of tiles reaches into
        self._pieces: dict[int, np.ndarray] = {}  # of `Strips`

    def add(self, number: int, tile: np.ndarray) -> None:
        self.missing.discard(number)
        top, left = self.plan.offsets[number]
        height, width = self.plan.shape
        if top not in self._sums:
            self._sums[top] = np.zeros((height, self.plan.padded[1], self.channels), np.float32)
        self._sums[top][:, left : left + width] += self._across * tile
        self._coming[top] -= 1
        while self._tops and not self._coming[self._tops[0]]:
            self._put_away(self._tops.pop(0))

    def _put_away(self, top: int) -> None:
        """A complete row of tiles: its rows above the next one are means now, the others wait for that one."""
        total = self._sums.pop(top)
        total *= self._down[..., None]
        total[: len(self._below)] += self._below
        count = self._tops[0] - top if self._tops else len(total)
        self._below = total[count:].copy()
        total = total[:count]
        total /= self._weights[0][top : top + count, None, None] * self._weights[1][:, None]
        np.clip(total, -1, 1, out=total)
        total *= STEPS
        self._pieces[top] = np.rint(total, out=total).astype(np.int16)

    def image(self, height: int, width: int) -> Strips:
        """[height, width, C], without what was padded, of a canvas that misses no tile."""
        return Strips((height, width, self.channels), self._pieces)


def _total(plan: Plan, axis: int) -> np.ndarray:
    """Sum of the tiles' ramps along one side of the picture."""
    total, ramp = np.zeros(plan.padded[axis], np.float32), _ramp(plan.shape[axis])
    for start in {offset[axis] for offset in plan.offsets}:
        total[start : start + len(ramp)] += ramp
    return total


def _ramp(length: int) -> np.ndarray:
    """1 inside, falling towards both ends over the overlap."""
    distance = np.minimum(np.arange(length) + 1, length - np.arange(length))
    return np.minimum(distance / OVERLAP, 1).astype(np.float32)
