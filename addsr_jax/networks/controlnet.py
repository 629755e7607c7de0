"""ControlNet with image attentions (Zhang et al. 2023; reference: models/controlnet.py of AddSR).

The UNet's down path and middle, conditioned on an image; their zero-initialised 1x1 convolutions are added to the
UNet's skips.
"""

import itertools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from addsr_jax.networks.layers import conv
from addsr_jax.networks.unet import MidBlock, down_path
from addsr_jax.specs import ControlNetSpec

Dtype = Any


class ConditionEmbedding(nn.Module):
    """The condition image on the latent's grid: [B, H, W, 3] in [0, 1] -> [B, H / f, W / f, C0]."""

    spec: ControlNetSpec
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        channels = self.spec.condition_embedding_channels
        x = nn.silu(conv(channels[0], 3, self.dtype, 'conv_in')(image.astype(self.dtype)))
        for i, (here, there) in enumerate(itertools.pairwise(channels)):
            x = nn.silu(conv(here, 3, self.dtype, f'blocks_{2 * i}')(x))
            x = conv(there, 3, self.dtype, f'blocks_{2 * i + 1}', stride=2)(x)
            self.sow('intermediates', f'feature_map_{i}', x)
            x = nn.silu(x)
        return conv(self.spec.unet.block_out_channels[0], 3, self.dtype, 'conv_out', zero=True)(x)


class ControlNet(nn.Module):
    spec: ControlNetSpec
    dtype: Dtype = jnp.float32
    kernel: str = 'chunked'

    @nn.compact
    def __call__(
        self,
        latents: jax.Array,
        timesteps: jax.Array,
        encoder_hidden_states: jax.Array,
        image_encoder_hidden_states: jax.Array | None,
        condition: jax.Array,
        conditioning_scale: float | jax.Array = 1.0,
    ) -> tuple[tuple[jax.Array, ...], jax.Array]:
        """(residuals for each skip, residual for the middle), times `conditioning_scale`.

        A scale may be one number or an array of one number per residual, the middle last. The condition's
        embedding and feature maps are sown as intermediates `repre` and `feature_map_i`.
        """
        s, dtype = self.spec.unet, self.dtype
        text = encoder_hidden_states.astype(dtype)
        image = None if image_encoder_hidden_states is None else image_encoder_hidden_states.astype(dtype)
        embedded = ConditionEmbedding(self.spec, dtype, name='controlnet_cond_embedding')(condition)
        self.sow('intermediates', 'repre', embedded)
        x, time, skips, _ = down_path(s, dtype, latents, timesteps, text, image, self.kernel, added=embedded)
        x = MidBlock(s, dtype, self.kernel, name='mid_block')(x, time, text, image)
        scales = jnp.broadcast_to(jnp.asarray(conditioning_scale, dtype), (len(skips) + 1,))
        down = tuple(
            conv(skip.shape[-1], 1, dtype, f'controlnet_down_blocks_{i}', zero=True)(skip) * scales[i]
            for i, skip in enumerate(skips)
        )
        middle = conv(x.shape[-1], 1, dtype, 'controlnet_mid_block', zero=True)(x) * scales[-1]
        return down, middle
