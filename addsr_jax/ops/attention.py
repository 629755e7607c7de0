"""Attention: one function, whose kernels all give the same numbers; but `einsum` none keeps a T x S matrix.

q [B, T, H, D], k and v [B, S, H, D] -> [B, T, H, D]. Softmax runs in float32. From LONG tokens on both sides on, the
kernel that was chosen does it, at any length: what a kernel's blocks do not divide is padded and takes no part. Shorter
calls (words, image tokens, windows) and those with a mask are whole products.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from addsr_jax import sharding
from addsr_jax.errors import UserError

LONG = 1024  # tokens; below, the whole matrix is small and quicker
QUERIES = KEYS = 512  # of a block of `chunked` at most; of 64 to 4096 the quickest on CPU, or nearly
TILE = 128  # `flash` takes lengths that this divides
BLOCKS = (512, 384, 256, 128)  # of `flash`: the first that divides a length
AMPERE = '8.0'  # compute capability
FUSED_HEAD = 128  # channels of a head: the most that cuDNN takes on every GPU

Kernel = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
Sums = tuple[jax.Array, jax.Array, jax.Array]


def attention(
    q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None = None, *, kernel: str = 'chunked'
) -> jax.Array:
    """softmax(q k^T / sqrt(D)) v by a kernel of KERNELS.

    mask: boolean or additive float32, broadcasts to [B, H, T, S]. ValueError: there is no such kernel.
    """
    if kernel not in KERNELS:
        raise ValueError(f'no attention kernel {kernel!r}: choose one of {", ".join(KERNELS)}')
    if mask is not None or min(q.shape[1], k.shape[1]) < LONG:
        return einsum(q, k, v, mask)
    return KERNELS[kernel](q, k, v)


def chosen(name: str, device: Any, dtype: Any) -> str:
    """The kernel for a device and a dtype of compute; 'auto' is the quickest that the device has.

    UserError: there is no such kernel, or not there.
    """
    platform, narrow = device.platform, jnp.dtype(dtype) != jnp.float32
    fuses = platform == 'gpu' and narrow and _is_ampere(str(getattr(device, 'compute_capability', AMPERE)))
    if name == 'auto':
        return 'flash' if platform == 'tpu' else 'cudnn' if fuses else 'chunked'
    if name not in KERNELS:
        raise UserError(f'there is no attention {name!r}: choose one of auto, {", ".join(KERNELS)}')
    if name == 'cudnn' and not fuses:
        raise UserError(
            f'attention cudnn needs an NVIDIA GPU from Ampere on and bfloat16, not {platform} and {jnp.dtype(dtype)}: '
            'write auto, or chunked, which runs everywhere'
        )
    if name == 'flash' and platform != 'tpu':
        raise UserError(f'attention flash needs a TPU, not {platform}: write auto, or chunked, which runs everywhere')
    return name


def _is_ampere(capability: str) -> bool:
    """'9.0' is, and AMD's 'gfx942' is not. Of a GPU that does not say, jax does when it compiles."""
    return capability.replace('.', '', 1).isdigit() and float(capability) >= float(AMPERE)


def einsum(
    q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None = None, kept: jax.Array | None = None
) -> jax.Array:
    """With the whole T x S matrix in memory. kept: factors of the weights, as of dropout, [B, H, T, S]."""
    scores = jnp.einsum('bthd,bshd->bhts', q, k, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf) if mask.dtype == jnp.bool_ else scores + mask
    weights = jax.nn.softmax(scores, axis=-1)
    weights = weights if kept is None else weights * kept
    return jnp.einsum('bhts,bshd->bthd', weights.astype(v.dtype), v)


