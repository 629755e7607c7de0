"""The recorded small networks as folders and files, laid out as users have the real ones."""

import json
import shutil
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from addsr_jax.weights import torch_writer
from tests import golden

OLD_NAMES = {'to_q': 'query', 'to_k': 'key', 'to_v': 'value', 'to_out.0': 'proj_attn'}
DTYPES = {'float32': np.float32, 'float16': np.float16, 'bfloat16': ml_dtypes.bfloat16}


def write(
    folder: Path, *, form: str = 'safetensors', dtype: str = 'float32', old_names: bool = True
) -> dict[str, Path]:
    """stable-diffusion-2-base/, addsr/, seesr/ and .pth files; returns the arguments of `convert.plan`.

    form: 'safetensors', 'shards' (several, with an index) or 'bin'. old_names: those of the published autoencoder
    and of early RAM files.
    """
    sd = folder / 'stable-diffusion-2-base'

    def network(name: str, place: Path, kind: str, **options: Any) -> None:
        state = {k: v.astype(DTYPES[dtype]) for k, v in golden.state_dict(name, **options).items()}
        if name == 'vae' and old_names:
            state = {_old(k): v for k, v in state.items()}
        if place == sd / 'unet':
            state = {k: v for k, v in state.items() if 'image_attentions' not in k}
        config = {'_class_name': kind, **golden.document(name, 'config')}
        config.pop('scaling_factor', None)  # the published folder does not say it
        if place == sd / 'unet':
            config.pop('use_image_cross_attention')
        _write(place, state, config, 'model' if name == 'text_encoder' else 'diffusion_pytorch_model', form)

    network('text_encoder', sd / 'text_encoder', 'CLIPTextModel')
    network('vae', sd / 'vae', 'AutoencoderKL')
    network('unet', sd / 'unet', 'UNet2DConditionModel')
    for name, salt in (('addsr', ''), ('seesr', 'seesr/')):
        network('unet', folder / name / 'unet', 'UNet2DConditionModel', salt=salt)
        network('controlnet', folder / name / 'controlnet', 'ControlNetModel', salt=salt)
    shutil.copytree(golden.FIXTURES / 'tokenizer', sd / 'tokenizer')
    (sd / 'scheduler').mkdir()
    shutil.copy(golden.FIXTURES / 'schedule' / 'config.json', sd / 'scheduler' / 'scheduler_config.json')

    ram = golden.state_dict('ram')
    torch_writer.write(folder / 'DAPE.pth', {k: v for k, v in ram.items() if 'lora_' in k} | _unused('lora_A'))
    base = {k: v for k, v in ram.items() if 'lora_' not in k} | _unused('weight') | _mask()
    if old_names:
        base = {k.replace('tagging_head', 'vision_multi'): v for k, v in base.items()}
    torch_writer.write(folder / 'ram_swin_large_14m.pth', {'model': base, 'epoch': 3})
    for name in ('dino', 'dinov2'):
        torch_writer.write(folder / f'{name}.pth', golden.state_dict(name))
    return {
        'sd': sd,
        'addsr': folder / 'addsr',
        'seesr': folder / 'seesr',
        'ram': folder / 'ram_swin_large_14m.pth',
        'dape': folder / 'DAPE.pth',
        'dino': folder / 'dino.pth',
        'dinov2': folder / 'dinov2.pth',
    }


def _write(place: Path, state: dict[str, np.ndarray], config: Any, stem: str, form: str) -> None:
    place.mkdir(parents=True)
    (place / 'config.json').write_text(json.dumps(config))
    if form == 'bin':
        torch_writer.write(place / ('pytorch_model.bin' if stem == 'model' else f'{stem}.bin'), state)
    elif form == 'shards':
        names = sorted(state)
        files = {f'{stem}-0000{i + 1}-of-00002.safetensors': names[i::2] for i in range(2)}
        for file, held in files.items():
            save_file({name: state[name] for name in held}, place / file)
        index = {'weight_map': {name: file for file, held in files.items() for name in held}}
        (place / f'{stem}.safetensors.index.json').write_text(json.dumps(index))
    else:
        save_file(state, place / f'{stem}.safetensors')


def _old(name: str) -> str:
    for new, old in OLD_NAMES.items():
        name = name.replace(f'attentions.0.{new}.', f'attentions.0.{old}.')
    return name


def _unused(last: str) -> dict[str, np.ndarray]:
    """What real files hold for captions, which we do not need."""
    return {
        f'tag_encoder.layer.0.{last}': np.ones((4, 2), np.float32),
        f'text_decoder.{last}': np.ones(3, np.float32),
    }


def _mask() -> dict[str, np.ndarray]:
    """The computed buffer that says how many windows a picture has: (128 / 4 / 4)^2 of 4 x 4 tokens."""
    return {'visual_encoder.layers.0.blocks.1.attn_mask': np.zeros((64, 16, 16), np.float32)}
