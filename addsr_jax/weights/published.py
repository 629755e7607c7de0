"""What the originals' folders and files say of themselves: sizes from config.json or from shapes, and older names.

References: UNet2DConditionModel, ControlNetModel, AutoencoderKL (diffusers 0.25), CLIPTextModel (transformers),
ram/models/ram_lora.py (SeeSR), DINO and DINOv2 (facebookresearch). Sizes that no file states are those of the
published networks (addsr_jax/sizes.py).
"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from addsr_jax import json_file, options
from addsr_jax.errors import UserError, printable
from addsr_jax.sizes import SD2
from addsr_jax.specs import (
    AutoencoderSpec,
    ControlNetSpec,
    ScheduleSpec,
    TextEncoderSpec,
    UNetSpec,
)
from addsr_jax.weights.names import is_computed
from addsr_jax.weights.stored import Stored

Tensors = Mapping[str, Stored]
SCHEDULER = 'scheduler_config.json'
DIFFUSERS_VERSION = '0.25.0'  # the one that AddSR asks for
SAMPLER = 'DDPMScheduler'
# preprocessor_config.json of CLIP's pictures, which the originals' scripts open and do not use
PREPROCESSOR = {
    'crop_size': 224,
    'do_center_crop': True,
    'do_convert_rgb': True,
    'do_normalize': True,
    'do_resize': True,
    'feature_extractor_type': 'CLIPFeatureExtractor',
    'image_mean': [0.48145466, 0.4578275, 0.40821073],
    'image_processor_type': 'CLIPImageProcessor',
    'image_std': [0.26862954, 0.26130258, 0.27577711],
    'resample': 3,
    'size': 224,
}
PREDICTIONS = {'epsilon': 'epsilon', 'v_prediction': 'v'}  # theirs and ours

# What changes a network's numbers and no tensor's shape: {class: {key: what the networks here compute}}; where a folder
# says nothing, diffusers takes the first.
SILU = ('silu', 'swish')  # two names of one function
_BLOCKS = {
    'act_fn': SILU,
    'center_input_sample': (False,),
    'downsample_padding': (1,),
    'flip_sin_to_cos': (True,),
    'freq_shift': (0,),
    'mid_block_only_cross_attention': (None, False),
    'mid_block_scale_factor': (1,),
    'only_cross_attention': (False,),
    'resnet_out_scale_factor': (1,),
    'resnet_skip_time_act': (False,),
    'time_embedding_act_fn': (None,),
    'timestep_post_act': (None,),
}
ONLY: dict[str, dict[str, tuple[Any, ...]]] = {
    'UNet2DConditionModel': {**_BLOCKS, 'num_attention_heads': (None,)},  # with which diffusers makes no UNet either
    'ControlNetModel': {
        **_BLOCKS,
        'controlnet_conditioning_channel_order': ('rgb',),
        'global_pool_conditions': (False,),
    },
    'AutoencoderKL': {
        'act_fn': SILU,
        'latents_mean': (None,),
        'latents_std': (None,),
        'shift_factor': (None, 0),
    },
}

# Names that older and newer files use, as regex and replacement (or what makes it of the match).
OTHER: dict[str, tuple[tuple[str, Any], ...]] = {
    'autoencoder': (
        (r'(.*attentions\.\d+\.)query\.(.*)', r'\1to_q.\2'),
        (r'(.*attentions\.\d+\.)key\.(.*)', r'\1to_k.\2'),
        (r'(.*attentions\.\d+\.)value\.(.*)', r'\1to_v.\2'),
        (r'(.*attentions\.\d+\.)proj_attn\.(.*)', r'\1to_out.0.\2'),
    ),
    'prompt_extractor': ((r'vision_multi\.(.*)', r'tagging_head.\1'),),
    'text_encoder': ((r'(?:embeddings|encoder|final_layer_norm)\..*', r'text_model.\g<0>'),),  # of transformers 5
    'tiny_decoder': (  # of diffusers, and of the original, whose list begins with the clamp of the latents
        (r'decoder\.(layers\..*)', r'\1'),
        (r'(?:decoder\.)?(\d{1,4})\.(.*)', lambda match: f'layers.{int(match[1]) - 1}.{match[2]}'),
    ),
}
# What no network here is made of: RAM's part that generates and embeds captions, what trained an autoencoder.
UNUSED = {
    'autoencoder': ('model_ema.decay', 'model_ema.num_updates', 'loss.'),
    'prompt_extractor': ('tag_encoder.', 'text_decoder.'),
    'dape': ('tag_encoder.', 'text_decoder.'),
    'text_encoder': ('text_projection.',),  # of files saved by the class that has one
    'tiny_decoder': ('encoder.',),
}


def current_names(tensors: Tensors, network: str, source: Path) -> dict[str, Stored]:
    """Tensors under today's names, without computed buffers and unused parts; UserError where two become one."""
    found: dict[str, Stored] = {}
    for name, tensor in tensors.items():
        if is_computed(name) or name.startswith(UNUSED.get(network, ())):
            continue
        for pattern, replacement in OTHER.get(network, ()):
            name = re.sub(rf'^{pattern}$', replacement, name)
        if name in found:
            raise UserError(f'{source} holds {name} twice, under an older and a newer name')
        found[name] = tensor
    return found


