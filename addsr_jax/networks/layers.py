"""Pieces that several networks share: group norm, time embedding, residual block, resampling."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

Dtype = Any
BLOCK = 'block'  # name of the results of blocks


class GroupNorm(nn.Module):
    """Group norm over [B, H, W, C] (or [B, T, C]); statistics per channel first, in float32, which is quick on CPU."""

    groups: int
    epsilon: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        scale = self.param('scale', nn.initializers.ones, (channels,))
        bias = self.param('bias', nn.initializers.zeros, (channels,))
        return _group_norm(self.groups, self.epsilon, self.dtype, x, scale, bias)


@partial(jax.checkpoint, static_argnums=(0, 1, 2), policy=jax.checkpoint_policies.save_only_these_names('statistics'))
def _group_norm(
    groups: int, epsilon: float, dtype: Dtype, x: jax.Array, scale: jax.Array, bias: jax.Array
) -> jax.Array:
    """The backward pass keeps x as it came and two numbers a channel, not float32 copies of whole activations."""
    wide = x.astype(jnp.float32).reshape(x.shape[0], -1, x.shape[-1])
    mean = checkpoint_name(_over_groups(groups, wide.mean(axis=1)), 'statistics')
    # two passes: the short formula E[x^2] - E[x]^2 loses digits where the mean is large
    centred = wide - mean[:, None]
    variance = checkpoint_name(_over_groups(groups, (centred**2).mean(axis=1)), 'statistics')
    inverse = jax.lax.rsqrt(variance + epsilon)
    return (centred * (inverse * scale)[:, None] + bias).reshape(x.shape).astype(dtype)


def _over_groups(groups: int, per_channel: jax.Array) -> jax.Array:
    """[B, C] -> [B, C], each channel with its group's mean."""
    b, c = per_channel.shape
    means = per_channel.reshape(b, groups, c // groups).mean(axis=2, keepdims=True)
    return jnp.broadcast_to(means, (b, groups, c // groups)).reshape(b, c)


def end_of_block(x: jax.Array) -> jax.Array:
    """Marks the result of a block: what a backward pass keeps that recomputes all else (`stages.base.recomputing`)."""
    return checkpoint_name(x, BLOCK)


def norm(groups: int, epsilon: float, dtype: Dtype, name: str):
    """A group norm, or nothing at all where groups is 0."""
    return GroupNorm(groups, epsilon, dtype, name=name) if groups else (lambda x: x)


def conv(features: int, kernel: int, dtype: Dtype, name: str, stride: int = 1, zero: bool = False) -> nn.Conv:
    """A convolution with PyTorch's symmetric padding."""
    return nn.Conv(
        features,
        (kernel, kernel),
        strides=stride,
        padding=kernel // 2,
        kernel_init=nn.initializers.zeros if zero else nn.initializers.lecun_normal(),
        dtype=dtype,
        name=name,
    )


def sinusoid(timesteps: jax.Array, width: int) -> jax.Array:
    """[B] -> [B, width] float32: cosines first, then sines, frequencies 10000^(-i / (width / 2))."""
    half = width // 2
    frequencies = np.exp(-np.log(10_000.0) * np.arange(half, dtype=np.float32) / half).astype(np.float32)
    angles = timesteps.astype(jnp.float32)[:, None] * frequencies[None]
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


class TimeEmbedding(nn.Module):
    """Two dense layers on the sinusoid: [B, C0] -> [B, width]."""

    width: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Dense(self.width, dtype=self.dtype, name='linear_1')(x)
        return nn.Dense(self.width, dtype=self.dtype, name='linear_2')(nn.silu(x))


class ResnetBlock(nn.Module):
    """norm, SiLU, conv, (+ time), norm, SiLU, conv, + skip (ResnetBlock2D of diffusers)."""

    features: int
    groups: int
    epsilon: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, time: jax.Array | None = None) -> jax.Array:
        """x [B, H, W, C], time [B, E] or None -> [B, H, W, features]."""
        h = nn.silu(norm(self.groups, self.epsilon, self.dtype, 'norm1')(x))
        h = conv(self.features, 3, self.dtype, 'conv1')(h)
        if time is not None:
            shift = nn.Dense(self.features, dtype=self.dtype, name='time_emb_proj')(nn.silu(time))
            h = h + shift[:, None, None]
        h = nn.silu(norm(self.groups, self.epsilon, self.dtype, 'norm2')(h))
        # without norms a block starts as the identity (Zhang et al. 2019, Fixup), or depth makes training unstable
        h = conv(self.features, 3, self.dtype, 'conv2', zero=not self.groups)(h)
        if x.shape[-1] != self.features:
            x = conv(self.features, 1, self.dtype, 'conv_shortcut')(x)
        return end_of_block(x + h)


class Downsample(nn.Module):
    """Convolution of stride 2, padded on both sides."""

    features: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return conv(self.features, 3, self.dtype, 'conv', stride=2)(x)


class Upsample(nn.Module):
    """Nearest neighbour to `size` (twice the input by default), then a convolution."""

    features: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, size: tuple[int, int] | None = None) -> jax.Array:
        x = nearest(x, size or (2 * x.shape[1], 2 * x.shape[2]))
        return conv(self.features, 3, self.dtype, 'conv')(x)


def nearest(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Nearest neighbour as torch does it: source index floor(i * in / out)."""
    b, h, w, c = x.shape
    if size == (2 * h, 2 * w):
        return jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)
    rows = np.arange(size[0]) * h // size[0]
    columns = np.arange(size[1]) * w // size[1]
    return x[:, rows][:, :, columns]
