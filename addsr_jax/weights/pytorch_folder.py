"""A bundle as the folders and files that diffusers, transformers and the originals' scripts open."""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from addsr_jax import places
from addsr_jax.errors import UserError
from addsr_jax.networks.swin import relative_position_index, shift_mask
from addsr_jax.specs import AutoencoderSpec, ModelSpec, SwinSpec
from addsr_jax.trees import Tree
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights import layout, plain_files, published, tensor_file, tokenizer_files, torch_writer
from addsr_jax.weights.bundle import Bundle
from addsr_jax.weights.sources import INDEX, STEMS


def to_pytorch(
    path: Path | str,
    output: Path,
    part: str,
    report: Callable[[str], None],
    *,
    dtype: str | None = None,
    shard: float | None = None,
) -> None:
    """Writes unet/, controlnet/ (not of part 'unet'), vae/, text_encoder/, tokenizer/, scheduler/, ram.pth, DAPE.pth.

    part: student, teacher, or unet, Stable Diffusion's own. dtype: of all tensors; None: as they are stored. shard:
    gigabytes of a file, of which a larger network has several with an index; None: one file for each network.
    """
    if output.exists():
        raise UserError(f'{output} exists: choose another --output, or remove it first')
    made = bundles.load(path, dtype)
    if part not in made.params:
        raise UserError(f'{path} holds no {part}: it has {", ".join(sorted(made.params))}')
    with bundles.writing(output) as unfinished:
        _write_denoiser(unfinished, made, part, shard)
        _write_rest(unfinished, made, shard)
        if part == 'student' and made.lora is not None:  # in the weights, and here once more as files of their own
            plain_files.copy(made.lora, bundles.LORA, unfinished / bundles.LORA)
        index = pipeline_index(made, part)
        if index is not None:
            _write_json(unfinished / INDEX, index)
        if 'autoencoder' in made.params and not _is_kl(made.spec.autoencoder):
            report(
                f'{output / "vae"}: without config.json, since diffusers has no such autoencoder: neither diffusers '
                'nor convert from_pytorch opens this model; keep the folder that it is made from'
            )
        for file in sorted(p for p in unfinished.rglob('*') if p.is_file()):
            report(f'{output / file.relative_to(unfinished)}  {file.stat().st_size / 1e6:.1f} MB')


def _write_denoiser(folder: Path, made: Bundle, part: str, shard: float | None) -> None:
    if part == 'unet':
        spec = dataclasses.replace(made.spec.unet, image_dim=None)
        _write_network(folder / 'unet', 'unet', made.params['unet'], published.unet_config(spec), shard)
        return
    denoiser = made.params[part]
    _write_network(folder / 'unet', 'unet', denoiser['unet'], published.unet_config(made.spec.unet), shard)
    config = published.controlnet_config(made.spec.controlnet)
    _write_network(folder / 'controlnet', 'controlnet', denoiser['controlnet'], config, shard)


def _write_rest(folder: Path, made: Bundle, shard: float | None) -> None:
    """What the originals' scripts take from the folder of Stable Diffusion, and RAM."""
    if 'autoencoder' in made.params:
        config = published.autoencoder_config(made.spec.autoencoder) if _is_kl(made.spec.autoencoder) else None
        _write_network(folder / 'vae', 'autoencoder', made.params['autoencoder'], config, shard)
    if 'text_encoder' in made.params:
        config = published.text_encoder_config(made.spec.text_encoder)
        _write_network(folder / 'text_encoder', 'text_encoder', made.params['text_encoder'], config, shard)
    _write_json(folder / 'scheduler' / published.SCHEDULER, published.schedule_config(made.spec.schedule))
    _write_json(folder / 'feature_extractor' / 'preprocessor_config.json', published.PREPROCESSOR)
    tokenizer_files.copy(made.tokenizer, folder / bundles.TOKENIZER)
    if 'prompt_extractor' in made.params:
        state = layout.to_state_dict('prompt_extractor', made.params['prompt_extractor'])
        torch_writer.write(folder / 'ram.pth', {'model': {**state, **computed(made.spec.prompt_extractor.swin)}})
    if 'tiny_decoder' in made.params:  # the original's list begins with the clamp of the latents
        state = layout.to_state_dict('tiny_decoder', made.params['tiny_decoder'])
        renamed = {name: re.sub(r'^layers\.(\d+)', lambda match: str(int(match[1]) + 1), name) for name in state}
        tensor_file.write(folder / 'taesd_decoder.safetensors', {renamed[name]: state[name] for name in state})
    if 'dape' in made.params:
        torch_writer.write(folder / 'DAPE.pth', layout.to_state_dict('dape', made.params['dape']))


