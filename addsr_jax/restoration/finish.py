"""The last touch: colours of the low-quality picture (wavelet_color_fix.py of the original), grain smoothed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import cv2
import jax
import numpy as np

from addsr_jax.ops import guided_filter
from addsr_jax.ops import image as image_ops
from addsr_jax.restoration.bounds import Bounds

FIXES = {'guided': guided_filter.guided, 'wavelet': image_ops.wavelet}  # beside adain, which sees whole pictures

# A large picture is finished in blocks: memory for one, and one program for all sizes.
BLOCK = 768  # pixels a side
SIDES = (128, 256, 512, BLOCK)  # small pictures are mirrored up to one of these: filters take seconds to compile
PIXELS = 1 << 20  # that are held to bounds and rounded at a time: a dozen arrays of floats
CALM = np.float32(1 / 127.5)  # how far a result may be from the enlarged picture where that is calm
REACH = 5  # pixels of the small picture that have to be calm around a calm one
HALO = 64  # of them again in the next block; no filter here reaches further (guided: 31 + 7 + 2 * 12)

Filter = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of a block of the result so far, and of the enlarged picture


@dataclass(frozen=True)
class Calm:
    """How calm a small picture is, for its enlargement: 1 where there is nothing to restore, 0 nearly everywhere."""

    places: np.ndarray  # float32 [h, W], enlarged along rows alone
    height: int

    def rows(self, start: int, stop: int) -> np.ndarray:
        """[stop - start, W] of the enlargement, between the small picture's rows, middles to middles."""
        last = len(self.places) - 1
        at = np.clip((np.arange(start, stop) + 0.5) * (len(self.places) / self.height) - 0.5, 0, last)
        above = np.minimum(at.astype(int), max(last - 1, 0))
        share = (at - above).astype(np.float32)[:, None]
        return (1 - share) * self.places[above] + share * self.places[np.minimum(above + 1, last)]


def finished(
    restored: np.ndarray,
    lq: np.ndarray,
    color: str,
    grain: float,
    *,
    truncates: bool,
    bounds: Bounds | None = None,
    calm: Calm | None = None,
    kind: type[np.unsignedinteger] = np.uint8,
) -> np.ndarray:
    """`restored` with the colours of `lq`, both [H, W, 3] in [-1, 1] or `lq` in whole numbers, as `kind`.

    color: a name of FIXES, 'adain', or 'none'. grain: luma that varies by less, in levels of 255, is smoothed; 0: none.
    truncates: as the original, whose colour fix takes bytes and cuts off the fractions of its result; more bits are
    rounded. bounds: what the result stays inside; None: nothing. calm: where `restored` is kept within a level of
    `lq`; None: nowhere. kind: uint8 or uint16. Floats of a strip of blocks are all that is held beside these.
    """
    white = np.iinfo(kind).max
    cuts = truncates and color != 'none' and kind is np.uint8
    filters = _filters(color, grain)
    if color == 'adain':
        own = image_ops.moments(_bytes(part) if cuts else part for part in _strips(restored))
        wanted = image_ops.moments(signed(part) for part in _strips(lq))
        filters.insert(0, lambda block, lq: image_ops.with_moments(block, own, wanted))
    if cuts:
        filters.insert(0, lambda block, lq: _bytes(block))
    halo = HALO * ((color in FIXES) + bool(grain))
    out = np.empty(restored.shape, kind)
    for rows, keep in _blocks(len(out), halo):
        strip = _strip(restored[rows], lq[rows], filters, halo)[keep.start - rows.start : keep.stop - rows.start]
        start = keep.start
        for part in _strips(strip):
            stop = start + len(part)
            part = part if bounds is None else bounds.clipped(part, start)
            if calm is not None:
                large = signed(lq[start:stop])
                near = np.clip(part, large - CALM, large + CALM)
                part = part + calm.rows(start, stop)[..., None] * (near - part)
            out[start:stop] = (np.floor if cuts else np.rint)(_levels(part, white))
            start = stop
    return out


