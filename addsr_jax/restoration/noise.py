"""The noise of a picture: cut out of one endless field of its name and the seed, drawn block by block, so that neither
tiles nor the picture's size change the noise of a place."""

import zlib

import jax
import numpy as np

BLOCK = 512  # output pixels a side of the blocks


def key_of(seed: int, name: str) -> jax.Array:
    """The key of a picture of that name."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode(errors='surrogateescape')) & 0x7FFFFFFF)


def drawn(key: jax.Array, shape: tuple[int, int, int, int], side: int) -> np.ndarray:
    """Normal numbers [N, h, w, C], the upper left part of the endless field; `side` of a block, in latents."""
    fields, height, width, channels = shape

    field = np.empty(shape, np.float32)
    for row, top in enumerate(range(0, height, side)):
        for column, left in enumerate(range(0, width, side)):
            own = jax.random.fold_in(jax.random.fold_in(key, row), column) if row or column else key
            place = field[:, top : top + side, left : left + side]
            block = jax.random.normal(own, (fields, side, side, channels))
            place[:] = np.asarray(block)[:, : place.shape[1], : place.shape[2]]
    return field
