"""KL autoencoder (AutoencoderKL of diffusers 0.25; Rombach et al. 2022).

Two things that the original has not: a space-to-depth in front, and a decoder that sees the low-quality picture.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from addsr_jax.networks.layers import GroupNorm, ResnetBlock, Upsample, conv, end_of_block, norm
from addsr_jax.ops.attention import attention
from addsr_jax.specs import AutoencoderSpec

Dtype = Any


def space_to_depth(x: jax.Array, patch: int) -> jax.Array:
    """[B, H, W, C] -> [B, H / p, W / p, p p C]."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // patch, patch, w // patch, patch, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h // patch, w // patch, patch * patch * c)


def depth_to_space(x: jax.Array, patch: int) -> jax.Array:
    """The inverse of `space_to_depth`."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, patch, patch, c // patch**2).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h * patch, w * patch, c // patch**2)


class AsymmetricDownsample(nn.Module):
    """Zeros to the right and below, then a convolution of stride 2 without padding."""

    features: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Conv(self.features, (3, 3), strides=2, padding=((0, 1), (0, 1)), dtype=self.dtype, name='conv')(x)


class SingleHeadAttention(nn.Module):
    """Self-attention of the middle block: one head of full width, q, k, v and output with bias, residual."""

    spec: AutoencoderSpec
    dtype: Dtype = jnp.float32
    kernel: str = 'chunked'

    def setup(self):
        width = self.spec.block_out_channels[-1]
        self.group_norm = GroupNorm(self.spec.norm_groups, self.spec.norm_eps, self.dtype)
        self.to_q, self.to_k, self.to_v, self.to_out_0 = (nn.Dense(width, dtype=self.dtype) for _ in range(4))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.added(x, attention(*self.projected(x), kernel=self.kernel))

    def projected(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """q, k and v, [B, h w, 1, C] each."""
        tokens = self.group_norm(x).reshape(x.shape[0], -1, x.shape[-1])
        return self.to_q(tokens)[:, :, None], self.to_k(tokens)[:, :, None], self.to_v(tokens)[:, :, None]

    def added(self, x: jax.Array, attended: jax.Array) -> jax.Array:
        """x [B, h, w, C] and what its tokens see in each other, [B, h w, 1, C]."""
        return end_of_block(x + self.to_out_0(attended[:, :, 0]).reshape(x.shape))


class Level(nn.Module):
    """Residual blocks of one level, then a change of size or none."""

    spec: AutoencoderSpec
    features: int
    blocks: int
    resample: str  # 'down', 'up' or 'none'
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        s = self.spec
        for i in range(self.blocks):
            x = ResnetBlock(self.features, s.norm_groups, s.norm_eps, self.dtype, name=f'resnets_{i}')(x)
        if self.resample == 'down':
            x = AsymmetricDownsample(self.features, self.dtype, name='downsamplers_0')(x)
        if self.resample == 'up':
            x = Upsample(self.features, self.dtype, name='upsamplers_0')(x)
        return x


class Middle(nn.Module):
    spec: AutoencoderSpec
    dtype: Dtype = jnp.float32
    kernel: str = 'chunked'

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        s, features = self.spec, self.spec.block_out_channels[-1]
        x = ResnetBlock(features, s.norm_groups, s.norm_eps, self.dtype, name='resnets_0')(x)
        if s.mid_attention:
            x = SingleHeadAttention(s, self.dtype, self.kernel, name='attentions_0')(x)
        return ResnetBlock(features, s.norm_groups, s.norm_eps, self.dtype, name='resnets_1')(x)


class Encoder(nn.Module):
    spec: AutoencoderSpec
    dtype: Dtype = jnp.float32
    kernel: str = 'chunked'

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, h, w, 2 latent channels]."""
        s, last = self.spec, len(self.spec.block_out_channels) - 1
        x = conv(s.block_out_channels[0], 3, self.dtype, 'conv_in')(x)
        for i, features in enumerate(s.block_out_channels):
            resample = 'down' if i < last else 'none'
            x = Level(s, features, s.layers_per_block, resample, self.dtype, name=f'down_blocks_{i}')(x)
        x = Middle(s, self.dtype, self.kernel, name='mid_block')(x)
        x = nn.silu(norm(s.norm_groups, s.norm_eps, self.dtype, 'conv_norm_out')(x))
        return conv(2 * s.latent_channels, 3, self.dtype, 'conv_out')(x)


