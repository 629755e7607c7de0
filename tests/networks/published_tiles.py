"""The published cuts of the autoencoder over a large picture (vaehook.py), which the recorded outputs are of.

A tile sees `pad` more than it gives on each side that is not the picture's. Every norm takes the mean over the tiles
of their means and of their variances, weighted by their pixels, and the middle's attention stays inside a tile: so the
result is close to that of the whole picture, not equal. Here the tiles are one batch: each lies in a corner of one
shape, and what is outside of it is zero to convolutions, absent to norms and attention. It saves no memory.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from addsr_jax.networks.autoencoder import Autoencoder, SingleHeadAttention, depth_to_space, space_to_depth
from addsr_jax.networks.build import apply
from addsr_jax.networks.layers import GroupNorm
from addsr_jax.ops.attention import einsum
from addsr_jax.trees import Tree

DECODER_PAD, ENCODER_PAD = 11, 32  # latents; pixels


def moments(module: Autoencoder, params: Tree, images: jax.Array, side: int) -> jax.Array:
    """`Autoencoder.moments` of images [B, H, W, 3] in tiles of about `side` pixels, a multiple of 32; 0: whole."""
    factor = module.spec.factor
    return _over_tiles(partial(apply, module, params, method='moments'), images, side, ENCODER_PAD, 1, factor)


def decode(
    module: Autoencoder, params: Tree, latents: jax.Array, side: int, picture: jax.Array | None = None
) -> jax.Array:
    """`Autoencoder.decode` of latents [B, h, w, C] in tiles of about `side` latents; 0: whole."""
    spec, see = module.spec, partial(apply, module, params, method='decode')
    if not spec.guided_blocks or picture is None:
        return _over_tiles(see, latents, side, DECODER_PAD, spec.factor, 1)
    channels = latents.shape[-1]
    both = jnp.concatenate([latents, space_to_depth(picture, spec.factor)], axis=-1)  # one array to cut tiles from

    def see_both(x: jax.Array) -> jax.Array:
        return see(x[..., :channels], depth_to_space(x[..., channels:], spec.factor))

    return _over_tiles(see_both, both, side, DECODER_PAD, spec.factor, 1)


@dataclass(frozen=True)
class Span:
    """One tile along one axis: what it sees of the input, and what it gives of it."""

    sees: tuple[int, int]
    gives: tuple[int, int]


def spans(length: int, side: int, pad: int) -> list[Span]:
    """Tiles of at most side + 2 pad over an axis, of sizes as even as multiples of 32, 16, ... allow."""
    inner = length - 2 * pad
    count = max(math.ceil(inner / side), 1)
    step = balanced(math.ceil(inner / count), side)
    found = []
    for i in range(count):
        start, stop = pad + i * step, min(pad + (i + 1) * step, length)
        gives = (0 if start <= pad else start, length if stop >= length - pad else stop)
        found.append(Span((max(start - pad, 0), min(stop + pad, length)), gives))
    return found


def balanced(least: int, most: int) -> int:
    """`least`, rounded up to a multiple of 32, or of 16, 8, 4, 2 where that is more than `most`."""
    for divisor in (32, 16, 8, 4, 2):
        rounded = -(-least // divisor) * divisor
        if rounded == least or rounded <= most:
            return rounded
    return least


def _over_tiles(
    see: Callable[[jax.Array], jax.Array], x: jax.Array, side: int, pad: int, times: int, over: int
) -> jax.Array:
    """The stitched results, whose sides are `times` / `over` those of x [B, H, W, C]."""
    b, height, width, _ = x.shape
    if not side or max(height, width) <= side + 2 * pad:
        return see(x)
    tiles = list(itertools.product(spans(height, side, pad), spans(width, side, pad)))
    sizes = np.asarray([[a.sees[1] - a.sees[0] for a in tile] for tile in tiles])  # [n, 2]
    frame = sizes.max(axis=0)
    cut = [
        jnp.pad(x[:, slice(*rows.sees), slice(*columns.sees)], ((0, 0), (0, down), (0, right), (0, 0)))
        for (rows, columns), (down, right) in zip(tiles, frame - sizes, strict=True)
    ]
    with nn.intercept_methods(partial(_shared, sizes, frame, b)):
        seen = see(jnp.concatenate(cut))  # [n B, ...]
    seen = seen.reshape(len(tiles), b, *seen.shape[1:])
    result = jnp.zeros((b, height * times // over, width * times // over, seen.shape[-1]), seen.dtype)
    for (rows, columns), tile in zip(tiles, seen, strict=True):
        (top, bottom), (left, right) = ((v * times // over for v in axis.gives) for axis in (rows, columns))
        y, x0 = (axis.sees[0] * times // over for axis in (rows, columns))
        result = result.at[:, top:bottom, left:right].set(tile[:, top - y : bottom - y, left - x0 : right - x0])
    return result


def _shared(sizes: np.ndarray, frame: np.ndarray, batch: int, call: Any, args: Any, kwargs: Any, context: Any) -> Any:
    """In place of a layer's own call: what lies outside of a tile takes no part."""
    layer = context.module
    if context.method_name != '__call__' or not isinstance(layer, nn.Conv | GroupNorm | SingleHeadAttention):
        return call(*args, **kwargs)
    x = args[0]
    inside = _inside(sizes, frame, x.shape[1:3])  # [n, H, W]
    everywhere = np.repeat(inside, batch, axis=0)  # [n B, H, W]
    if isinstance(layer, nn.Conv):
        return call(jnp.where(everywhere[..., None], x, 0))
    if isinstance(layer, SingleHeadAttention):
        return layer.added(x, einsum(*layer.projected(x), everywhere.reshape(len(everywhere), 1, 1, -1)))
    return _pooled_norm(layer, x, inside, batch)


def _inside(sizes: np.ndarray, frame: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """bool [n, H, W]: the part of the frame, at a level of this shape, that each tile fills."""
    rows, columns = (np.arange(shape[i])[None] < (sizes[:, i] * shape[i] // frame[i])[:, None] for i in (0, 1))
    return rows[:, :, None] & columns[:, None, :]


def _pooled_norm(layer: GroupNorm, x: jax.Array, inside: np.ndarray, batch: int) -> jax.Array:
    """Group norm of [n B, H, W, C] with one mean and one variance for the n tiles of a picture."""
    n, h, w = inside.shape
    params, channels = layer.variables['params'], x.shape[-1]
    wide = x.astype(jnp.float32).reshape(n, batch, h * w, layer.groups, channels // layer.groups)
    here = inside.reshape(n, 1, h * w, 1, 1)
    pixels = here.sum(axis=2, keepdims=True)  # of each tile
    share = (pixels / pixels.sum()).astype(np.float32)

    def mean_inside(values: jax.Array) -> jax.Array:
        total = jnp.where(here, values, 0).sum(axis=(2, 4), keepdims=True)
        return total / (pixels * values.shape[-1]).astype(np.float32)

    mean = mean_inside(wide)
    variance = (share * mean_inside((wide - mean) ** 2)).sum(axis=0)
    normal = (wide - (share * mean).sum(axis=0)) * jax.lax.rsqrt(variance + layer.epsilon)
    return (normal.reshape(x.shape) * params['scale'] + params['bias']).astype(layer.dtype)
