"""The denoising UNet of SD-2 with SeeSR's image attentions (reference: unet_2d_condition.py, unet_2d_blocks.py).

Where a level has attention: residual block, transformer on the text, transformer on the prompt extractor's tokens.
The skip that is pushed, and everything that ControlNet adds to, is the value after the image transformer.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from addsr_jax.networks.layers import Downsample, GroupNorm, ResnetBlock, TimeEmbedding, Upsample, conv, sinusoid
from addsr_jax.networks.transformer import Transformer2D
from addsr_jax.specs import UNetSpec

Dtype = Any


class Block(nn.Module):
    """What the blocks share: residual blocks, and transformers on text and image tokens."""

    spec: UNetSpec
    dtype: Dtype = jnp.float32
    kernel: str = 'chunked'

    def resnet(self, features: int, index: int) -> ResnetBlock:
        s = self.spec
        return ResnetBlock(features, s.norm_groups, s.norm_eps, self.dtype, name=f'resnets_{index}')

    def attend(self, x: jax.Array, heads: int, index: int, text: jax.Array, image: jax.Array | None) -> jax.Array:
        x = Transformer2D(self.spec, heads, self.kernel, self.dtype, name=f'attentions_{index}')(x, text)
        if self.spec.image_dim is None:
            return x
        if image is None:
            raise ValueError('this UNet has image attentions: image_encoder_hidden_states is missing')
        return Transformer2D(self.spec, heads, self.kernel, self.dtype, name=f'image_attentions_{index}')(x, image)


class DownBlock(Block):
    """One level of the down path; returns its output and the skips, the last one down-sampled."""

    level: int = 0

    @nn.compact
    def __call__(self, x, time, text, image):
        s, skips = self.spec, []
        features = s.block_out_channels[self.level]
        for i in range(s.layers_per_block):
            x = self.resnet(features, i)(x, time)
            if s.attention[self.level]:
                x = self.attend(x, s.heads[self.level], i, text, image)
            skips.append(x)
        before = x
        if self.level < len(s.block_out_channels) - 1:
            x = Downsample(features, self.dtype, name='downsamplers_0')(x)
            skips.append(x)
        return x, skips, before


class MidBlock(Block):
    """Residual block, both transformers, residual block."""

    @nn.compact
    def __call__(self, x, time, text, image):
        features = self.spec.block_out_channels[-1]
        x = self.resnet(features, 0)(x, time)
        x = self.attend(x, self.spec.heads[-1], 0, text, image)
        return self.resnet(features, 1)(x, time)


class UpBlock(Block):
    """One level of the up path; takes its skips off the end of the list."""

    level: int = 0  # of the down path that it mirrors

    @nn.compact
    def __call__(self, x, skips: list, time, text, image):
        s = self.spec
        features = s.block_out_channels[self.level]
        for i in range(s.layers_per_block + 1):
            x = jnp.concatenate([x, skips.pop()], axis=-1)
            x = self.resnet(features, i)(x, time)
            if s.attention[self.level]:
                x = self.attend(x, s.heads[self.level], i, text, image)
        if self.level > 0:
            size = skips[-1].shape[1:3]  # where the latent is odd, the next skip decides
            x = Upsample(features, self.dtype, name='upsamplers_0')(x, size)
        return x


def down_path(
    spec: UNetSpec,
    dtype: Dtype,
    latents: jax.Array,
    timesteps: jax.Array,
    text: jax.Array,
    image: jax.Array | None,
    kernel: str,
    added: jax.Array | None = None,
):
    """conv_in (+ `added`), time embedding and down levels, as submodules of the compact method that calls this.

    Returns (x, time embedding [B, 4 C0], skips in order, outputs of each level before its down-sampling).
    """
    width = spec.block_out_channels[0]
    time = TimeEmbedding(4 * width, dtype, name='time_embedding')(sinusoid(timesteps, width).astype(dtype))
    x = conv(width, 3, dtype, 'conv_in')(latents.astype(dtype))
    if added is not None:
        x = x + added
    skips, levels = [x], []
    for level in range(len(spec.block_out_channels)):
        x, more, before = DownBlock(spec, dtype, kernel, level, name=f'down_blocks_{level}')(x, time, text, image)
        skips += more
        levels.append(before)
    return x, time, skips, levels


class UNet(nn.Module):
    """The answer to z_t: noise or velocity, as the schedule says."""

    spec: UNetSpec
    dtype: Dtype = jnp.float32
    kernel: str = 'chunked'

    @nn.compact
    def __call__(
        self,
        latents: jax.Array,
        timesteps: jax.Array,
        encoder_hidden_states: jax.Array,
        image_encoder_hidden_states: jax.Array | None,
        down_residuals: tuple[jax.Array, ...] | None = None,
        mid_residual: jax.Array | None = None,
    ):
        """latents [B, h, w, 4], timesteps [B], text [B, 77, T], image tokens [B, 1 + n, I] -> [B, h, w, 4].

        The residuals are ControlNet's: one per skip, and one for the middle.
        """
        s, dtype = self.spec, self.dtype
        text = encoder_hidden_states.astype(dtype)
        image = None if image_encoder_hidden_states is None else image_encoder_hidden_states.astype(dtype)
        x, time, skips, _ = down_path(s, dtype, latents, timesteps, text, image, self.kernel)
        x = MidBlock(s, dtype, self.kernel, name='mid_block')(x, time, text, image)
        if down_residuals is not None:
            skips = [skip + residual for skip, residual in zip(skips, down_residuals, strict=True)]
        if mid_residual is not None:
            x = x + mid_residual
        for i, level in enumerate(reversed(range(len(s.block_out_channels)))):
            x = UpBlock(s, dtype, self.kernel, level, name=f'up_blocks_{i}')(x, skips, time, text, image)
        x = nn.silu(GroupNorm(s.norm_groups, s.norm_eps, dtype, name='conv_norm_out')(x))
        return conv(s.out_channels, 3, dtype, 'conv_out')(x)


class DownPath(nn.Module):
    """The UNet's way down alone, with the UNet's parameters: what a discriminator looks through."""

    spec: UNetSpec
    dtype: Dtype = jnp.float32
    kernel: str = 'chunked'

    @nn.compact
    def __call__(
        self, latents: jax.Array, timesteps: jax.Array, text: jax.Array, image: jax.Array
    ) -> tuple[jax.Array, ...]:
        """Features of each level before its down-sampling: [B, h / 2^i, w / 2^i, C_i]."""
        text, image = text.astype(self.dtype), image.astype(self.dtype)
        return tuple(down_path(self.spec, self.dtype, latents, timesteps, text, image, self.kernel)[3])
