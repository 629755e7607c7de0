"""The last touch: colours of the low-quality picture (wavelet_color_fix.py of the original), grain smoothed."""

from collections.abc import Callable, Iterator
from functools import partial

import cv2
import jax
import numpy as np

from addsr_jax.ops import guided_filter
from addsr_jax.ops import image as image_ops
from addsr_jax.restoration.bounds import Bounds

FIXES = {'guided': guided_filter.guided, 'wavelet': image_ops.wavelet, 'adain': image_ops.adain}

# A large picture is finished in blocks: memory for one, and one program for all sizes.
BLOCK = 768  # pixels a side
SIDES = (128, 256, 512, BLOCK)  # small pictures are mirrored up to one of these: filters take seconds to compile
CALM = np.float32(1 / 127.5)  # how far a result may be from the enlarged picture where that is calm
REACH = 5  # pixels of the small picture that have to be calm around a calm one
HALO = 64  # of them again in the next block; no filter here reaches further (guided: 31 + 7 + 2 * 12)


def finished(
    restored: np.ndarray,
    lq: np.ndarray,
    color: str,
    grain: float,
    *,
    truncates: bool,
    bounds: Bounds | None = None,
    calm: np.ndarray | None = None,
    kind: type[np.unsignedinteger] = np.uint8,
) -> np.ndarray:
    """`restored` with the colours of `lq`, both [H, W, 3] in [-1, 1] or `lq` in whole numbers, as `kind`.

    kind: uint8 or uint16.

    color: a name of FIXES, or 'none'. grain: luma that varies by less, in levels of 255, is smoothed; 0: none.
    truncates: as the original, whose colour fix takes bytes and cuts off the fractions of its result; more bits are
    rounded. bounds: what the result stays inside; None: nothing. calm: [H, W] in 0..1, how far `restored` is kept
    within a level of `lq`; None: nowhere.
    """
    white = np.iinfo(kind).max
    cuts = truncates and color != 'none' and kind is np.uint8
    if cuts:
        restored = np.rint(_levels(restored)) / np.float32(127.5) - 1
    if color == 'adain':  # takes means over the whole picture
        restored = np.asarray(_fixed(restored, signed(lq), color=color))
    elif color != 'none':
        restored = in_blocks(partial(_fixed, color=color), restored, lq, mirrored=color == 'guided')
    if grain:
        restored = in_blocks(partial(_without_grain, grain=grain), restored, mirrored=True)
    out = np.empty(restored.shape, kind)
    for start in range(0, len(out), BLOCK):  # in strips: floats of a whole large picture take gigabytes
        rows = slice(start, start + BLOCK)
        part = restored[rows] if bounds is None else bounds.clipped(restored[rows], start)
        if calm is not None:
            large = signed(lq[rows])
            near = np.clip(part, large - CALM, large + CALM)
            part = part + calm[rows, :, None] * (near - part)
        out[rows] = (np.floor if cuts else np.rint)(_levels(part, white))
    return out


def calm_places(small: np.ndarray, below: float, width: int, height: int) -> np.ndarray | None:
    """How calm [H, W, 3] uint8 or uint16 is around every pixel of its enlargement: [height, width] in 0..1.

    1 where no pixel within REACH differs from the mean of its neighbours by more than `below` levels of 255 in any
    channel, as in areas of one colour, or where a clean gradient is rounded to bytes: there is nothing to restore. 0
    where one differs by a fifth more, as nearly everywhere in photographs. None where no place is calm.
    """
    levels = small.astype(np.float32) * np.float32(255 / np.iinfo(small.dtype).max)
    away = np.abs(levels - cv2.blur(levels, (3, 3))).max(-1)  # the picture mirrored at its borders
    most = cv2.dilate(away, np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8))
    calm = np.clip((1.2 * below - most) / (0.2 * below), 0, 1, dtype=np.float32)
    return cv2.resize(calm, (width, height), interpolation=cv2.INTER_LINEAR) if calm.any() else None


def in_blocks(local: Callable[..., jax.Array], *images: np.ndarray, mirrored: bool) -> np.ndarray:
    """local(*images), [H, W, 3] in [-1, 1] or whole numbers, block by block.

    A pixel of its result sees HALO pixels around at most. mirrored: blocks have the next of SIDES.
    """
    height, width = images[0].shape[:2]
    out = np.empty((height, width, 3), np.float32)
    for rows, keep_rows in _blocks(height):
        for columns, keep_columns in _blocks(width):
            parts = (signed(image[rows, columns]) for image in images)
            done = np.asarray(local(*(_mirrored(part) if mirrored else part for part in parts)))
            inside = np.s_[
                keep_rows.start - rows.start : keep_rows.stop - rows.start,
                keep_columns.start - columns.start : keep_columns.stop - columns.start,
            ]
            out[keep_rows, keep_columns] = done[inside]
    return out


def _mirrored(part: np.ndarray) -> np.ndarray:
    """[H, W, 3] continued to the right and below, until its sides are of SIDES."""
    more = [(0, next(side for side in SIDES if side >= n) - n) for n in part.shape[:2]]
    return np.pad(part, (*more, (0, 0)), mode='symmetric')


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


def signed(image: np.ndarray) -> np.ndarray:
    """Whole numbers to [-1, 1], float32; floats as they are."""
    if image.dtype.kind == 'f':
        return image
    return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max / 2) - 1


def _levels(image: np.ndarray, white: int = 255) -> np.ndarray:
    """[-1, 1] to 0..white, not yet whole numbers."""
    return (np.clip(image, -1, 1) + 1) * (white / 2)
