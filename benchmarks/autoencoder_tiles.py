"""The autoencoder tile by tile beside the whole one: error, peak memory and compile time over sizes of pictures.

    python -m benchmarks.autoencoder_tiles [--size sd2] [--sides 512,1024,2048] [--plan 4096,8192] [--divide 4]

Random weights, a picture of coarse noise whose parts differ in contrast and brightness. Of --sides both are run: error
is the largest difference, of decoded pictures in levels of 255, of latents in their deviations. For --plan
the programs are compiled alone. Peak: bytes of a device beside the weights, by the compiler's plan.
Passes: how often all tiles were run, for each stretch of the network. --divide: so many times fewer channels than in
--size, for machines on which that is too slow.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from addsr_jax import sharding, sizes
from addsr_jax.errors import UserError, guard
from addsr_jax.flags import say
from addsr_jax.networks.autoencoder import Autoencoder
from addsr_jax.networks.autoencoder_tiles import Tiles
from addsr_jax.restoration.settings import DECODER_TILE, ENCODER_TILE
from addsr_jax.runtime import compiler_options
from addsr_jax.weights.random import random_params

METHODS = ('decode', 'moments')


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--size', default='sd2', choices=tuple(sizes.MODELS))
    parser.add_argument('--sides', default='512,1024,2048', help='pixels of the pictures that are run')
    parser.add_argument('--plan', default='4096,8192', help='pixels of those that are compiled for alone')
    parser.add_argument('--divide', type=int, default=1, help='channels by that')
    parser.add_argument('--tile', type=int, default=DECODER_TILE, help='latents that a tile gives along an axis')
    values = parser.parse_args(arguments)
    mesh = sharding.make_mesh('data:1', jax.devices()[:1])
    module = Autoencoder(_divided(sizes.MODELS[values.size].autoencoder, values.divide), sharding.compute_dtype(mesh))
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))['params']
    params = jax.device_put(random_params({'autoencoder': shapes}, module.dtype)['autoencoder'])
    say(
        f'{jax.devices()[0].device_kind}, {values.size}, channels {module.spec.block_out_channels}, '
        f'{jnp.dtype(module.dtype)}, tiles of {values.tile} latents, jax {jax.__version__}\n'
    )
    say('| pixels | direction | error | passes | MB whole | MB tiled | compile s whole | compile s tiled |')
    say('| --- | --- | --- | --- | --- | --- | --- | --- |')
    for side in _sides(values.sides):
        for method in METHODS:
            say(f'| {side} | {method} | {" | ".join(compared(module, params, mesh, values.tile, method, side))} |')
    for side in _sides(values.plan):
        for method in METHODS:
            say(
                f'| {side} | {method} | | | {" | ".join(planned(module, params, mesh, values.tile, method, side)[1])} |'
            )


def planned(module: Autoencoder, params: Any, mesh: Any, side: int, method: str, pixels: int) -> tuple[Any, list[str]]:
    """(the program of the whole picture; MB of both, and seconds to compile them)."""
    whole = jax.jit(partial(module.apply, method=method), compiler_options=compiler_options(mesh))
    x = jax.ShapeDtypeStruct(_shape(module, method, pixels), jnp.float32)
    began = time.perf_counter()
    program: Any = whole.lower({'params': params}, x).compile()
    seconds = time.perf_counter() - began
    laid_out = program.memory_analysis()
    tiles = Tiles(module, side, mesh)
    tiled = _seconds(partial(_needs, tiles, params, method, pixels))
    memory = (laid_out.temp_size_in_bytes + laid_out.output_size_in_bytes, _needs(tiles, params, method, pixels))
    return program, [*(f'{size / 1e6:.0f}' for size in memory), f'{seconds:.1f}', f'{tiled:.1f}']


def compared(module: Autoencoder, params: Any, mesh: Any, side: int, method: str, pixels: int) -> list[str]:
    """A row of the table, of a picture that is run whole and in tiles."""
    x = _picture(_shape(module, method, pixels))
    program, row = planned(module, params, mesh, side, method, pixels)
    wanted = np.asarray(program({'params': params}, x), np.float32)
    tiles = Tiles(module, side, mesh)
    found = getattr(tiles, method)(params, x)
    unit = 127.5 / np.abs(wanted).max() if method == 'decode' else 1 / wanted.std()
    return [f'{unit * np.abs(found - wanted).max():.3f}', ', '.join(map(str, tiles.passes)), *row]


def _shape(module: Autoencoder, method: str, pixels: int) -> tuple[int, int, int, int]:
    spec = module.spec
    edge, channels = (pixels, 3) if method == 'moments' else (pixels // spec.factor, spec.latent_channels)
    return 1, edge, edge, channels


def _needs(tiles: Tiles, params: Any, method: str, pixels: int) -> int:
    latents = pixels // tiles.module.spec.factor
    return tiles.needs(method, params, 1, latents, latents)


def _picture(shape: tuple[int, int, int, int]) -> np.ndarray:
    rng, (_, side, _, channels) = np.random.default_rng(0), shape
    coarse = rng.normal(size=(1, side // 4 + 1, side // 4 + 1, channels)).repeat(4, 1).repeat(4, 2)[:, :side, :side]
    x = (0.4 * coarse + 0.1 * rng.normal(size=coarse.shape)).astype(np.float32)
    x[:, : side // 3] *= 0.3
    x[:, :, side // 2 :] += 0.3
    return np.clip(x, -1, 1)


def _divided(spec: Any, by: int) -> Any:
    channels = tuple(max(n // by, spec.norm_groups or 1) for n in spec.block_out_channels)
    return dataclasses.replace(spec, block_out_channels=channels)


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _sides(text: str) -> list[int]:
    sides = [int(part) for part in text.split(',') if part.isdigit()]
    if len(sides) != len([part for part in text.split(',') if part]) or any(n % 64 or not n for n in sides):
        raise UserError(f'{text!r} are no sides: write multiples of 64 with commas, as {ENCODER_TILE},1024')
    return sides


if __name__ == '__main__':
    sys.exit(guard(main))