@jax.custom_vjp
def chunked(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """A block of queries after the other, with a softmax that is corrected block of keys by block of keys.

    Milakov & Gimelshein 2018; the backward pass computes the blocks again (Dao et al. 2022, algorithm 4).
    """
    return _chunked_forward(q, k, v)[0]


def _chunked_forward(q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    keys, values, seen = _in_blocks(k, KEYS), _in_blocks(v, KEYS), _seen(k.shape[1])

    def rows(queries: jax.Array) -> tuple[jax.Array, jax.Array]:
        (most, total, out), _ = jax.lax.scan(
            lambda sums, block: (with_keys(sums, queries, *block), None), no_keys(queries), (keys, values, seen)
        )
        return (out / total[..., None]).astype(v.dtype), most + jnp.log(total)

    out, log_total = jax.lax.map(rows, _in_blocks(q, QUERIES))
    return _joined(out, q.shape[1]), (q, k, v, out, log_total)


def no_keys(queries: jax.Array) -> Sums:
    """Sums over no keys yet: the largest score, the sum of weights, and that of weighted values."""
    rows = queries.shape[:3]
    return jnp.full(rows, -jnp.inf), jnp.zeros(rows), jnp.zeros(queries.shape)


def with_keys(sums: Sums, queries: jax.Array, keys: jax.Array, values: jax.Array, seen: jax.Array) -> Sums:
    """The sums of queries [B, H, t, D] with one more block of keys and values [B, H, s, D]; seen: bool [s]."""
    most, total, out = sums
    scores = _scores(queries, keys, seen)
    above = jnp.maximum(most, scores.max(axis=-1))
    weights, kept = jnp.exp(scores - above[..., None]), jnp.exp(most - above)
    narrow = weights.astype(values.dtype)
    added = jnp.einsum('bhts,bhsd->bhtd', narrow, values, preferred_element_type=jnp.float32)
    return above, total * kept + weights.sum(axis=-1), out * kept[..., None] + added


def _chunked_backward(kept: tuple[jax.Array, ...], gradient: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    q, k, v, out, log_total = kept
    keys, values, seen = _in_blocks(k, KEYS), _in_blocks(v, KEYS), _seen(k.shape[1])
    product = partial(jnp.einsum, preferred_element_type=jnp.float32)

    def rows(carry: Any, block: Any) -> tuple[Any, jax.Array]:
        queries, total, own, above = block  # `above`: the gradient of this block of the result, which is `own`
        mean = (own.astype(jnp.float32) * above.astype(jnp.float32)).sum(axis=-1, keepdims=True)

        def columns(to_queries: jax.Array, block: Any) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            key, value, seen = block
            weights = jnp.exp(_scores(queries, key, seen) - total[..., None])
            to_scores = weights * (product('bhtd,bhsd->bhts', above, value) - mean) * q.shape[-1] ** -0.5
            weights, to_scores = weights.astype(v.dtype), to_scores.astype(v.dtype)
            to_value = product('bhts,bhtd->bhsd', weights, above)
            to_key = product('bhts,bhtd->bhsd', to_scores, queries)
            return to_queries + product('bhts,bhsd->bhtd', to_scores, key), (to_key, to_value)

        to_queries, to_others = jax.lax.scan(columns, jnp.zeros(queries.shape), (keys, values, seen))
        return jax.tree.map(jnp.add, carry, to_others), to_queries

    zeros = (jnp.zeros(keys.shape), jnp.zeros(values.shape))
    blocks = (_in_blocks(q, QUERIES), log_total, out, _in_blocks(gradient, QUERIES))
    (to_keys, to_values), to_queries = jax.lax.scan(rows, zeros, blocks)
    found = ((to_queries, q), (to_keys, k), (to_values, v))
    to_q, to_k, to_v = (_joined(blocks, like.shape[1]).astype(like.dtype) for blocks, like in found)
    return to_q, to_k, to_v


chunked.defvjp(_chunked_forward, _chunked_backward)


def _scores(queries: jax.Array, keys: jax.Array, seen: jax.Array) -> jax.Array:
    """[B, H, t, D], [B, H, s, D], bool [s] -> float32 [B, H, t, s]."""
    scores = jnp.einsum('bhtd,bhsd->bhts', queries, keys, preferred_element_type=jnp.float32)
    return jnp.where(seen, scores * queries.shape[-1] ** -0.5, -jnp.inf)


def _blocks(length: int, most: int) -> tuple[int, int]:
    """How many, and how long: as even as they can be, so that little is padded."""
    count = -(-length // most)
    return count, -(-length // count)


def _in_blocks(x: jax.Array, most: int) -> jax.Array:
    """[B, T, H, D] -> [n, B, H, t, D], with zeros after the end."""
    b, length, h, d = x.shape
    count, size = _blocks(length, most)
    x = jnp.pad(x, ((0, 0), (0, count * size - length), (0, 0), (0, 0)))
    return x.reshape(b, count, size, h, d).transpose(1, 0, 3, 2, 4)


def _joined(blocks: jax.Array, length: int) -> jax.Array:
    """The inverse of `_in_blocks`."""
    count, b, h, size, d = blocks.shape
    return blocks.transpose(1, 0, 3, 2, 4).reshape(b, count * size, h, d)[:, :length]


def _seen(length: int) -> jax.Array:
    """bool [n, s]: which keys of the blocks are no padding."""
    count, size = _blocks(length, KEYS)
    return (jnp.arange(count * size) < length).reshape(count, size)


def cudnn(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """cuDNN's fused kernel, of bfloat16 or float16; heads that it cannot take (the autoencoder's) are `chunked`'s.

    Lengths are made even, which its backward pass wants, and it is told where they end.
    """
    if q.shape[-1] > FUSED_HEAD or q.shape[-1] % 8:
        return chunked(q, k, v)
    fused = partial(jax.nn.dot_product_attention, implementation='cudnn')
    if not q.shape[1] % 2 and not k.shape[1] % 2:
        return fused(q, k, v)
    queries, keys = (jnp.full(q.shape[:1], x.shape[1], jnp.int32) for x in (q, k))
    even = (_padded(x, x.shape[1] + x.shape[1] % 2) for x in (q, k, v))
    return fused(*even, query_seq_lengths=queries, key_value_seq_lengths=keys)[:, : q.shape[1]]


def flash(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """Pallas' kernel for TPUs, on each device's share of the batch."""
    return sharding.on_shares(_flash, q, k, v)


def _flash(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    from jax.experimental.pallas.ops.tpu import flash_attention as pallas  # takes a while, and TPUs alone need it

    lengths = q.shape[1], k.shape[1]
    longer = [-(-n // TILE) * TILE for n in lengths]
    rows, columns = (next(size for size in BLOCKS if n % size == 0) for n in longer)
    segments = None
    if list(lengths) != longer:  # padding is a segment of its own: nothing else looks at it
        batch = q.shape[0]
        segments = pallas.SegmentIds(
            *(jnp.broadcast_to(jnp.arange(n) >= own, (batch, n)).astype(jnp.int32)
              for n, own in zip(longer, lengths, strict=True))
        )  # fmt: skip
    sizes = pallas.BlockSizes(
        block_q=rows,
        block_k_major=columns,
        block_k=columns,
        block_b=1,
        block_q_major_dkv=rows,
        block_k_major_dkv=columns,
        block_k_dkv=columns,
        block_q_dkv=rows,
        block_k_major_dq=columns,
        block_k_dq=columns,
        block_q_dq=rows,
    )
    heads = [_padded(x, n).swapaxes(1, 2) for x, n in zip((q, k, v), (longer[0], longer[1], longer[1]), strict=True)]
    out = pallas.flash_attention(*heads, segment_ids=segments, sm_scale=q.shape[-1] ** -0.5, block_sizes=sizes)
    return out.swapaxes(1, 2)[:, : lengths[0]]


def _padded(x: jax.Array, length: int) -> jax.Array:
    """[B, T, H, D] -> [B, length, H, D], zeros at the end."""
    return jnp.pad(x, ((0, 0), (0, length - x.shape[1]), (0, 0), (0, 0)))


KERNELS: dict[str, Kernel] = {'einsum': einsum, 'chunked': chunked, 'cudnn': cudnn, 'flash': flash}
