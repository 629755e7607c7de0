"""The last touch: colours of the low-quality picture (wavelet_color_fix.py of the original), grain smoothed."""

from collections.abc import Callable, Iterator
from functools import partial

import jax
import numpy as np

from addsr_jax.ops import guided_filter
from addsr_jax.ops import image as image_ops

FIXES = {'guided': guided_filter.guided, 'wavelet': image_ops.wavelet, 'adain': image_ops.adain}

# A large picture is finished in blocks: memory for one, and one program for all sizes.
BLOCK = 768  # pixels a side
HALO = 64  # of them again in the next block; no filter here reaches further (guided: 31 + 7 + 2 * 12)


def finished(restored: np.ndarray, lq: np.ndarray, color: str, grain: float, *, truncates: bool) -> np.ndarray:
    """`restored` with the colours of `lq`, both [H, W, 3] in [-1, 1], as uint8.

    color: a name of FIXES, or 'none'. grain: luma that varies by less, in levels of 255, is smoothed; 0: none.
    truncates: as the original, whose colour fix takes bytes and cuts off the fractions of its result.
    """
    cuts = truncates and color != 'none'
    if cuts:
        restored = np.rint(_levels(restored)) / np.float32(127.5) - 1
    if color == 'adain':  # takes means over the whole picture
        restored = np.asarray(_fixed(restored, lq, color=color))
    elif color != 'none':
        restored = in_blocks(partial(_fixed, color=color), restored, lq)
    if grain:
        restored = in_blocks(partial(_without_grain, grain=grain), restored)
    return (np.floor if cuts else np.rint)(_levels(restored)).astype(np.uint8)


def in_blocks(local: Callable[..., jax.Array], *images: np.ndarray) -> np.ndarray:
    """local(*images), [H, W, 3] each, block by block; a pixel of its result sees HALO pixels around at most."""
    out = np.empty_like(images[0])
    for rows, keep_rows in _blocks(out.shape[0]):
        for columns, keep_columns in _blocks(out.shape[1]):
            done = np.asarray(local(*(image[rows, columns] for image in images)))
            inside = np.s_[
                keep_rows.start - rows.start : keep_rows.stop - rows.start,
                keep_columns.start - columns.start : keep_columns.stop - columns.start,
            ]
            out[keep_rows, keep_columns] = done[inside]
    return out


def _blocks(n: int) -> Iterator[tuple[slice, slice]]:
    """Blocks along n pixels, all of one length and inside the picture, and what to keep of each."""
    start = kept = 0
    while kept < n:
        start = max(min(start, n - BLOCK), 0)
        stop = min(start + BLOCK, n)
        until = n if stop == n else stop - HALO
        yield slice(start, stop), slice(kept, until)
        start, kept = until - HALO, until


@partial(jax.jit, static_argnames='color')
def _fixed(restored: jax.Array, lq: jax.Array, color: str) -> jax.Array:
    return FIXES[color](restored, lq)


_without_grain = jax.jit(guided_filter.without_grain)


def _levels(image: np.ndarray) -> np.ndarray:
    """[-1, 1] to 0..255, not yet bytes."""
    return (np.clip(image, -1, 1) + 1) * 127.5
