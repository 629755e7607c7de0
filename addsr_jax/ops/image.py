"""Resizing as torch does it, and the colour fixes of the original's scripts.

Resizing is two small matrix products; the matrices depend on the sizes alone and are made while tracing.
"""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from addsr_jax.ops.weights import area_matrix, bicubic_matrix, bilinear_matrix

MATRICES = {'area': area_matrix, 'bilinear': bilinear_matrix, 'bicubic': bicubic_matrix}


def resize(images: jax.Array, size: tuple[int, int], method: str) -> jax.Array:
    """[B, H, W, C] -> [B, *size, C] as torch's F.interpolate(size=..., align_corners=False), no antialias.

    method: 'bicubic' (a = -0.75), 'bilinear', or 'area' (adaptive average).
    """
    if method not in MATRICES:
        raise ValueError(f'method is one of {", ".join(MATRICES)}, not {method!r}')
    if images.shape[1:3] == tuple(size):
        return images
    rows, columns = (MATRICES[method](images.shape[1 + axis], size[axis]) for axis in (0, 1))
    return apply_matrices(images, rows, columns)


def apply_matrices(images: jax.Array, rows: np.ndarray, columns: np.ndarray) -> jax.Array:
    """[B, H, W, C] by rows [P, H] and columns [Q, W] -> [B, P, Q, C], at full precision."""
    highest = jax.lax.Precision.HIGHEST
    images = jnp.einsum('ph,bhwc->bpwc', rows.astype(images.dtype), images, precision=highest)
    return jnp.einsum('qw,bpwc->bpqc', columns.astype(images.dtype), images, precision=highest)


Moments = tuple[np.ndarray, np.ndarray]  # mean and deviation of each channel, [3] each


def adain(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """`image` with the mean and deviation of each channel of `reference`: [H, W, 3], any range."""
    return with_moments(image, moments([image]), moments([reference]))


def moments(strips: Iterable[np.ndarray]) -> Moments:
    """Of a picture that comes in strips [h, W, 3]. Deviation is the square root of the unbiased variance + 1e-5
    (wavelet_color_fix.py of the original)."""
    count, total, squares = 0, np.zeros(3), np.zeros(3)
    for strip in strips:
        flat = np.asarray(strip, np.float64).reshape(-1, 3)
        count, total, squares = count + len(flat), total + flat.sum(0), squares + np.square(flat).sum(0)
    mean = total / count
    variance = np.maximum(squares - count * mean**2, 0) / max(count - 1, 1)
    return mean, np.sqrt(variance + 1e-5)


def with_moments(image: np.ndarray, own: Moments, wanted: Moments) -> np.ndarray:
    """`image`, of moments `own`, with those that are wanted; float32."""
    mean, deviation, wanted_mean, wanted_deviation = (np.float32(x) for x in (*own, *wanted))
    return (image - mean) / deviation * wanted_deviation + wanted_mean


def wavelet(image: jax.Array, reference: jax.Array, levels: int = 5) -> jax.Array:
    """High frequencies of `image` on the low ones of `reference`: [H, W, 3] each, any range."""
    high = image - low_frequencies(image, levels)
    return high + low_frequencies(reference, levels)


def low_frequencies(image: jax.Array, levels: int) -> jax.Array:
    """`levels` blurs with [1 2 1] / 4 along both axes at dilation 1, 2, 4, ..., borders replicated."""
    for level in range(levels):
        reach = 2**level
        for axis in (0, 1):
            pad = [(0, 0)] * image.ndim
            pad[axis] = (reach, reach)
            # else XLA's CPU compiler makes one loop of all levels, which computes pixels again and again
            wide = jax.lax.optimization_barrier(jnp.pad(image, pad, mode='edge'))
            n = image.shape[axis]
            before, here, after = (
                jax.lax.slice_in_dim(wide, start, start + n, axis=axis) for start in (0, reach, 2 * reach)
            )
            image = before / 4 + here / 2 + after / 4
    return image
