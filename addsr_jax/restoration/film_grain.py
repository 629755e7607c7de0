"""Grain as a camera's sensor or film leaves it, which enlargements lack: photographs are nowhere without any."""

import zlib
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

SIDE = 1024  # pixels after which a field of grain begins again
SIZE = 1.5  # deviation of a grain's blur, pixels of the result: one that was enlarged, as a camera's from its mosaic
COARSEST = 3.0  # deviation of the mean that is taken away: grain is no blotch
ENDS = 8 / 127.5  # so near to black and white grain fades: paper stays white, and nothing is cut off on one side


@dataclass(frozen=True)
class FilmGrain:
    """Grain of luma, from one field that repeats, begun at another place for every picture and seed."""

    levels: float  # its deviation, of 255
    begin: tuple[int, int]  # row and column of the field at the picture's upper left

    def added(self, part: np.ndarray, first: int, share: np.ndarray | float = 1.0) -> np.ndarray:
        """Rows [h, W, 3] of a picture in [-1, 1], from its row `first` on, with `share` of the grain, [h, W, 1]."""
        room = np.clip((1 - np.abs(part).max(axis=-1, keepdims=True)) / ENDS, 0, 1)
        return part + share * room * self.rows(first, first + len(part), part.shape[1])

    def rows(self, first: int, stop: int, width: int) -> np.ndarray:
        """[stop - first, width, 1], float32, to be added to all channels of rows of a picture in [-1, 1]."""
        down = (np.arange(first, stop) + self.begin[0]) % SIDE
        across = (np.arange(width) + self.begin[1]) % SIDE
        return field()[down][:, across, None] * np.float32(self.levels / 127.5)


def film_grain_of(seed: int, name: str, levels: float) -> FilmGrain:
    """Of a picture of that name."""
    numbers = np.random.default_rng([seed, zlib.crc32(name.encode(errors='surrogateescape'))])
    row, column = numbers.integers(SIDE, size=2).tolist()
    return FilmGrain(levels, (row, column))


@cache
def field() -> np.ndarray:
    """[SIDE, SIDE] float32 of mean 0 and deviation 1, whose opposite borders fit together."""
    margin = round(8 * COARSEST)
    white = np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype(np.float32)
    wide = cv2.GaussianBlur(np.pad(white, margin, mode='wrap'), (0, 0), SIZE)
    grain = (wide - cv2.GaussianBlur(wide, (0, 0), COARSEST))[margin:-margin, margin:-margin]
    return (grain - grain.mean()) / grain.std()