class Decoder(nn.Module):
    spec: AutoencoderSpec
    dtype: Dtype = jnp.float32
    kernel: str = 'chunked'

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        """[B, h, w, latent channels] -> [B, H, W, C]."""
        s, last = self.spec, len(self.spec.block_out_channels) - 1
        x = conv(s.block_out_channels[-1], 3, self.dtype, 'conv_in')(z)
        x = Middle(s, self.dtype, self.kernel, name='mid_block')(x)
        for i, features in enumerate(reversed(s.block_out_channels)):
            resample = 'up' if i < last else 'none'
            x = Level(s, features, s.layers_per_block + 1, resample, self.dtype, name=f'up_blocks_{i}')(x)
        x = nn.silu(norm(s.norm_groups, s.norm_eps, self.dtype, 'conv_norm_out')(x))
        return conv(s.image_channels * s.patch**2, 3, self.dtype, 'conv_out')(x)


class GuidedDecoder(nn.Module):
    """What the low-quality picture lacks, seen from it and from the latents, nearly all at the latents' size.

    Each doubling is a sub-pixel shuffle (Shi et al. 2016) with half the channels behind it, and the last convolution
    runs over pixels, so that what one shuffle lays out in fours has no pattern of four: less time and memory than the
    mirror of the encoder takes. Untrained it adds nothing to the picture.
    """

    spec: AutoencoderSpec
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, z: jax.Array, picture: jax.Array) -> jax.Array:
        """[B, h, w, latent channels], [B, H, W, C] -> [B, H, W, C]."""
        s, features = self.spec, self.spec.block_out_channels[-1]
        seen = space_to_depth(picture.astype(self.dtype), s.factor)
        x = conv(features, 3, self.dtype, 'conv_in')(jnp.concatenate([z, seen], axis=-1))
        for i in range(s.guided_blocks):
            x = ResnetBlock(features, s.norm_groups, s.norm_eps, self.dtype, name=f'resnets_{i}')(x)
        x = nn.silu(norm(s.norm_groups, s.norm_eps, self.dtype, 'conv_norm_out')(x))
        for i, times in enumerate(enlargements(s)):
            features = max(features // 2, 1)
            x = nn.silu(depth_to_space(conv(features * times**2, 3, self.dtype, f'upsamplers_{i}')(x), times))
        return picture + conv(s.image_channels, 3, self.dtype, 'conv_out', zero=True)(x)


def enlargements(spec: AutoencoderSpec) -> list[int]:
    """Factors from latents to pixels, one after the other, of a guided decoder."""
    return [2] * (len(spec.block_out_channels) - 1) + [spec.patch] * (spec.patch > 1)


def posterior(moments: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation, each [B, h, w, C], of what `Autoencoder.moments` says."""
    mean, log_variance = jnp.split(moments, 2, axis=-1)
    return mean, jnp.exp(0.5 * jnp.clip(log_variance, -30, 20))


class Autoencoder(nn.Module):
    """Images in [-1, 1] to the posterior of their latents, and latents (not yet scaled) back to images."""

    spec: AutoencoderSpec
    dtype: Dtype = jnp.float32
    kernel: str = 'chunked'

    def setup(self):
        channels = self.spec.latent_channels
        self.encoder = Encoder(self.spec, self.dtype, self.kernel)
        guided = self.spec.guided_blocks
        self.decoder: Any = (GuidedDecoder if guided else partial(Decoder, kernel=self.kernel))(self.spec, self.dtype)
        self.quant_conv = nn.Conv(2 * channels, (1, 1), dtype=self.dtype)
        self.post_quant_conv = nn.Conv(channels, (1, 1), dtype=self.dtype)

    def moments(self, images: jax.Array) -> jax.Array:
        """[B, H, W, 3] -> [B, h, w, 2 C]: mean and log variance, float32."""
        x = space_to_depth(images.astype(self.dtype), self.spec.patch)
        return self.quant_conv(self.encoder(x)).astype(jnp.float32)

    def encode(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and standard deviation of the posterior, each [B, h, w, C]."""
        return posterior(self.moments(images))

    def decode(self, latents: jax.Array, picture: jax.Array | None = None) -> jax.Array:
        """[B, h, w, C] -> [B, H, W, 3], not clipped; a guided decoder sees the low-quality `picture` [B, H, W, 3]."""
        z = self.post_quant_conv(latents.astype(self.dtype))
        if not self.spec.guided_blocks:
            return depth_to_space(self.decoder(z), self.spec.patch)
        if picture is None:
            raise ValueError('a guided decoder needs the low-quality picture')
        return self.decoder(z, picture)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Reconstruction of the posterior's mean; a guided decoder sees `images` themselves."""
        return self.decode(self.encode(images)[0], images)
