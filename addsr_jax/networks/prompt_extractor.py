"""RAM as SeeSR's prompt extractor: Swin tokens for the UNet, and a tagging head for the text prompt.

Reference: ram/models/ram_lora.py. DAPE's low-rank adaptation is a separate small tree that `dape(spec).merge` adds to
the weights; the network itself knows nothing of it.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from addsr_jax.networks.lora import Adapters
from addsr_jax.networks.swin import Swin
from addsr_jax.ops.attention import attention, einsum
from addsr_jax.ops.image import resize
from addsr_jax.specs import PromptExtractorSpec, TaggingSpec

Dtype = Any

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)


def dape(spec: PromptExtractorSpec) -> Adapters:
    """Where DAPE adapts: q and v of every Swin block, query and key of the tagging head's cross-attention (loralib)."""
    joint = r'visual_encoder/.*/attn/qkv/kernel'
    tagging = r'tagging_head/.*/crossattention/self/(query|key)/kernel'
    return Adapters((joint, tagging), spec.lora_rank, spec.lora_scale, joint=(joint,))


def normalise(images: jax.Array) -> jax.Array:
    """[..., 3] in [0, 1] by ImageNet's mean and deviation."""
    return (images - IMAGENET_MEAN) / IMAGENET_STD


def preprocess(images: jax.Array, size: int, *, clip: bool = False, kind: str = 'bicubic') -> jax.Array:
    """[B, H, W, 3] in [0, 1] -> [B, size, size, 3]: interpolated without antialias, ImageNet-normalised.

    Bicubic overshoots at edges; `clip` takes that back.
    """
    seen = resize(images.astype(jnp.float32), (size, size), kind)
    return normalise(jnp.clip(seen, 0, 1) if clip else seen)


class CrossAttentionSelf(nn.Module):
    spec: TaggingSpec
    dtype: Dtype = jnp.float32
    dropout: float = 0.0  # of the attention's weights

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        def project(name: str, source: jax.Array) -> jax.Array:
            y = nn.Dense(self.spec.width, dtype=self.dtype, name=name)(source)
            return y.reshape(*y.shape[:2], self.spec.heads, -1)

        q, k, v = project('query', x), project('key', context), project('value', context)
        if not self.dropout:
            return attention(q, k, v).reshape(x.shape)
        weights = (x.shape[0], self.spec.heads, x.shape[1], context.shape[1])
        kept = jax.random.bernoulli(self.make_rng('dropout'), 1 - self.dropout, weights) / (1 - self.dropout)
        return einsum(q, k, v, kept=kept).reshape(x.shape)


class AddAndNorm(nn.Module):
    """LayerNorm(dense(x) + residual): BERT is post-norm."""

    spec: TaggingSpec
    dtype: Dtype = jnp.float32
    dropout: float = 0.0  # of what is added

    @nn.compact
    def __call__(self, x: jax.Array, residual: jax.Array) -> jax.Array:
        added = nn.Dense(self.spec.width, dtype=self.dtype, name='dense')(x)
        x = nn.Dropout(self.dropout, deterministic=False)(added) + residual
        return nn.LayerNorm(self.spec.norm_eps, dtype=self.dtype, use_fast_variance=False, name='LayerNorm')(x)


class CrossAttention(nn.Module):
    spec: TaggingSpec
    dtype: Dtype = jnp.float32
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        attended = CrossAttentionSelf(self.spec, self.dtype, self.dropout, name='self')(x, context)
        return AddAndNorm(self.spec, self.dtype, self.dropout, name='output')(attended, x)


class Intermediate(nn.Module):
    spec: TaggingSpec
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.gelu(nn.Dense(self.spec.mlp_width, dtype=self.dtype, name='dense')(x), approximate=False)


class TaggingLayer(nn.Module):
    """Cross-attention only: RAM deletes BERT's self-attention."""

    spec: TaggingSpec
    dtype: Dtype = jnp.float32
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        x = CrossAttention(self.spec, self.dtype, self.dropout, name='crossattention')(x, context)
        wide = Intermediate(self.spec, self.dtype, name='intermediate')(x)
        return AddAndNorm(self.spec, self.dtype, self.dropout, name='output')(wide, x)


class TaggingEncoder(nn.Module):
    spec: TaggingSpec
    dtype: Dtype = jnp.float32
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        for i in range(self.spec.layers):
            x = TaggingLayer(self.spec, self.dtype, self.dropout, name=f'layer_{i}')(x, context)
        return x


class TaggingHead(nn.Module):
    spec: TaggingSpec
    dtype: Dtype = jnp.float32
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        return TaggingEncoder(self.spec, self.dtype, self.dropout, name='encoder')(x, context)


class PromptExtractor(nn.Module):
    """Images [B, S, S, 3], ImageNet-normalised, to tokens [B, 1 + n, token_dim]; token 0 is their average.

    dropout: the chance of the Swin's last branch to count nothing, and of numbers of the tagging head; a network for
    training, whose `apply` takes the generator 'dropout'.
    """

    spec: PromptExtractorSpec
    dtype: Dtype = jnp.float32
    dropout: float = 0.0

    def setup(self):
        s = self.spec
        self.visual_encoder = Swin(s.swin, self.dtype, self.dropout)
        self.image_proj = nn.Dense(s.token_dim, dtype=self.dtype)
        self.label_embed = self.param('label_embed', nn.initializers.normal(0.02), (s.tagging.classes, s.token_dim))
        self.wordvec_proj = nn.Dense(s.tagging.width, dtype=self.dtype)
        self.tagging_head = TaggingHead(s.tagging, self.dtype, self.dropout)
        self.fc = nn.Dense(1, dtype=self.dtype)

    def __call__(self, images: jax.Array) -> jax.Array:
        return self.image_proj(self.visual_encoder(images))

    def stages(self, images: jax.Array, count: int) -> tuple[jax.Array, ...]:
        """Feature maps of the first `count` Swin stages."""
        return self.visual_encoder.stages(images, count)

    def tag(self, tokens: jax.Array) -> jax.Array:
        """Tokens [B, 1 + n, token_dim] -> logits [B, classes]."""
        queries = nn.relu(self.wordvec_proj(self.label_embed))
        queries = jnp.broadcast_to(queries[None], (tokens.shape[0], *queries.shape))
        return self.fc(self.tagging_head(queries, tokens))[..., 0]

    def tokens_and_logits(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        tokens = self(images)
        return tokens, self.tag(tokens)
