"""Large pictures a few rows at a time, since floats of a whole one would take much memory (numpy, host side)."""

from collections.abc import Callable, Iterator

import numpy as np

PIXELS = 1 << 20  # at a time


def few(start: int, stop: int, width: int) -> Iterator[slice]:
    """Rows from `start` to `stop` of a picture of that width in pieces of PIXELS or less, of a row at least."""
    count = max(1, PIXELS // width)
    return (slice(first, min(first + count, stop)) for first in range(start, stop, count))


def joined(shape: tuple[int, ...], of: Callable[[slice], np.ndarray]) -> np.ndarray:
    """[H, ...] of what `of` makes of a few rows [n, ...] of a picture [H, W, ...], one piece after the other."""
    height, width = shape[:2]
    out: np.ndarray | None = None
    for rows in few(0, height, width):
        part = of(rows)
        out = np.empty((height, *part.shape[1:]), part.dtype) if out is None else out
        out[rows] = part
    assert out is not None  # a picture has pixels
    return out


def measured(small: np.ndarray, measure: Callable[[np.ndarray], np.ndarray], reach: int) -> np.ndarray:
    """[H, W, ...] that `measure` says of levels of 255, float32 [n, W, 3], of a picture [H, W, 3] of whole numbers.

    It gets a few rows at a time, with `reach` more above and below where there are as many: it sees no further.
    """
    scale = np.float32(255 / np.iinfo(small.dtype).max)

    def of(part: slice) -> np.ndarray:
        above = max(part.start - reach, 0)
        levels = small[above : part.stop + reach].astype(np.float32) * scale
        return measure(levels)[part.start - above : part.stop - above]

    return joined(small.shape, of)
