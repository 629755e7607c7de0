"""The noise of a picture: cut out of one endless field of its name and the seed, drawn block by block, so that neither
tiles nor the picture's size change the noise of a place."""

import zlib
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jax
import numpy as np

BLOCK = 512  # output pixels a side of the blocks


def key_of(seed: int, name: str) -> jax.Array:
    """The key of a picture of that name."""
    with jax.default_device(_host()):
        return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode(errors='surrogateescape')) & 0x7FFFFFFF)


@dataclass(frozen=True)
class Field:
    """The endless field of a key, [N, h, w, C] of normal numbers, of which blocks are drawn when a tile needs them."""

    key: jax.Array
    fields: int  # N
    channels: int
    side: int  # of a block, in latents
    _drawn: dict[tuple[int, int], np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def part(self, rows: slice, columns: slice) -> np.ndarray:
        """[N, rows, columns, C]. Blocks above these rows are forgotten: tiles come row by row."""
        first = rows.start // self.side
        for place in [place for place in self._drawn if place[0] < first]:
            del self._drawn[place]
        out = np.empty((self.fields, rows.stop - rows.start, columns.stop - columns.start, self.channels), np.float32)
        for row in range(first, -(-rows.stop // self.side)):
            for column in range(columns.start // self.side, -(-columns.stop // self.side)):
                (into_y, of_y), (into_x, of_x) = self._shared(rows, row), self._shared(columns, column)
                out[:, into_y, into_x] = self._block(row, column)[:, of_y, of_x]
        return out

    def _shared(self, part: slice, number: int) -> tuple[slice, slice]:
        """What a part and a block have in common along a side: of the part, and of the block."""
        begin = number * self.side
        start, stop = max(part.start, begin), min(part.stop, begin + self.side)
        return slice(start - part.start, stop - part.start), slice(start - begin, stop - begin)

    def _block(self, row: int, column: int) -> np.ndarray:
        if (row, column) not in self._drawn:
            with jax.default_device(_host()):
                own = jax.random.fold_in(jax.random.fold_in(self.key, row), column) if row or column else self.key
                shape = (self.fields, self.side, self.side, self.channels)
                self._drawn[row, column] = np.asarray(jax.random.normal(own, shape))
        return self._drawn[row, column]


@cache
def _host() -> Any:
    """The CPU, since a device would draw after all calls that it has in hand; None where jax was told to do without."""
    try:
        return jax.local_devices(backend='cpu')[0]
    except RuntimeError:
        return None