def read_config(folder: Path, kind: str) -> dict[str, Any]:
    """config.json of a network's folder, which has to be of this class."""
    path = folder / 'config.json'
    if not path.exists():
        raise UserError(f'{path} does not exist: {folder} is no {kind} folder')
    config = json_file.read(path, 'download it again')
    said = config.get('_class_name') or config.get('architectures') or kind
    named = (
        said if isinstance(said, str) else ', '.join(options.typed(tuple[str, ...], said, f'architectures of {path}'))
    )
    if named != kind:
        raise UserError(f'{folder} holds a {printable(named)}, not a {kind}: give the folder of another model')
    for key, known in ONLY.get(kind, {}).items():
        if key in config and config[key] not in known:
            raise UserError(
                f'{path} says {key} {printable(str(config[key]))}: the {kind} here is the one of Stable Diffusion 2, '
                f'with {known[0]}; give the folder of another model'
            )
    return config


def _value(config: dict[str, Any], key: str, folder: Path, kind: Any = Any) -> Any:
    """What a network's config.json says under a key, as a value of a type: lists become tuples."""
    if key not in config:
        raise UserError(f'{folder / "config.json"} does not say {key}: it is no model of the Stable Diffusion 2 family')
    return options.typed(kind, config[key], f'{key} of {folder / "config.json"}')


def unet_spec(folder: Path, kind: str = 'UNet2DConditionModel') -> UNetSpec:
    """Of a UNet's folder, or of a ControlNet's, which copies the UNet's sizes."""
    config = read_config(folder, kind)

    def value(key: str, kind: Any = Any) -> Any:
        return _value(config, key, folder, kind)

    if not config.get('use_linear_projection'):  # upcast_attention is how we always compute
        raise UserError(
            f'{folder} is not of the family of Stable Diffusion 2 (use_linear_projection): SD 1 does not fit AddSR'
        )
    channels = value('block_out_channels', tuple[int, ...])
    named = 'num_attention_heads' if config.get('num_attention_heads') else 'attention_head_dim'  # as diffusers does
    heads = value(named, int | tuple[int, ...])
    return dataclasses.replace(
        SD2.unet,
        in_channels=value('in_channels'),
        out_channels=config.get('out_channels', value('in_channels')),
        block_out_channels=channels,
        attention=tuple(name.startswith('CrossAttn') for name in value('down_block_types', tuple[str, ...])),
        layers_per_block=value('layers_per_block'),
        heads=heads if isinstance(heads, tuple) else (heads,) * len(channels),
        text_dim=value('cross_attention_dim'),
        image_dim=SD2.unet.image_dim if config.get('use_image_cross_attention') else None,
        norm_groups=value('norm_num_groups'),
        norm_eps=value('norm_eps'),
    )


