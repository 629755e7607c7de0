"""Projected discriminator (Sauer et al. 2021, 2023): small heads on frozen features of an augmented image.

Written from the description in the papers. Spectral norm as torch's old `spectral_norm`: the parameter is
`weight_orig`, the vectors u and v live in the collection `spectral`, and only `power_iteration` moves them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from addsr_jax import trees
from addsr_jax.networks.layers import GroupNorm
from addsr_jax.ops.image import resize
from addsr_jax.specs import DiscriminatorSpec

Dtype = Any


class SpectralConv(nn.Module):
    """Circular 1-D convolution over tokens whose matrix (out, in * k) is divided by u^T W v."""

    features: int
    kernel_size: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, N, C] -> [B, N, features]."""
        k, channels = self.kernel_size, x.shape[-1]
        weight = self.param('weight_orig', nn.initializers.lecun_normal(), (k, channels, self.features))
        bias = self.param('bias', nn.initializers.zeros, (self.features,))
        u = self.variable('spectral', 'weight_u', _unit, self.make_rng, (self.features,)).value
        v = self.variable('spectral', 'weight_v', _unit, self.make_rng, (channels * k,)).value
        sigma = u @ _as_matrix(weight) @ v
        reach = k // 2
        x = jnp.concatenate([x[:, x.shape[1] - reach :], x, x[:, :reach]], axis=1) if reach else x
        out = jax.lax.conv_general_dilated(
            x.astype(self.dtype),
            (weight / sigma).astype(self.dtype),
            window_strides=(1,),
            padding='VALID',
            dimension_numbers=('NWC', 'WIO', 'NWC'),
        )
        return out + bias.astype(self.dtype)


def _unit(make_rng, shape: tuple[int, ...]) -> jax.Array:
    x = jax.random.normal(make_rng('params'), shape)
    return x / jnp.linalg.norm(x)


def _as_matrix(weight: jax.Array) -> jax.Array:
    """[k, in, out] -> [out, in * k], torch's order."""
    return weight.transpose(2, 1, 0).reshape(weight.shape[2], -1)


class EqualisedDense(nn.Module):
    """Dense layer with weights ~ N(0, 1), used as W / sqrt(in) (Karras et al. 2018)."""

    features: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        weight = self.param('kernel', nn.initializers.normal(1.0), (x.shape[-1], self.features))
        bias = self.param('bias', nn.initializers.zeros, (self.features,))
        return x.astype(self.dtype) @ (weight * x.shape[-1] ** -0.5).astype(self.dtype) + bias.astype(self.dtype)


def conv_block(x: jax.Array, spec: DiscriminatorSpec, kernel_size: int, dtype: Dtype, name: str) -> jax.Array:
    """Spectral convolution, group norm, leaky ReLU; torch's Sequential numbers the first two."""
    x = SpectralConv(x.shape[-1], kernel_size, dtype, name=f'{name}_0')(x)
    x = GroupNorm(spec.norm_groups, spec.norm_eps, dtype, name=f'{name}_1')(x)
    return nn.leaky_relu(x, spec.slope)


class Residual(nn.Module):
    """(f(x) + x) / sqrt(2)."""

    spec: DiscriminatorSpec
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return (conv_block(x, self.spec, self.spec.kernel_size, self.dtype, 'fn') + x) * 2**-0.5


class Head(nn.Module):
    """Features [B, N, C] and condition [B, c] -> logits [B, N]: a projection of each token on the condition."""

    spec: DiscriminatorSpec
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        s = self.spec
        x = conv_block(x.astype(self.dtype), s, 1, self.dtype, 'main_0')
        x = Residual(s, self.dtype, name='main_1')(x)
        x = SpectralConv(s.projection_dim, 1, self.dtype, name='cls')(x)
        wanted = EqualisedDense(s.projection_dim, self.dtype, name='cmapper')(condition)
        return (x * wanted[:, None]).sum(axis=-1).astype(jnp.float32) * s.projection_dim**-0.5


class Heads(nn.Module):
    """One head per feature map; logits of all heads side by side, [B, sum of N_j] float32."""

    spec: DiscriminatorSpec
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, features: Sequence[jax.Array], condition: jax.Array) -> jax.Array:
        logits = [Head(self.spec, self.dtype, name=f'heads_{k}')(x, condition) for k, x in enumerate(features)]
        return jnp.concatenate(logits, axis=1)


