"""The guided filter (He, Sun & Tang, Guided Image Filtering, TPAMI 2013), and what restored pictures use it for.

Around every pixel the result is a straight line of the guide, so edges of the guide stay and everything that does not
follow it is averaged away.
"""

import jax
import jax.numpy as jnp
import numpy as np

from addsr_jax.ops.image import wavelet

# Measured on pairs of real cameras and on the crops of docs/contact_sheet.jpg; for pictures in [-1, 1].
CHROMA_RADIUS, CHROMA_EPSILON = 8, 1e-3
GRAIN_RADIUS = 16

# Rows: luma, blue and red difference of BT.601 (JPEG). A grey has chroma 0, and luma that is added to all three
# channels is luma alone.
YCC = (
    (0.299, 0.587, 0.114),
    (-0.168736, -0.331264, 0.5),
    (0.5, -0.418688, -0.081312),
)


def guided_filter(image: jax.Array, guide: jax.Array, radius: int, epsilon: jax.typing.ArrayLike) -> jax.Array:
    """[H, W, C] along `guide` [H, W, 1]: equations 5, 6 and 8 of the paper.

    radius: pixels from the middle of a window to its border; windows end where the picture does. epsilon: variance of
    the guide, in its units squared, below which it counts as flat.
    """

    def mean(x: jax.Array) -> jax.Array:
        return _box(x, radius) / count

    rows, columns = (_members(n, radius) for n in guide.shape[:2])
    count = rows[:, None, None] * columns[None, :, None]
    middle, level = mean(guide), mean(image)
    slope = (mean(guide * image) - middle * level) / (mean(guide * guide) - middle * middle + epsilon)
    return mean(slope) * guide + mean(level - slope * middle)


def guided(image: jax.Array, reference: jax.Array) -> jax.Array:
    """Colour fix: luma as `wavelet` mends it, chroma of `reference` along its edges; [H, W, 3] in [-1, 1] each.

    The eye and the networks find edges in luma; what a network adds to chroma is mostly tint. Where the reference is
    grey the result is.
    """
    highest = jax.lax.Precision.HIGHEST
    to_ycc = jnp.asarray(YCC)
    luma = _luma(wavelet(image, reference))
    chroma = jnp.matmul(reference, to_ycc[1:].T, precision=highest)
    chroma = guided_filter(chroma, luma, CHROMA_RADIUS, CHROMA_EPSILON)
    return jnp.matmul(jnp.concatenate([luma, chroma], -1), jnp.linalg.inv(to_ycc).T, precision=highest)


def without_grain(image: jax.Array, grain: jax.typing.ArrayLike) -> jax.Array:
    """[H, W, 3] in [-1, 1], its luma smoothed where it varies by less than `grain`, in levels of 255.

    The guide is the luma itself: a deviation as large as `grain` is halved, a much larger one stays.
    """
    luma = _luma(image)
    return image + guided_filter(luma, luma, GRAIN_RADIUS, (grain / 127.5) ** 2) - luma


def _luma(image: jax.Array) -> jax.Array:
    return jnp.matmul(image, jnp.asarray(YCC[:1]).T, precision=jax.lax.Precision.HIGHEST)


def _members(n: int, radius: int) -> np.ndarray:
    """How many of n pixels in a line lie in the window around each."""
    at = np.arange(n)
    return (np.minimum(at + radius, n - 1) - np.maximum(at - radius, 0) + 1).astype(np.float32)


def _box(x: jax.Array, radius: int) -> jax.Array:
    """Sums over windows of 2 radius + 1 pixels, of what of them lies in the picture."""
    for axis in (0, 1):
        window, padding = [1] * x.ndim, [(0, 0)] * x.ndim
        window[axis], padding[axis] = 2 * radius + 1, (radius, radius)
        x = jax.lax.reduce_window(x, 0.0, jax.lax.add, window, [1] * x.ndim, padding)
    return x