def controlnet_spec(folder: Path) -> ControlNetSpec:
    config = read_config(folder, 'ControlNetModel')
    unet = unet_spec(folder, 'ControlNetModel')
    return ControlNetSpec(
        unet=dataclasses.replace(unet, out_channels=unet.in_channels),
        condition_channels=config.get('conditioning_channels', 3),
        condition_embedding_channels=_value(config, 'conditioning_embedding_out_channels', folder, tuple[int, ...]),
    )


def autoencoder_spec(folder: Path) -> AutoencoderSpec:
    config = read_config(folder, 'AutoencoderKL')

    def value(key: str) -> Any:
        return _value(config, key, folder)

    return dataclasses.replace(
        SD2.autoencoder,
        image_channels=value('in_channels'),
        latent_channels=value('latent_channels'),
        block_out_channels=_value(config, 'block_out_channels', folder, tuple[int, ...]),
        layers_per_block=value('layers_per_block'),
        norm_groups=value('norm_num_groups'),
        scaling_factor=config.get('scaling_factor', SD2.autoencoder.scaling_factor),
    )


def text_encoder_spec(folder: Path) -> TextEncoderSpec:
    config = read_config(folder, 'CLIPTextModel')

    def value(key: str) -> Any:
        return _value(config, key, folder)

    if value('hidden_act') != 'gelu':
        raise UserError(
            f'{folder} uses {printable(str(value("hidden_act")))}: the text encoder of Stable Diffusion 2 uses gelu'
        )
    return TextEncoderSpec(
        vocab_size=value('vocab_size'),
        width=value('hidden_size'),
        mlp_width=value('intermediate_size'),
        layers=value('num_hidden_layers'),
        heads=value('num_attention_heads'),
        positions=value('max_position_embeddings'),
        norm_eps=value('layer_norm_eps'),
    )


def schedule_spec(folder: Path) -> ScheduleSpec:
    """Of scheduler_config.json, whatever sampler it names: its betas, and what the model predicts."""
    path = folder / SCHEDULER
    config = json_file.read(path, 'download the folder again')
    said = config.get('prediction_type', 'epsilon')
    if not isinstance(said, str) or said not in PREDICTIONS:
        raise UserError(
            f'{path} says prediction_type {printable(str(said))}: only {" and ".join(PREDICTIONS)} are known'
        )
    if config.get('beta_schedule') != 'scaled_linear' or config.get('trained_betas') is not None:
        betas = printable(str(config.get('beta_schedule')))
        raise UserError(f'{path} says beta_schedule {betas}: expected scaled_linear, without trained_betas')
    if config.get('rescale_betas_zero_snr'):
        raise UserError(f'{path} says rescale_betas_zero_snr: that schedule is not known here')
    try:
        return ScheduleSpec(
            beta_start=config['beta_start'],
            beta_end=config['beta_end'],
            steps=config['num_train_timesteps'],
            prediction=PREDICTIONS[said],
        )
    except KeyError as error:
        raise UserError(f'{path} does not say {error.args[0]}: download the folder again') from error


def unet_config(spec: UNetSpec) -> dict[str, Any]:
    """config.json that diffusers' and SeeSR's UNet2DConditionModel build this network from."""
    prefixes = ['CrossAttn' if has else '' for has in spec.attention]
    return {
        '_class_name': 'UNet2DConditionModel',
        **_shared_config(spec),
        'out_channels': spec.out_channels,
        'sample_size': 64,  # latents of a picture of 512 pixels
        'mid_block_type': 'UNetMidBlock2DCrossAttn',
        'up_block_types': [f'{prefix}UpBlock2D' for prefix in reversed(prefixes)],
    }


