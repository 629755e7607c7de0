"""Sizes of networks whose files have no config.json beside them, from the shapes of their tensors.

What no shape tells is what the whole family has: groups of 32 channels, and heads of 64 numbers (narrower networks: of
8).
"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from addsr_jax.errors import UserError
from addsr_jax.sizes import SD2
from addsr_jax.specs import AutoencoderSpec, ControlNetSpec, TextEncoderSpec, UNetSpec
from addsr_jax.weights.stored import Stored

Tensors = Mapping[str, Stored]


class _Shapes:
    """Shapes of the tensors of a file that should hold one kind of network."""

    def __init__(self, tensors: Tensors, source: Path, what: str):
        self.tensors, self.source, self.what = tensors, source, what

    def of(self, name: str) -> tuple[int, ...]:
        if name not in self.tensors:
            raise UserError(f'{self.source} holds no {self.what}: it has no {name}')
        return self.tensors[name].shape

    def axis(self, name: str, axis: int) -> int:
        shape = self.of(name)
        if axis >= len(shape):
            raise UserError(f'{self.source} holds no {self.what}: {name} is {shape}')
        return shape[axis]

    def count(self, pattern: str) -> int:
        """One more than the largest number in the pattern's group."""
        return 1 + max((int(m[1]) for name in self.tensors if (m := re.match(pattern, name))), default=-1)

    def has(self, pattern: str) -> bool:
        return any(re.match(pattern, name) for name in self.tensors)


def heads_of(width: int) -> int:
    """How many heads of attention a network of this width has."""
    return max(width // (64 if width % 64 == 0 else 8), 1)


def unet(tensors: Tensors, source: Path, what: str = 'UNet') -> UNetSpec:
    """Of a UNet, or of a ControlNet, which copies its down path."""
    shapes = _Shapes(tensors, source, what)
    levels = range(shapes.count(r'down_blocks\.(\d{1,4})\.'))
    if not levels:
        raise UserError(f'{source} holds no {what}: it has no down_blocks')
    channels = tuple(shapes.axis(f'down_blocks.{i}.resnets.0.conv1.weight', 0) for i in levels)
    block = 'mid_block.{}.0.transformer_blocks.0.attn2.to_k.weight'
    image = block.format('image_attentions')
    out = 'conv_out.weight' if 'conv_out.weight' in tensors else 'conv_in.weight'
    return dataclasses.replace(
        SD2.unet,
        in_channels=shapes.axis('conv_in.weight', 1),
        out_channels=shapes.axis(out, 0 if out.startswith('conv_out') else 1),
        block_out_channels=channels,
        attention=tuple(shapes.has(rf'down_blocks\.{i}\.attentions\.') for i in levels),
        layers_per_block=shapes.count(r'down_blocks\.0\.resnets\.(\d{1,4})\.'),
        heads=tuple(heads_of(width) for width in channels),
        text_dim=shapes.axis(block.format('attentions'), 1),
        image_dim=shapes.axis(image, 1) if image in tensors else None,
    )


def controlnet(tensors: Tensors, source: Path) -> ControlNetSpec:
    shapes = _Shapes(tensors, source, 'ControlNet')
    base = unet(tensors, source, 'ControlNet')
    encoder = 'controlnet_cond_embedding'
    steps = range(1, shapes.count(rf'{encoder}\.blocks\.(\d{{1,4}})\.'), 2)  # every second one halves
    return ControlNetSpec(
        unet=dataclasses.replace(base, out_channels=base.in_channels),
        condition_channels=shapes.axis(f'{encoder}.conv_in.weight', 1),
        condition_embedding_channels=(
            shapes.axis(f'{encoder}.conv_in.weight', 0),
            *(shapes.axis(f'{encoder}.blocks.{i}.weight', 0) for i in steps),
        ),
    )


def autoencoder(tensors: Tensors, source: Path) -> AutoencoderSpec:
    shapes = _Shapes(tensors, source, 'autoencoder')
    levels = range(shapes.count(r'encoder\.down_blocks\.(\d{1,4})\.'))
    return dataclasses.replace(
        SD2.autoencoder,
        image_channels=shapes.axis('encoder.conv_in.weight', 1),
        latent_channels=shapes.axis('decoder.conv_in.weight', 1),
        block_out_channels=tuple(shapes.axis(f'encoder.down_blocks.{i}.resnets.0.conv1.weight', 0) for i in levels),
        layers_per_block=shapes.count(r'encoder\.down_blocks\.0\.resnets\.(\d{1,4})\.'),
    )


def text_encoder(tensors: Tensors, source: Path) -> TextEncoderSpec:
    shapes = _Shapes(tensors, source, 'text encoder of Stable Diffusion 2')
    words = 'text_model.embeddings.token_embedding.weight'
    width = shapes.axis(words, 1)
    return dataclasses.replace(
        SD2.text_encoder,
        vocab_size=shapes.axis(words, 0),
        width=width,
        mlp_width=shapes.axis('text_model.encoder.layers.0.mlp.fc1.weight', 0),
        layers=shapes.count(r'text_model\.encoder\.layers\.(\d{1,4})\.'),
        heads=heads_of(width),
        positions=shapes.axis('text_model.embeddings.position_embedding.weight', 0),
    )
