"""Sizes of the networks that are published as one file each, from names and shapes: RAM, DINO and DINOv2, TAESD."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from functools import wraps
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from addsr_jax.errors import UserError, printable
from addsr_jax.sizes import SD2
from addsr_jax.specs import PromptExtractorSpec, TinyDecoderSpec, ViTSpec
from addsr_jax.weights.shapes import heads_of
from addsr_jax.weights.stored import Stored

Kind = TypeVar('Kind')
Tensors = Mapping[str, Stored]


def _sizes_of(what: str) -> Callable[[Callable[..., Kind]], Callable[..., Kind]]:
    """For functions that take sizes from shapes and names: whatever breaks at odd ones is a UserError of their source.

    Their last argument is that source.
    """

    def guarding(function: Callable[..., Kind]) -> Callable[..., Kind]:
        @wraps(function)
        def guarded(*arguments: Any) -> Kind:
            try:
                return function(*arguments)
            except (LookupError, ArithmeticError, ValueError) as error:
                reason = printable(str(error)) or type(error).__name__
                raise UserError(f'{arguments[-1]} is no {what}: {reason} is missing or misshapen') from error

        return guarded

    return guarding


@_sizes_of('RAM with a Swin tower')
def prompt_extractor_spec(tensors: Tensors, buffers: Tensors, source: Path) -> PromptExtractorSpec:
    """RAM's sizes from the shapes of its tensors; `buffers` are all tensors of the file, computed ones too."""

    def shape(name: str) -> tuple[int, ...]:
        if name not in tensors:
            raise UserError(f'{source} is no RAM with a Swin tower: it has no {name}')
        return tensors[name].shape

    blocks = [
        re.fullmatch(r'visual_encoder\.layers\.(\d{1,4})\.blocks\.(\d{1,4})\.norm1\.weight', name) for name in tensors
    ]
    counts: dict[int, int] = {}
    for match in filter(None, blocks):
        counts[int(match[1])] = max(counts.get(int(match[1]), 0), int(match[2]) + 1)
    tables = [
        shape(f'visual_encoder.layers.{i}.blocks.0.attn.relative_position_bias_table') for i in range(len(counts))
    ]
    window = (math.isqrt(tables[0][0]) + 1) // 2 if tables else 0
    patch = shape('visual_encoder.patch_embed.proj.weight')[-1]
    layers = [re.match(r'tagging_head\.encoder\.layer\.(\d{1,4})\.', name) for name in tensors]
    width = shape('visual_encoder.patch_embed.proj.weight')[0]
    swin = dataclasses.replace(
        SD2.prompt_extractor.swin,
        image_size=_image_size(buffers, window, patch),
        patch=patch,
        width=width,
        depths=tuple(counts[i] for i in range(len(counts))),
        heads=tuple(table[1] for table in tables),
        window=window,
        mlp_ratio=shape('visual_encoder.layers.0.blocks.0.mlp.fc1.weight')[0] // width,
    )
    tagging = dataclasses.replace(
        SD2.prompt_extractor.tagging,
        classes=shape('label_embed')[0],
        width=shape('wordvec_proj.weight')[0],
        mlp_width=shape('tagging_head.encoder.layer.0.intermediate.dense.weight')[0],
        layers=1 + max(int(match[1]) for match in layers if match),
    )
    return dataclasses.replace(
        SD2.prompt_extractor, swin=swin, tagging=tagging, token_dim=shape('image_proj.weight')[0]
    )


def _image_size(buffers: Tensors, window: int, patch: int) -> int:
    """The mask of the first shifted block has one row a window; files without it are of the published size."""
    mask = buffers.get('visual_encoder.layers.0.blocks.1.attn_mask')
    return SD2.prompt_extractor.swin.image_size if mask is None else math.isqrt(mask.shape[0]) * window * patch


@_sizes_of('vision transformer')
def vit_spec(tensors: Tensors, published: ViTSpec, source: Path) -> ViTSpec:
    """A ViT's sizes from its shapes; heads of 64 numbers, as all published ones have (narrower networks: of 8)."""
    width, _, patch, _ = tensors['patch_embed.proj.weight'].shape
    grid = math.isqrt(tensors['pos_embed'].shape[1] - 1)
    fc1 = tensors['blocks.0.mlp.fc1.weight'].shape[0]
    numbers = [re.match(r'blocks\.(\d{1,4})\.', name) for name in tensors]
    depth = 1 + max(int(match[1]) for match in numbers if match)
    return dataclasses.replace(
        published,
        image_size=grid * patch,
        patch=patch,
        width=width,
        depth=depth,
        heads=heads_of(width),
        mlp_ratio=fc1 // width,
    )


@_sizes_of('decoder of TAESD')
def tiny_decoder_spec(tensors: Tensors, source: Path) -> TinyDecoderSpec:
    """A small decoder's sizes from its shapes and places: a convolution ends every level, and one begins the first."""

    def places(pattern: str) -> list[int]:
        found = [re.fullmatch(rf'layers\.(\d{{1,4}})\.{pattern}', name) for name in tensors]
        return sorted(int(match[1]) for match in found if match)

    blocks, ends = places(r'conv\.0\.weight'), places('weight')[1:]
    if not blocks or not ends or ends[-1] < max(blocks):
        raise UserError(
            f'{source} is no decoder of TAESD: give taesd_decoder.safetensors, or the folder of an AutoencoderTiny'
        )
    counts = tuple(sum(before < place < end for place in blocks) for before, end in pairwise([0, *ends]))
    return TinyDecoderSpec(channels=tensors['layers.0.weight'].shape[0], blocks=counts)
