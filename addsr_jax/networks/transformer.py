"""Transformer2D of SD-2: self-attention, cross-attention and a gated feed-forward on the pixels of a feature map."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from addsr_jax.networks.layers import GroupNorm, end_of_block
from addsr_jax.ops.attention import attention
from addsr_jax.specs import UNetSpec

Dtype = Any


class Attention(nn.Module):
    """Multi-head attention without bias in q, k, v (Attention of diffusers)."""

    width: int
    heads: int
    kernel: str
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array | None = None) -> jax.Array:
        """x [B, T, width], context [B, S, K] or None for self-attention -> [B, T, width]."""
        context = x if context is None else context

        def project(name: str, source: jax.Array) -> jax.Array:
            y = nn.Dense(self.width, use_bias=False, dtype=self.dtype, name=name)(source)
            return y.reshape(*y.shape[:2], self.heads, -1)

        q, k, v = project('to_q', x), project('to_k', context), project('to_v', context)
        out = attention(q, k, v, kernel=self.kernel)
        out = out.reshape(*x.shape[:2], self.width)
        return nn.Dense(self.width, dtype=self.dtype, name='to_out_0')(out)


class GEGLU(nn.Module):
    """a * gelu(b) with (a, b) = halves of one projection (Shazeer 2020); the exact, erf, GELU."""

    width: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        value, gate = jnp.split(nn.Dense(2 * self.width, dtype=self.dtype, name='proj')(x), 2, axis=-1)
        return value * nn.gelu(gate, approximate=False)


class FeedForward(nn.Module):
    width: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = GEGLU(4 * self.width, self.dtype, name='net_0')(x)
        return nn.Dense(self.width, dtype=self.dtype, name='net_2')(x)


class TransformerBlock(nn.Module):
    """Pre-norm: self-attention, cross-attention to `context`, feed-forward, each residual."""

    width: int
    heads: int
    epsilon: float
    kernel: str
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        def norm(name: str) -> nn.LayerNorm:
            return nn.LayerNorm(self.epsilon, dtype=self.dtype, use_fast_variance=False, name=name)

        def attended(name: str) -> Attention:
            return Attention(self.width, self.heads, self.kernel, self.dtype, name=name)

        x = x + attended('attn1')(norm('norm1')(x))
        x = x + attended('attn2')(norm('norm2')(x), context)
        return x + FeedForward(self.width, self.dtype, name='ff')(norm('norm3')(x))


class Transformer2D(nn.Module):
    """One transformer block on the tokens of a feature map, with its own outer residual."""

    spec: UNetSpec
    heads: int
    kernel: str
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        """x [B, H, W, C], context [B, S, K] -> [B, H, W, C]."""
        b, h, w, c = x.shape
        s = self.spec
        tokens = GroupNorm(s.norm_groups, s.transformer_norm_eps, self.dtype, name='norm')(x)
        tokens = nn.Dense(c, dtype=self.dtype, name='proj_in')(tokens.reshape(b, h * w, c))
        block = TransformerBlock(c, self.heads, s.layer_norm_eps, self.kernel, self.dtype, name='transformer_blocks_0')
        tokens = nn.Dense(c, dtype=self.dtype, name='proj_out')(block(tokens, context.astype(self.dtype)))
        return end_of_block(x + tokens.reshape(b, h, w, c))