def computed(spec: SwinSpec) -> dict[str, np.ndarray]:
    """Tables that RAM's files hold beside its weights, from which readers know how large its pictures are."""
    found, side = {}, spec.image_size // spec.patch
    for level, depth in enumerate(spec.depths):
        window = min(spec.window, side)
        for number in range(depth):
            block = f'visual_encoder.layers.{level}.blocks.{number}'
            found[f'{block}.attn.relative_position_index'] = relative_position_index(window)
            if number % 2 and side > window:  # these are shifted
                found[f'{block}.attn_mask'] = shift_mask(side, window, window // 2)
        side //= 2
    return found


def _is_kl(spec: AutoencoderSpec) -> bool:
    """Whether it is an AutoencoderKL of diffusers: nano's is none."""
    return spec.patch == 1 and spec.norm_groups > 0 and spec.mid_attention and not spec.guided_blocks


def pipeline_index(made: Bundle, part: str) -> dict[str, Any] | None:
    """model_index.json of the pipeline of diffusers that the parts are for; None where they are for none.

    Image attentions are in the originals' classes alone: their index names those, so that diffusers' own, which would
    pass over them, do not load what is not theirs.
    """
    spec: ModelSpec = made.spec
    if not _is_kl(spec.autoencoder) or not {'autoencoder', 'text_encoder'} <= set(made.params):
        return None
    plain = part == 'unet' or spec.unet.image_dim is None
    library = 'diffusers' if plain else 'models.unet_2d_condition'
    index = {
        '_class_name': 'StableDiffusionPipeline' if part == 'unet' else 'StableDiffusionControlNetPipeline',
        '_diffusers_version': published.DIFFUSERS_VERSION,
        'feature_extractor': ['transformers', 'CLIPImageProcessor'],
        'requires_safety_checker': False,
        'safety_checker': [None, None],
        'scheduler': ['diffusers', published.SAMPLER],
        'text_encoder': ['transformers', 'CLIPTextModel'],
        'tokenizer': ['transformers', 'CLIPTokenizer'],
        'unet': [library, 'UNet2DConditionModel'],
        'vae': ['diffusers', 'AutoencoderKL'],
    }
    if part != 'unet':
        index['controlnet'] = ['diffusers' if plain else 'models.controlnet', 'ControlNetModel']
    return index


def _write_network(folder: Path, kind: str, params: Tree, config: dict[str, Any] | None, shard: float | None) -> None:
    """Tensors as one .safetensors file, or as several with an index; and config.json."""
    state = layout.to_state_dict(kind, params)
    stem = STEMS[kind][0]
    pieces = shards(state, shard)
    if len(pieces) == 1:
        tensor_file.write(folder / f'{stem}.safetensors', state)
    else:
        names = [f'{stem}-{i:05d}-of-{len(pieces):05d}.safetensors' for i in range(1, len(pieces) + 1)]
        for name, piece in zip(names, pieces, strict=True):
            tensor_file.write(folder / name, {tensor: state[tensor] for tensor in piece})
        total = sum(value.nbytes for value in state.values())
        listed = {tensor: name for name, piece in zip(names, pieces, strict=True) for tensor in piece}
        index = {'metadata': {'total_size': total}, 'weight_map': listed}
        _write_json(folder / f'{stem}.safetensors.index.json', index)
    if config is not None:
        _write_json(folder / 'config.json', config)


def shards(state: Mapping[str, np.ndarray], gigabytes: float | None) -> list[list[str]]:
    """Names of tensors, in groups of at most that size (a larger tensor is a group of its own)."""
    most = float('inf') if gigabytes is None else gigabytes * 1e9
    groups: list[list[str]] = [[]]
    size = 0
    for name, value in state.items():
        if groups[-1] and size + value.nbytes > most:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += value.nbytes
    return groups


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    places.make_folder(path.parent)
    path.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