def controlnet_config(spec: ControlNetSpec) -> dict[str, Any]:
    """config.json that diffusers' and SeeSR's ControlNetModel build this network from."""
    return {
        '_class_name': 'ControlNetModel',
        **_shared_config(spec.unet),
        'conditioning_channels': spec.condition_channels,
        'conditioning_embedding_out_channels': list(spec.condition_embedding_channels),
        'controlnet_conditioning_channel_order': 'rgb',
        'global_pool_conditions': False,
    }


def _shared_config(spec: UNetSpec) -> dict[str, Any]:
    return {
        '_diffusers_version': DIFFUSERS_VERSION,
        'in_channels': spec.in_channels,
        'block_out_channels': list(spec.block_out_channels),
        'down_block_types': [f'{"CrossAttn" if has else ""}DownBlock2D' for has in spec.attention],
        'layers_per_block': spec.layers_per_block,
        'attention_head_dim': list(spec.heads),
        'cross_attention_dim': spec.text_dim,
        'norm_num_groups': spec.norm_groups,
        'norm_eps': spec.norm_eps,
        'use_linear_projection': True,
        'upcast_attention': False,
        'only_cross_attention': False,
        'act_fn': 'silu',
        'downsample_padding': 1,
        'mid_block_scale_factor': 1,
        'flip_sin_to_cos': True,
        'freq_shift': 0,
        **({} if spec.image_dim is None else {'use_image_cross_attention': True}),
    }


def autoencoder_config(spec: AutoencoderSpec) -> dict[str, Any]:
    """config.json that diffusers' AutoencoderKL builds this network from."""
    levels = len(spec.block_out_channels)
    return {
        '_class_name': 'AutoencoderKL',
        '_diffusers_version': DIFFUSERS_VERSION,
        'act_fn': 'silu',
        'block_out_channels': list(spec.block_out_channels),
        'down_block_types': ['DownEncoderBlock2D'] * levels,
        'in_channels': spec.image_channels,
        'latent_channels': spec.latent_channels,
        'layers_per_block': spec.layers_per_block,
        'norm_num_groups': spec.norm_groups,
        'out_channels': spec.image_channels,
        'sample_size': 512,
        'scaling_factor': spec.scaling_factor,
        'up_block_types': ['UpDecoderBlock2D'] * levels,
    }


def text_encoder_config(spec: TextEncoderSpec) -> dict[str, Any]:
    """config.json that transformers' CLIPTextModel builds this network from."""
    return {
        'architectures': ['CLIPTextModel'],
        'attention_dropout': 0.0,
        'bos_token_id': 0,  # these three are as published, and used by nobody
        'eos_token_id': 2,
        'hidden_act': 'gelu',
        'hidden_size': spec.width,
        'intermediate_size': spec.mlp_width,
        'layer_norm_eps': spec.norm_eps,
        'max_position_embeddings': spec.positions,
        'model_type': 'clip_text_model',
        'num_attention_heads': spec.heads,
        'num_hidden_layers': spec.layers,
        'pad_token_id': 1,
        'projection_dim': 512,
        'vocab_size': spec.vocab_size,
    }


def schedule_config(spec: ScheduleSpec) -> dict[str, Any]:
    """scheduler_config.json of the sampler that the originals' scripts take; other samplers read it too."""
    theirs = {ours: name for name, ours in PREDICTIONS.items()}
    return {
        '_class_name': SAMPLER,
        '_diffusers_version': DIFFUSERS_VERSION,
        'beta_end': spec.beta_end,
        'beta_schedule': 'scaled_linear',
        'beta_start': spec.beta_start,
        'clip_sample': False,
        'num_train_timesteps': spec.steps,
        'prediction_type': theirs[spec.prediction],
        'set_alpha_to_one': False,
        'skip_prk_steps': True,
        'steps_offset': 1,
        'timestep_spacing': 'leading',
        'trained_betas': None,
        'variance_type': 'fixed_small',
    }
