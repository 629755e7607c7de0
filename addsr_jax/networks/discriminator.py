"""Projected discriminator (Sauer et al. 2021, 2023): small heads on frozen features of an augmented image.

Written from the description in the papers. Spectral norm as torch's old `spectral_norm`: the parameter is
`weight_orig`, the vectors u and v live in the collection `spectral`, and only `power_iteration` moves them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from addsr_jax import trees
from addsr_jax.networks.layers import GroupNorm
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


def spectral_vectors(
    params: Mapping[str, Any], spectral: Mapping[str, Any], steps: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the forwards on real and on made pictures are normalised by: one iteration on and, of 3 `steps`, two."""
    first = power_iteration(params, spectral)
    return first, power_iteration(params, first) if steps == 3 else first


def _normalised(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x), 1e-12)


def readout(hidden: Sequence[jax.Array], hooks: Sequence[int]) -> tuple[jax.Array, ...]:
    """Patch tokens plus class token, after the hooked blocks and, last, after the position embedding.

    hidden: a ViT's states [B, 1 + N, C], the first before any block -> len(hooks) + 1 arrays [B, N, C].
    """
    states = [hidden[block + 1] for block in hooks] + [hidden[0]]
    return tuple(state[:, 1:] + state[:, :1] for state in states)
