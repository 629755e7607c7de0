"""The last touch: colours of the low-quality picture (wavelet_color_fix.py of the original), grain smoothed."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

import jax
import numpy as np

from addsr_jax.ops import guided_filter
from addsr_jax.ops import image as image_ops
from addsr_jax.ops import rows as by_rows
from addsr_jax.ops.enlarged import Enlarged
from addsr_jax.ops.tiling import Strips
from addsr_jax.restoration.bounds import Bounds
from addsr_jax.restoration.film_grain import FilmGrain

FIXES = {'guided': guided_filter.guided, 'wavelet': image_ops.wavelet}  # beside adain, which sees whole pictures

# A large picture is finished in blocks: memory for one, and one program for all sizes.
BLOCK = 768  # pixels a side
SIDES = (128, 256, 512, BLOCK)  # small pictures are mirrored up to one of these: filters take seconds to compile
CALM = np.float32(1 / 127.5)  # how far a result may be from the enlarged picture where that is calm
HALO = 72  # of them again in the next block; no filter reaches further (guided: 31 + 7 + 2 * 12, touches: 34 at most)


class Touch(Protocol):
    """A change of some places, which looks at what was drawn around them and at what it knows of the small picture."""

    def change(self, strip: np.ndarray, first: int, rows: slice) -> np.ndarray:
        """What is added to `rows` of a strip [h, W, 3] in [-1, 1] whose first row is the picture's row `first`."""
        ...


Filter = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of a block of the result so far, and of the enlarged picture


def finished(
    restored: np.ndarray | Strips,
    lq: np.ndarray,
    color: str,
    grain: float,
    *,
    truncates: bool,
    bounds: Bounds | None = None,
    calm: Enlarged | None = None,
    film_grain: FilmGrain | None = None,
    touches: Sequence[Touch] = (),
    kind: type[np.unsignedinteger] = np.uint8,
    let_go: Callable[[int], None] = lambda row: None,
) -> np.ndarray:
    """`restored` with the colours of `lq`, both [H, W, 3] in [-1, 1] or `lq` in whole numbers, as `kind`.

    color: a name of FIXES, 'adain', or 'none'. grain: luma that varies by less, in levels of 255, is smoothed; 0: none.
    truncates: as the original, whose colour fix takes bytes and cuts off the fractions of its result; more bits are
    rounded. touches: what is changed in some places, each seeing what was there before all of them. bounds: what the
    result stays inside; None: nothing. calm: where `restored` is then kept within a level of `lq`; None: nowhere.
    film_grain: what is added to it at last, but where it is calm; None: nothing. kind: uint8 or uint16. let_go: is told
    above which row `restored` is not read again. Floats of a strip of blocks are all that is held beside these.
    """
    white = np.iinfo(kind).max
    cuts = truncates and color != 'none' and kind is np.uint8
    filters = _filters(color, grain)
    if color == 'adain':
        few = list(by_rows.few(0, len(lq), lq.shape[1]))
        own = image_ops.moments(_bytes(restored[part]) if cuts else restored[part] for part in few)
        wanted = image_ops.moments(signed(lq[part]) for part in few)
        filters.insert(0, lambda block, lq: image_ops.with_moments(block, own, wanted))
    if cuts:
        filters.insert(0, lambda block, lq: _bytes(block))
    halo = HALO * max((color in FIXES) + bool(grain), bool(touches))
    out = np.empty(restored.shape, kind)
    for rows, keep in _blocks(len(out), halo):
        let_go(rows.start)
        strip = _strip(restored, lq, rows, filters, halo)
        for few in by_rows.few(keep.start, keep.stop, restored.shape[1]):
            inside = slice(few.start - rows.start, few.stop - rows.start)
            part = sum((touch.change(strip, rows.start, inside) for touch in touches), start=strip[inside])
            part = part if bounds is None else bounds.clipped(part, few.start)
            quiet = 0.0 if calm is None else calm.rows(few.start, few.stop)
            if calm is not None:
                large = signed(lq[few])
                near = np.clip(part, large - CALM, large + CALM)
                part = part + quiet * (near - part)
            if film_grain is not None:
                part = film_grain.added(part, few.start, 1 - quiet)
            out[few] = (np.floor if cuts else np.rint)(_levels(part, white))
    return out


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


def _strip(restored: np.ndarray | Strips, lq: np.ndarray, rows: slice, filters: list[Filter], halo: int) -> np.ndarray:
    """[h, W, 3] of rows that are one block high, after all filters, block by block."""
    if not filters:
        return restored[rows]
    out = np.empty((rows.stop - rows.start, *restored.shape[1:]), np.float32)
    for columns, keep in _blocks(restored.shape[1], halo):
        block, large = restored[rows, columns], lq[rows, columns]
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
