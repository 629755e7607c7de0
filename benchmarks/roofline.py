"""What Stable Diffusion 2's networks and samplers compute, and how quick they could be: modelled, nothing is run.

    python -m benchmarks.roofline [--side 512]

FLOPs are counted in the traced programs (`planning.flops`). The least time of a call on a chip is the longer of two:
its FLOPs at the chip's peak in bfloat16, or reading its weights once at the peak of the chip's memory. What activations
travel is not in it.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from addsr_jax import sharding, trees
from addsr_jax.diffusion.denoiser import Conditioning, Denoiser
from addsr_jax.diffusion.methods import STUDENT, TEACHER, Method
from addsr_jax.diffusion.sampler import Sampling
from addsr_jax.networks.build import build
from addsr_jax.planning.flops import flops
from addsr_jax.restoration import program
from addsr_jax.sizes import SD2
from addsr_jax.specs import ModelSpec
from addsr_jax.trees import Tree
from addsr_jax.weights import bundle as bundles

# FLOP/s in bfloat16, dense, and bytes/s of memory, as the vendors say (cloud.google.com/tpu/docs, nvidia.com).
CHIPS = {
    'v5e': (197e12, 819e9),
    'v6e': (918e12, 1640e9),
    'v5p': (459e12, 2765e9),
    'H100 SXM': (989e12, 3350e9),
    'H200': (989e12, 4800e9),
}
SAMPLERS: tuple[tuple[str, Method, int, str], ...] = (
    ('AddSR-1', STUDENT, 1, 'none'),
    ('AddSR-1, tiny decoder: all', STUDENT, 1, 'all'),
    ('AddSR-2', STUDENT, 2, 'none'),
    ('AddSR-4', STUDENT, 4, 'none'),
    ('AddSR-4, tiny decoder: steps', STUDENT, 4, 'steps'),
    ('AddSR-4, tiny decoder: all', STUDENT, 4, 'all'),
    ('SeeSR-50', TEACHER, 50, 'none'),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--side', type=int, default=512, help='of the result, in pixels')
    parser.add_argument('--sides', default='1024,2048', help='further ones for the samplers, restored whole')
    values = parser.parse_args()
    spec = SD2
    titles = ('network', 'TFLOP', 'weights MB', *(f'{name} ms' for name in CHIPS), 'bound by')
    table(titles, networks(spec, values.side))
    sides = [values.side, *(int(side) for side in values.sides.split(','))]
    titles = ('sampler', *(f'TFLOP at {side}' for side in sides), *(f'{name} ms at {sides[0]}' for name in CHIPS))
    table(titles, [sampler(spec, *told, sides) for told in SAMPLERS])


def networks(spec: ModelSpec, side: int) -> list[list[str]]:
    """One row for each call of a network at `side`, batch 1."""
    model = Denoiser(build(spec, jnp.bfloat16), 'student')
    shapes = trees.retyped(
        bundles.expected(spec, ['autoencoder', 'text_encoder', 'prompt_extractor', 'student', 'tiny_decoder']),
        jnp.bfloat16,
    )
    latent = side // spec.autoencoder.factor
    f32: Any = partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    picture, z = f32((1, side, side, 3)), f32((1, latent, latent, spec.unet.out_channels))
    text = f32((1, spec.text_encoder.positions, spec.text_encoder.width))
    seen = jax.eval_shape(model.embed_image, shapes, picture)
    latents = z if spec.unet.in_channels > spec.unet.out_channels else None
    told: dict[str, Any] = {'text': text, 'image_tokens': seen, 'image': picture, 'latents': latents}
    condition = Conditioning(**told)
    tokens, t = (jax.ShapeDtypeStruct(shape, jnp.int32) for shape in ((1, spec.text_encoder.positions), (1,)))
    calls = {
        'encoder': (model.encode, (picture, z), 'autoencoder/encoder'),
        'decoder': (model.decode, (z, picture), 'autoencoder/decoder'),
        'tiny decoder': (model.decode_tiny, (z,), 'tiny_decoder'),
        'UNet and ControlNet': (model.network_output, (z, t, condition), 'student'),
        'prompt extractor': (model.embed_image, (picture,), 'prompt_extractor'),
        'text encoder': (model.embed_text, (tokens,), 'text_encoder'),
    }
    return [call(name, function, given, part, shapes) for name, (function, given, part) in calls.items()]


def call(name: str, function: Callable[..., Any], arguments: tuple[Any, ...], part: str, shapes: Tree) -> list[str]:
    counted = flops(jax.make_jaxpr(function)(shapes, *arguments))
    weights = sum(
        leaf.size * leaf.dtype.itemsize for path, leaf in trees.flatten(shapes).items() if path.startswith(f'{part}/')
    )
    least = {chip: (counted / peak, weights / bandwidth) for chip, (peak, bandwidth) in CHIPS.items()}
    bound = sorted({'FLOPs' if compute > memory else 'weights' for compute, memory in least.values()})
    times = [f'{1e3 * max(pair):.2f}' for pair in least.values()]
    return [name, f'{counted / 1e12:.3f}', f'{weights / 1e6:.0f}', *times, ' or '.join(bound)]


def sampler(spec: ModelSpec, name: str, method: Method, steps: int, tiny: str, sides: list[int]) -> list[str]:
    mesh = sharding.make_mesh('data:1', jax.devices()[:1])
    guided = method.guided
    sampling = Sampling.of(method, steps, spec.schedule.steps, guided=guided, tiny_decoder=tiny)
    counted = [flops(program.Shaped(spec, sampling, mesh, 1, side, side, 'bfloat16').trace().jaxpr) for side in sides]
    return [name, *(f'{n / 1e12:.2f}' for n in counted), *(f'{1e3 * counted[0] / p:.1f}' for p, _ in CHIPS.values())]


def table(titles: tuple[str, ...], rows: list[list[str]]) -> None:
    for cells in (list(titles), ['---'] * len(titles), *rows):
        sys.stdout.write(f'| {" | ".join(cells)} |\n')
    sys.stdout.write('\n')
    sys.stdout.flush()


if __name__ == '__main__':
    main()