def _strips(image: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of PIXELS or less."""
    few = max(1, PIXELS // image.shape[1])
    return (image[start : start + few] for start in range(0, len(image), few))


def _filters(color: str, grain: float) -> list[Filter]:
    """What is done to every block, one after the other, and sees no more than the block."""
    filters: list[Filter] = []
    if color == 'guided':
        filters.append(partial(_in_sides, partial(_fixed, color=color)))
    elif color == 'wavelet':
        filters.append(lambda block, lq: np.asarray(_fixed(block, signed(lq), color=color)))
    if grain:
        filters.append(partial(_in_sides, lambda block, lq: _without_grain(block, grain=grain)))
    return filters


def calm_places(small: np.ndarray, below: float, width: int, height: int) -> Calm | None:
    """Where [H, W, 3] uint8 or uint16 is calm, for its enlargement to height x width; None where no place is.

    1 where no pixel within REACH differs from the mean of its neighbours by more than `below` levels of 255 in any
    channel, as in areas of one colour, or where a clean gradient is rounded to bytes: there is nothing to restore. 0
    where one differs by a fifth more, as nearly everywhere in photographs.
    """
    levels = small.astype(np.float32) * np.float32(255 / np.iinfo(small.dtype).max)
    away = np.abs(levels - cv2.blur(levels, (3, 3))).max(-1)  # the picture mirrored at its borders
    most = cv2.dilate(away, np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8))
    calm = np.clip((1.2 * below - most) / (0.2 * below), 0, 1, dtype=np.float32)
    if not calm.any():
        return None
    return Calm(cv2.resize(calm, (width, len(calm)), interpolation=cv2.INTER_LINEAR), height)


def _strip(restored: np.ndarray, lq: np.ndarray, filters: list[Filter], halo: int) -> np.ndarray:
    """[h, W, 3] of rows that are one block high, after all filters, block by block."""
    if not filters:
        return restored
    out = np.empty(restored.shape, np.float32)
    for columns, keep in _blocks(restored.shape[1], halo):
        block, large = restored[:, columns], lq[:, columns]
        for applied in filters:
            block = applied(block, large)
        out[:, keep] = block[:, keep.start - columns.start : keep.stop - columns.start]
    return out


def _in_sides(local: Callable[[np.ndarray, np.ndarray], jax.Array], block: np.ndarray, lq: np.ndarray) -> np.ndarray:
    """local(block, lq) of blocks mirrored to one of SIDES."""
    height, width = block.shape[:2]
    return np.asarray(local(_mirrored(block), _mirrored(signed(lq))))[:height, :width]


def _mirrored(part: np.ndarray) -> np.ndarray:
    """[H, W, 3] continued to the right and below, until its sides are of SIDES."""
    more = [(0, next(side for side in SIDES if side >= n) - n) for n in part.shape[:2]]
    return np.pad(part, (*more, (0, 0)), mode='symmetric')


def _blocks(n: int, halo: int) -> Iterator[tuple[slice, slice]]:
    """Blocks along n pixels, all of one length and inside the picture, and what to keep of each."""
    start = kept = 0
    while kept < n:
        start = max(min(start, n - BLOCK), 0)
        stop = min(start + BLOCK, n)
        until = n if stop == n else stop - halo
        yield slice(start, stop), slice(kept, until)
        start, kept = until - halo, until


@partial(jax.jit, static_argnames='color')
def _fixed(restored: jax.Array, lq: jax.Array, color: str) -> jax.Array:
    return FIXES[color](restored, lq)


_without_grain = jax.jit(guided_filter.without_grain)


def signed(image: np.ndarray) -> np.ndarray:
    """Whole numbers to [-1, 1], float32; floats as they are."""
    if image.dtype.kind == 'f':
        return image
    return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max / 2) - 1


def _bytes(image: np.ndarray) -> np.ndarray:
    """Floats in [-1, 1] as whole numbers would say them."""
    return np.rint(_levels(image)) / np.float32(127.5) - 1


def _levels(image: np.ndarray, white: int = 255) -> np.ndarray:
    """[-1, 1] to 0..white, not yet whole numbers."""
    return (np.clip(image, -1, 1) + 1) * (white / 2)
