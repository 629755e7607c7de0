"""Swin transformer (Liu et al. 2021; reference: ram/models/swin_transformer.py), the image tower of RAM."""

from functools import lru_cache
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from addsr_jax.networks.layers import end_of_block
from addsr_jax.ops.attention import attention
from addsr_jax.specs import SwinSpec

Dtype = Any


def relative_position_index(window: int) -> np.ndarray:
    """[w^2, w^2] rows of the bias table: (query row - key row + w - 1)(2 w - 1) + the same of columns."""
    grid = np.stack(np.meshgrid(np.arange(window), np.arange(window), indexing='ij')).reshape(2, -1)
    delta = grid[:, :, None] - grid[:, None, :] + window - 1
    return delta[0] * (2 * window - 1) + delta[1]


@lru_cache(maxsize=16)  # the blocks of a level share one
def shift_mask(size: int, window: int, shift: int) -> np.ndarray:
    """[windows, w^2, w^2] additive mask: -100 between pixels that the cyclic shift made neighbours."""
    region = np.zeros((size, size))
    slices = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
    for i, rows in enumerate(slices):
        for j, columns in enumerate(slices):
            region[rows, columns] = 3 * i + j
    n = size // window
    region = region.reshape(n, window, n, window).transpose(0, 2, 1, 3).reshape(n * n, -1)
    return np.where(region[:, None] == region[:, :, None], 0.0, -100.0).astype(np.float32)


class WindowAttention(nn.Module):
    """Attention inside windows of w x w tokens, with a learned bias for each relative position."""

    width: int
    heads: int
    window: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, mask: np.ndarray | None) -> jax.Array:
        """x [B * windows, w^2, width], mask [windows, w^2, w^2] or None."""
        table = self.param(
            'relative_position_bias_table',
            nn.initializers.truncated_normal(0.02),
            ((2 * self.window - 1) ** 2, self.heads),
        )
        bias = table[relative_position_index(self.window)].transpose(2, 0, 1)[None]  # [1, heads, w^2, w^2]
        if mask is not None:
            repeated = jnp.tile(jnp.asarray(mask)[:, None], (x.shape[0] // len(mask), 1, 1, 1))
            bias = bias + repeated
        qkv = nn.Dense(3 * self.width, dtype=self.dtype, name='qkv')(x)
        q, k, v = jnp.moveaxis(qkv.reshape(*x.shape[:2], 3, self.heads, -1), 2, 0)
        out = attention(q, k, v, bias.astype(jnp.float32)).reshape(x.shape)
        return nn.Dense(self.width, dtype=self.dtype, name='proj')(out)


class MLP(nn.Module):
    width: int
    ratio: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.gelu(nn.Dense(self.ratio * self.width, dtype=self.dtype, name='fc1')(x), approximate=False)
        return nn.Dense(self.width, dtype=self.dtype, name='fc2')(x)


class Block(nn.Module):
    """Window attention (shifted in odd blocks unless one window is all) and MLP, pre-norm, residual."""

    spec: SwinSpec
    stage: int
    shifted: bool
    dtype: Dtype = jnp.float32
    drop_path: float = 0.0  # chance that a branch counts nothing (Huang et al. 2016), for each sample

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, S, S, C]."""
        s = self.spec
        b, size, _, c = x.shape
        window = min(s.window, size)
        shift = window // 2 if self.shifted and size > window else 0
        h = nn.LayerNorm(s.norm_eps, dtype=self.dtype, use_fast_variance=False, name='norm1')(x)
        h = jnp.roll(h, (-shift, -shift), (1, 2)) if shift else h
        n = size // window
        h = h.reshape(b, n, window, n, window, c).transpose(0, 1, 3, 2, 4, 5).reshape(-1, window * window, c)
        attended = WindowAttention(c, s.heads[self.stage], window, self.dtype, name='attn')
        h = attended(h, shift_mask(size, window, shift) if shift else None)
        h = h.reshape(b, n, n, window, window, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, size, size, c)
        x = x + self.kept(jnp.roll(h, (shift, shift), (1, 2)) if shift else h)
        h = nn.LayerNorm(s.norm_eps, dtype=self.dtype, use_fast_variance=False, name='norm2')(x)
        return end_of_block(x + self.kept(MLP(c, s.mlp_ratio, self.dtype, name='mlp')(h)))

    def kept(self, branch: jax.Array) -> jax.Array:
        """A residual branch, or zeros; what is kept is larger by what is not."""
        return nn.Dropout(self.drop_path, broadcast_dims=(1, 2, 3), deterministic=False)(branch)


class PatchMerging(nn.Module):
    """Four neighbours side by side; (row, column) in order: (even, even), (odd, even), (even, odd), (odd, odd)."""

    spec: SwinSpec
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        c = x.shape[-1]
        parts = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        x = jnp.concatenate(parts, axis=-1)
        x = nn.LayerNorm(self.spec.norm_eps, dtype=self.dtype, use_fast_variance=False, name='norm')(x)
        return nn.Dense(2 * c, use_bias=False, dtype=self.dtype, name='reduction')(x)


class SwinStage(nn.Module):
    """Blocks of one resolution; returns (what the next stage sees, output before merging)."""

    spec: SwinSpec
    stage: int
    dtype: Dtype = jnp.float32
    drop_path: float = 0.0  # of the network's last block; 0 at the first, and even steps between

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        before, blocks = sum(self.spec.depths[: self.stage]), sum(self.spec.depths)
        for j in range(self.spec.depths[self.stage]):
            rate = self.drop_path * (before + j) / max(blocks - 1, 1)
            x = Block(self.spec, self.stage, j % 2 == 1, self.dtype, rate, name=f'blocks_{j}')(x)
        if self.stage == len(self.spec.depths) - 1:
            return x, x
        return PatchMerging(self.spec, self.dtype, name='downsample')(x), x


class PatchEmbed(nn.Module):
    spec: SwinSpec
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        s = self.spec
        patch = (s.patch, s.patch)
        x = nn.Conv(s.width, patch, strides=patch, padding='VALID', dtype=self.dtype, name='proj')(images)
        return nn.LayerNorm(s.norm_eps, dtype=self.dtype, use_fast_variance=False, name='norm')(x)


class Swin(nn.Module):
    """[B, S, S, 3] ImageNet-normalised -> tokens [B, 1 + n, C], the average first."""

    spec: SwinSpec
    dtype: Dtype = jnp.float32
    drop_path: float = 0.0

    def setup(self):
        s = self.spec
        self.patch_embed = PatchEmbed(s, self.dtype)
        self.layers = [SwinStage(s, i, self.dtype, self.drop_path) for i in range(len(s.depths))]
        self.norm = nn.LayerNorm(s.norm_eps, dtype=self.dtype, use_fast_variance=False)

    def __call__(self, images: jax.Array) -> jax.Array:
        x = self.patch_embed(images.astype(self.dtype))
        for layer in self.layers:
            x, _ = layer(x)
        x = self.norm(x)
        tokens = x.reshape(x.shape[0], -1, x.shape[-1])
        return jnp.concatenate([tokens.mean(axis=1, keepdims=True), tokens], axis=1)

    def stages(self, images: jax.Array, count: int) -> tuple[jax.Array, ...]:
        """The first `count` stages' feature maps [B, S_i, S_i, C_i], before merging."""
        x, outputs = self.patch_embed(images.astype(self.dtype)), []
        for layer in self.layers[:count]:
            x, before = layer(x)
            outputs.append(before)
        return tuple(outputs)
