"""A small decoder distilled from the autoencoder's: TAESD (madebyollin/taesd, taesd.py; DecoderTiny of diffusers).

At Stable Diffusion 2 size it is an eighteenth of the work of the decoder that it stands for (docs/performance.md).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from addsr_jax.specs import TinyDecoderSpec

LARGEST = 3.0  # latents come near it and never beyond


class Block(nn.Module):
    """Three convolutions and the identity: [B, h, w, C] -> the same shape."""

    channels: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = x
        for i in (0, 2, 4):  # their places in the original's list, with rectifiers in between
            y = nn.Conv(self.channels, (3, 3), dtype=self.dtype, name=f'conv_{i}')(y)
            y = nn.relu(y) if i < 4 else y
        return nn.relu(x + y)


class TinyDecoder(nn.Module):
    """Scaled latents [B, h, w, C] -> pictures [B, H, W, 3], in [-1, 1] or a little beyond. No norms, no attention."""

    spec: TinyDecoderSpec
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        width, last = self.spec.channels, len(self.spec.blocks) - 1
        x = (LARGEST * jnp.tanh(z.astype(jnp.float32) / LARGEST)).astype(self.dtype)
        x = nn.relu(nn.Conv(width, (3, 3), dtype=self.dtype, name='layers_0')(x))
        place = 2  # in the original's list, where rectifiers and enlargements have places too
        for level, count in enumerate(self.spec.blocks):
            for i in range(count):
                x = Block(width, self.dtype, name=f'layers_{place + i}')(x)
            place += count
            if level < last:
                x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
                x = nn.Conv(width, (3, 3), use_bias=False, dtype=self.dtype, name=f'layers_{place + 1}')(x)
                place += 2
        return 2 * nn.Conv(3, (3, 3), dtype=self.dtype, name=f'layers_{place}')(x) - 1
