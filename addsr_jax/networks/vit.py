"""Vision transformer with its hidden states: DINO (timm's vit_small_patch16_224) and DINOv2 (dinov2_vits14)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from addsr_jax.ops.attention import attention
from addsr_jax.ops.image import apply_matrices
from addsr_jax.ops.weights import bicubic_matrix, bilinear_matrix
from addsr_jax.specs import ViTSpec

Dtype = Any


class Attention(nn.Module):
    spec: ViTSpec
    dtype: Dtype = jnp.float32
    kernel: str = 'chunked'

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        s = self.spec
        qkv = nn.Dense(3 * s.width, dtype=self.dtype, name='qkv')(x)
        q, k, v = jnp.moveaxis(qkv.reshape(*x.shape[:2], 3, s.heads, -1), 2, 0)
        out = attention(q, k, v, kernel=self.kernel)
        return nn.Dense(s.width, dtype=self.dtype, name='proj')(out.reshape(x.shape))


class MLP(nn.Module):
    spec: ViTSpec
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        wide = nn.Dense(self.spec.mlp_ratio * self.spec.width, dtype=self.dtype, name='fc1')(x)
        return nn.Dense(self.spec.width, dtype=self.dtype, name='fc2')(nn.gelu(wide, approximate=False))


class LayerScale(nn.Module):
    """A learned gain per channel (Touvron et al. 2021)."""

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return x * self.param('gamma', nn.initializers.ones, (x.shape[-1],)).astype(self.dtype)


class Block(nn.Module):
    """Pre-norm attention and MLP; returns its output twice, as carry and as hidden state of the scan."""

    spec: ViTSpec
    dtype: Dtype = jnp.float32
    kernel: str = 'chunked'

    @nn.compact
    def __call__(self, x: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        def norm(name: str) -> nn.LayerNorm:
            return nn.LayerNorm(self.spec.norm_eps, dtype=self.dtype, use_fast_variance=False, name=name)

        def scaled(y: jax.Array, name: str) -> jax.Array:
            return LayerScale(self.dtype, name=name)(y) if self.spec.layer_scale else y

        x = x + scaled(Attention(self.spec, self.dtype, self.kernel, name='attn')(norm('norm1')(x)), 'ls1')
        x = x + scaled(MLP(self.spec, self.dtype, name='mlp')(norm('norm2')(x)), 'ls2')
        return x, x


class PatchEmbed(nn.Module):
    spec: ViTSpec
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        patch = (self.spec.patch, self.spec.patch)
        return nn.Conv(self.spec.width, patch, strides=patch, padding='VALID', dtype=self.dtype, name='proj')(images)


class ViT(nn.Module):
    """Images [B, H, W, 3], normalised as the network wants -> (hidden states, final tokens after the norm).

    Hidden states are a tuple of [B, 1 + N, C], class token first: after the position embedding, then after each block.
    H and W are cut to multiples of the patch.
    """

    spec: ViTSpec
    dtype: Dtype = jnp.float32
    kernel: str = 'chunked'

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[tuple[jax.Array, ...], jax.Array]:
        s = self.spec
        grid = images.shape[1] // s.patch, images.shape[2] // s.patch
        images = images[:, : grid[0] * s.patch, : grid[1] * s.patch].astype(self.dtype)
        x = PatchEmbed(s, self.dtype, name='patch_embed')(images)
        x = x.reshape(x.shape[0], -1, s.width)
        trained = s.image_size // s.patch
        init = nn.initializers.truncated_normal(0.02)
        first = self.param('cls_token', init, (1, 1, s.width))
        if s.mask_token:  # part of the published file, used in pretraining only
            self.param('mask_token', nn.initializers.zeros, (1, s.width))
        places = self.param('pos_embed', init, (1, 1 + trained**2, s.width))
        x = jnp.concatenate([jnp.broadcast_to(first, (x.shape[0], 1, s.width)).astype(x.dtype), x], axis=1)
        x = x + resize_positions(places, trained, grid, s.position_offset).astype(x.dtype)
        blocks = nn.scan(
            Block, variable_axes={'params': 0, 'intermediates': 0}, split_rngs={'params': True}, length=s.depth
        )
        last, states = blocks(s, self.dtype, self.kernel, name='blocks')(x, None)
        hidden = (x, *(states[i] for i in range(s.depth)))
        norm = nn.LayerNorm(s.norm_eps, dtype=self.dtype, use_fast_variance=False, name='norm')
        return hidden, norm(last)


def resize_positions(places: jax.Array, trained: int, grid: tuple[int, int], offset: float) -> jax.Array:
    """[1, 1 + trained^2, C] on another grid: bilinear (DINO), or bicubic by (grid + offset) / trained (DINOv2)."""
    if grid == (trained, trained):
        return places
    rows, columns = (
        bicubic_matrix(trained, n, (n + offset) / trained) if offset else bilinear_matrix(trained, n) for n in grid
    )
    table = apply_matrices(places[:, 1:].reshape(1, trained, trained, -1), rows, columns)
    return jnp.concatenate([places[:, :1], table.reshape(1, grid[0] * grid[1], -1)], axis=1)