def power_iteration(params: Mapping[str, Any], spectral: Mapping[str, Any]) -> dict[str, Any]:
    """One step of every head: v <- W^T u, u <- W v, each normalised (Miyato et al. 2018)."""
    weights, vectors = trees.flatten(params), dict(trees.flatten(spectral))
    for path in [p for p in vectors if p.endswith('/weight_u')]:
        layer = path.removesuffix('/weight_u')
        matrix = _as_matrix(weights[f'{layer}/weight_orig'])
        v = _normalised(matrix.T @ vectors[path])
        vectors[f'{layer}/weight_v'], vectors[path] = v, _normalised(matrix @ v)
    return jax.lax.stop_gradient(trees.unflatten(vectors))


def _normalised(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x), 1e-12)


def readout(hidden: Sequence[jax.Array], hooks: Sequence[int]) -> tuple[jax.Array, ...]:
    """Patch tokens plus class token, after the hooked blocks and, last, after the position embedding.

    hidden: a ViT's states [B, 1 + N, C], the first before any block -> len(hooks) + 1 arrays [B, N, C].
    """
    states = [hidden[block + 1] for block in hooks] + [hidden[0]]
    return tuple(state[:, 1:] + state[:, :1] for state in states)


@struct.dataclass
class AugmentDraws:
    """Chance of DiffAugment and of the crop; what the batch shares is repeated along it. Pixels are integers."""

    shift: jax.Array  # [B, 2] rows and columns, in +- int(size / 8 + 0.5)
    cutout: jax.Array  # [B, 2] centre of the square
    crop: jax.Array  # [B] in [0, 1): below 0.5 takes a crop
    corner: jax.Array  # [B, 2] in [0, 1): where the crop lies


def draw_augment(key: jax.Array, batch: int, size: int) -> AugmentDraws:
    """Draws for images of `size` pixels; shift and cutout per sample, the crop one for the batch."""
    shift, cutout, crop, corner = jax.random.split(key, 4)
    reach, square = int(size * 0.125 + 0.5), cutout_side(size)
    samples = jnp.arange(batch)

    def each(k, low, high):
        return jax.vmap(lambda i: jax.random.randint(jax.random.fold_in(k, i), (2,), low, high))(samples)

    return AugmentDraws(
        shift=each(shift, -reach, reach + 1),
        cutout=each(cutout, 0, size + (1 - square % 2)),
        crop=jnp.broadcast_to(jax.random.uniform(crop), (batch,)),
        corner=jnp.broadcast_to(jax.random.uniform(corner, (2,)), (batch, 2)),
    )


def cutout_side(size: int) -> int:
    return int(size * 0.2 + 0.5)


def diff_augment(images: jax.Array, draws: AugmentDraws) -> jax.Array:
    """Translation and cutout with zeros (Zhao et al. 2020) of images [B, H, W, 3] in [-1, 1]."""
    return cutout(translate(images, draws.shift), draws.cutout)


def translate(images: jax.Array, shift: jax.Array) -> jax.Array:
    """Each image moved by `shift` [B, 2] pixels: out[i, j] = in[i + shift_0, j + shift_1], zero outside."""
    h, w = images.shape[1:3]

    def one(image, offset):
        rows, columns = jnp.arange(h) + offset[0], jnp.arange(w) + offset[1]
        inside = ((rows >= 0) & (rows < h))[:, None] & ((columns >= 0) & (columns < w))[None]
        moved = image[jnp.clip(rows, 0, h - 1)][:, jnp.clip(columns, 0, w - 1)]
        return moved * inside[..., None]

    return jax.vmap(one)(images, shift)


def cutout(images: jax.Array, centre: jax.Array) -> jax.Array:
    """A square of zeros, a fifth of the side, around `centre` [B, 2]; clamped to the borders."""
    h, w = images.shape[1:3]

    def covered(n: int, position: jax.Array) -> jax.Array:
        side = cutout_side(n)
        start = position - side // 2
        last = jnp.clip(start + side - 1, 0, n - 1)
        i = jnp.arange(n)
        return (i >= jnp.clip(start, 0, n - 1)[:, None]) & (i <= last[:, None])  # [B, n]

    hole = covered(h, centre[:, 0])[:, :, None] & covered(w, centre[:, 1])[:, None]
    return images * ~hole[..., None]


def to_feature_size(images: jax.Array, draws: AugmentDraws, size: int) -> jax.Array:
    """A random size x size crop of wider images with probability 1/2, the same for the batch; else area averages."""
    h, w = images.shape[1:3]
    shrunk = resize(images, (size, size), 'area')
    if w <= size:
        return shrunk
    corner = (draws.corner[0] * jnp.asarray([h - size + 1, w - size + 1])).astype(jnp.int32)
    cropped = jax.lax.dynamic_slice(
        images, (0, corner[0], corner[1], 0), (images.shape[0], size, size, images.shape[3])
    )
    return jnp.where(draws.crop[0] < 0.5, cropped, shrunk)
