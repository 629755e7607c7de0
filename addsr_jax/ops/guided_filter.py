"""The guided filter (He, Sun & Tang, Guided Image Filtering, TPAMI 2013), and what restored pictures use it for.

Around every pixel the result is a linear function of the guide's channels, so edges of the guide stay and everything
that does not follow it is averaged away.
"""

import jax
import jax.numpy as jnp
import numpy as np

from addsr_jax.ops.image import low_frequencies, wavelet
from addsr_jax.ops.ycbcr import FROM_YCBCR, TO_YCBCR

# Measured on pairs of real cameras and on the crops of docs/contact_sheet.jpg; for pictures in [-1, 1].
CHROMA_RADIUS, CHROMA_EPSILON = 12, 1e-3
GRAIN_RADIUS = 16
ROUNDING = 1e-6  # variance of a flat window in float32


def guided_filter(
    image: jax.Array,
    guide: jax.Array,
    radius: int,
    epsilon: jax.typing.ArrayLike,
    drawn: jax.Array | None = None,
) -> jax.Array:
    """[H, W, C] along `guide` [H, W, G]: equations 5, 6 and 8 of the paper, with several channels 19 to 21.

    radius: pixels from the middle of a window to its border; windows end where the picture does. epsilon: variance of
    the guide, in its units squared, below which it counts as flat. drawn: a guide of the same shape for equation 8, as
    where `image` and `guide` are as blurred as each other and the result is to be sharper.
    """
    rows, columns = (_members(n, radius) for n in guide.shape[:2])
    count = rows[:, None] * columns

    def mean(x: jax.Array) -> jax.Array:
        return _box(x, radius) / count

    p, i, q = (jnp.moveaxis(x, -1, 0) for x in (image, guide, guide if drawn is None else drawn))  # [C or G, H, W]
    level, middle = mean(p), mean(i)
    both = mean(i[:, None] * p) - middle[:, None] * level  # [G, C, H, W]
    own = mean(i[:, None] * i) - middle[:, None] * middle  # [G, G, H, W]
    flat = jnp.maximum(epsilon, ROUNDING) * jnp.eye(len(i))[..., None, None]
    slope = _solve(own + flat, both)
    offset = level - (slope * middle[:, None]).sum(0)
    return jnp.moveaxis((mean(slope) * q[:, None]).sum(0) + mean(offset), 0, -1)


def guided(image: jax.Array, reference: jax.Array) -> jax.Array:
    """Colour fix: luma as `wavelet` mends it, chroma of `reference` along its edges; [H, W, 3] in [-1, 1] each.

    A network draws edges of luma well and tints them. Here the reference's chroma is fitted by the picture's own
    colours, blurred by three bands as it is itself, and drawn along less blurred ones: grey stays grey, and small
    things are not washed out. The two finest bands stay out of it: what repeats every 2 or 4 pixels, a decoder's trace,
    gets no colour.
    """
    highest = jax.lax.Precision.HIGHEST
    colors = jnp.matmul(wavelet(image, reference), TO_YCBCR.T, precision=highest)
    chroma = jnp.matmul(reference, TO_YCBCR[1:].T, precision=highest)
    sharper, blurred = (low_frequencies(colors, levels) for levels in (2, 3))
    chroma = guided_filter(chroma, blurred, CHROMA_RADIUS, CHROMA_EPSILON, drawn=sharper)
    mended = jnp.concatenate([colors[..., :1], chroma], -1)
    return jnp.matmul(mended, FROM_YCBCR.T, precision=highest)


def without_grain(image: jax.Array, grain: jax.typing.ArrayLike) -> jax.Array:
    """[H, W, 3] in [-1, 1], its luma smoothed where it varies by less than `grain`, in levels of 255.

    The guide is the luma itself: a deviation as large as `grain` is halved, a much larger one stays.
    """
    luma = jnp.matmul(image, TO_YCBCR[:1].T, precision=jax.lax.Precision.HIGHEST)
    return image + guided_filter(luma, luma, GRAIN_RADIUS, (grain / 127.5) ** 2) - luma


def _solve(matrix: jax.Array, right: jax.Array) -> jax.Array:
    """x of matrix x = right at every pixel: [G, G, H, W], positive definite, and [G, C, H, W] -> [G, C, H, W].

    Elimination over whole planes: a solver of batches would lay out a quarter of a million matrices of three rows.
    """
    size = len(matrix)
    rows = [jnp.concatenate([matrix[k], right[k]]) for k in range(size)]  # [G + C, H, W]
    for k in range(size):
        rows[k] = rows[k] / rows[k][k]
        for other in range(size):
            if other != k:
                rows[other] = rows[other] - rows[other][k] * rows[k]
    return jnp.stack([row[size:] for row in rows])


def _members(n: int, radius: int) -> np.ndarray:
    """How many of n pixels in a line lie in the window around each; by numpy, as XLA takes seconds over a constant."""
    at = np.arange(n)
    return (np.minimum(at + radius, n - 1) - np.maximum(at - radius, 0) + 1).astype(np.float32)


def _box(x: jax.Array, radius: int) -> jax.Array:
    """Sums over windows of 2 radius + 1 pixels along the last two axes, of what of them lies in the picture."""
    for axis in (x.ndim - 2, x.ndim - 1):
        window, padding = [1] * x.ndim, [(0, 0)] * x.ndim
        window[axis], padding[axis] = 2 * radius + 1, (radius, radius)
        x = jax.lax.reduce_window(x, 0.0, jax.lax.add, window, [1] * x.ndim, padding)
    return x
