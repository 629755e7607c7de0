"""CLIP's text tower (Radford et al. 2021; CLIPTextModel of transformers), its equal layers scanned."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from addsr_jax.ops.attention import attention
from addsr_jax.specs import TextEncoderSpec

Dtype = Any


class SelfAttention(nn.Module):
    spec: TextEncoderSpec
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        s, length = self.spec, x.shape[1]

        def project(name: str) -> jax.Array:
            y = nn.Dense(s.width, dtype=self.dtype, name=name)(x)
            return y.reshape(*y.shape[:2], s.heads, -1)

        causal = jnp.tril(jnp.ones((length, length), bool))[None, None]
        out = attention(project('q_proj'), project('k_proj'), project('v_proj'), causal)
        return nn.Dense(s.width, dtype=self.dtype, name='out_proj')(out.reshape(x.shape))


class MLP(nn.Module):
    spec: TextEncoderSpec
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.gelu(nn.Dense(self.spec.mlp_width, dtype=self.dtype, name='fc1')(x), approximate=False)
        return nn.Dense(self.spec.width, dtype=self.dtype, name='fc2')(x)


class Layer(nn.Module):
    """Pre-norm attention and feed-forward; returns (carry, nothing) for the scan."""

    spec: TextEncoderSpec
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, _: None) -> tuple[jax.Array, None]:
        def norm(name: str) -> nn.LayerNorm:
            return nn.LayerNorm(self.spec.norm_eps, dtype=self.dtype, use_fast_variance=False, name=name)

        x = x + SelfAttention(self.spec, self.dtype, name='self_attn')(norm('layer_norm1')(x))
        return x + MLP(self.spec, self.dtype, name='mlp')(norm('layer_norm2')(x)), None


class Embeddings(nn.Module):
    spec: TextEncoderSpec
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        s = self.spec
        init = nn.initializers.normal(0.02)
        words = nn.Embed(s.vocab_size, s.width, embedding_init=init, dtype=self.dtype, name='token_embedding')
        places = nn.Embed(s.positions, s.width, embedding_init=init, dtype=self.dtype, name='position_embedding')
        return words(tokens) + places(jnp.arange(tokens.shape[1]))[None]


class Encoder(nn.Module):
    spec: TextEncoderSpec
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        layers = nn.scan(
            Layer, variable_axes={'params': 0, 'intermediates': 0}, split_rngs={'params': True}, length=self.spec.layers
        )
        return layers(self.spec, self.dtype, name='layers')(x, None)[0]


class TextModel(nn.Module):
    spec: TextEncoderSpec
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        x = Embeddings(self.spec, self.dtype, name='embeddings')(tokens)
        x = Encoder(self.spec, self.dtype, name='encoder')(x)
        return nn.LayerNorm(self.spec.norm_eps, dtype=self.dtype, use_fast_variance=False, name='final_layer_norm')(x)


class TextEncoder(nn.Module):
    """Token ids [B, L] int32 -> last hidden states [B, L, width], after the final norm; causal, no padding mask."""

    spec: TextEncoderSpec
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        return TextModel(self.spec, self.dtype, name='text_model')(tokens)
