"""Stable Diffusion 2 size on this machine: conversion and one AddSR sample, each with its seconds and peak memory.

    python -m benchmarks.full_size DIR [--steps 4]

Nobody's weights are needed: files with random numbers of every published name and shape are written to DIR (13 GB),
converted (13 GB more), loaded, and one 512 x 512 picture is sampled. Each part runs in a process of its own.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

PARTS = ('write', 'convert', 'sample')


def write(folder: Path) -> None:
    """stable-diffusion-2-base/, addsr/ and .pth files with random numbers."""
    from safetensors.numpy import save_file

    from addsr_jax import sizes
    from addsr_jax.weights import bundle as bundles
    from addsr_jax.weights import layout, published, torch_writer

    rng = np.random.default_rng(0)
    spec, sd = sizes.SD2, folder / 'stable-diffusion-2-base'
    parts = bundles.expected(spec, ['student', 'autoencoder', 'text_encoder', 'prompt_extractor', 'dape'])

    def random(kind: str, tree) -> dict[str, np.ndarray]:
        shapes = layout.state_shapes(kind, tree)
        return {
            name: rng.standard_normal(shape, np.float32) / np.float32(max(np.prod(shape[1:]), 1) ** 0.5)
            for name, shape in shapes.items()
        }

    def network(place: Path, kind: str, tree, config: dict, stem: str = 'diffusion_pytorch_model') -> None:
        place.mkdir(parents=True)
        save_file(random(kind, tree), place / f'{stem}.safetensors')
        (place / 'config.json').write_text(json.dumps(config))

    a, t = spec.autoencoder, spec.text_encoder
    network(folder / 'addsr' / 'unet', 'unet', parts['student']['unet'], published.unet_config(spec.unet))
    network(
        folder / 'addsr' / 'controlnet',
        'controlnet',
        parts['student']['controlnet'],
        published.controlnet_config(spec.controlnet),
    )
    vae = {
        '_class_name': 'AutoencoderKL',
        'in_channels': a.image_channels,
        'latent_channels': a.latent_channels,
        'block_out_channels': a.block_out_channels,
        'layers_per_block': a.layers_per_block,
        'norm_num_groups': a.norm_groups,
    }
    network(sd / 'vae', 'autoencoder', parts['autoencoder'], vae)
    clip = {
        'architectures': ['CLIPTextModel'],
        'hidden_act': 'gelu',
        'vocab_size': t.vocab_size,
        'hidden_size': t.width,
        'intermediate_size': t.mlp_width,
        'num_hidden_layers': t.layers,
        'num_attention_heads': t.heads,
        'max_position_embeddings': t.positions,
        'layer_norm_eps': t.norm_eps,
    }
    network(sd / 'text_encoder', 'text_encoder', parts['text_encoder'], clip, 'model')
    schedule = {
        'beta_start': spec.schedule.beta_start,
        'beta_end': spec.schedule.beta_end,
        'beta_schedule': 'scaled_linear',
        'num_train_timesteps': spec.schedule.steps,
    }
    (sd / 'scheduler').mkdir()
    (sd / 'scheduler' / 'scheduler_config.json').write_text(json.dumps(schedule))
    shutil.copytree(bundles.NANO / 'tokenizer', sd / 'tokenizer')  # other words, the same files
    torch_writer.write(folder / 'ram.pth', {'model': random('prompt_extractor', parts['prompt_extractor'])})
    torch_writer.write(folder / 'DAPE.pth', random('dape', parts['dape']))


def convert(folder: Path) -> None:
    from addsr_jax.convert import main

    files = {'sd': 'stable-diffusion-2-base', 'addsr': 'addsr', 'ram': 'ram.pth', 'dape': 'DAPE.pth'}
    arguments = [word for name, path in files.items() for word in (f'--{name}', str(folder / path))]
    main(['from_pytorch', *arguments, '-o', str(folder / 'converted')])


def sample(folder: Path, steps: int) -> None:
    import jax

    import addsr_jax

    start = time.monotonic()
    pipeline = addsr_jax.load(folder / 'converted')
    print(f'loaded in {time.monotonic() - start:.0f} s', flush=True)  # noqa: T201
    lq = jax.random.uniform(jax.random.key(1), (1, 512, 512, 3), minval=-1)
    for told in ('first call, compiled', 'second call'):
        start = time.monotonic()
        image = np.asarray(pipeline.sample(lq, jax.random.key(0), steps=steps))
        seconds = time.monotonic() - start
        print(f'{steps} steps at 512 x 512, {told}: {seconds:.0f} s, {image.mean():.3f} on average', flush=True)  # noqa: T201


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--steps', type=int, default=4)
    parser.add_argument('--part', choices=PARTS, help=argparse.SUPPRESS)
    values = parser.parse_args()
    if values.part == 'sample':
        sample(values.folder, values.steps)
    elif values.part:
        {'write': write, 'convert': convert}[values.part](values.folder)
    if values.part:
        return
    values.folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        start = time.monotonic()
        command = [
            sys.executable,
            '-m',
            'benchmarks.full_size',
            str(values.folder),
            '--steps',
            str(values.steps),
            '--part',
            part,
        ]
        process = subprocess.Popen(command)
        _, status, usage = os.wait4(process.pid, 0)
        seconds, peak = time.monotonic() - start, usage.ru_maxrss / 2**20
        print(f'{part}: {seconds:.0f} s, {peak:.1f} GiB at most', flush=True)  # noqa: T201
        if status:
            sys.exit(f'{part} failed')


if __name__ == '__main__':
    main()
