"""Resizing as torch does it, and the colour fixes of the original's scripts.

Resizing is two small matrix products; the matrices depend on the sizes alone and are made while tracing.
"""

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


def adain(image: jax.Array, reference: jax.Array) -> jax.Array:
    """`image` with the mean and deviation of each channel of `reference`: [H, W, 3], any range.

    Deviation is the square root of the unbiased variance + 1e-5 (wavelet_color_fix.py of the original).
    """

    def moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        flat = x.reshape(-1, x.shape[-1])
        return flat.mean(axis=0), jnp.sqrt(flat.var(axis=0, ddof=1) + 1e-5)

    mean, deviation = moments(image)
    wanted_mean, wanted_deviation = moments(reference)
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
