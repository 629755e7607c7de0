"""Seconds of one 512 x 512 picture at Stable Diffusion 2 size on this machine's accelerator, without anybody's weights.

    python benchmarks/accelerator.py [--attention cudnn] [--methods addsr-4,seesr-50,addsr-1] [--size sd2]

Weights are random numbers of the published shapes (what they are changes no time), in bfloat16 but on CPU. Every
method is compiled, then timed --repeats times.
"""

import argparse

import jax

from addsr_jax import sharding, sizes, specs
from addsr_jax.benchmark import median_seconds
from addsr_jax.flags import say
from addsr_jax.ops.attention import chosen
from addsr_jax.restoration import pipeline
from addsr_jax.restoration.settings import Settings, parse_method
from addsr_jax.runtime import memory, prepare
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights.random import random_params

PARTS = ('autoencoder', 'text_encoder', 'prompt_extractor', 'student')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--size', default='sd2', choices=tuple(sizes.MODELS))
    parser.add_argument('--attention', default='auto', choices=specs.ATTENTIONS)
    parser.add_argument('--methods', default='addsr-4,seesr-50,addsr-1', help='as `evaluate` takes them')
    parser.add_argument('--side', type=int, default=512, help='pixels of the result')
    parser.add_argument('--repeats', type=int, default=5)
    values = parser.parse_args()
    prepare()
    model = random_model(sizes.MODELS[values.size], values.attention)
    lq = jax.random.uniform(jax.random.key(1), (1, values.side, values.side, 3), minval=-1)
    say(f'{jax.devices()[0].device_kind}, {values.size}, {values.side} pixels, attention {values.attention}')
    for name in values.methods.split(','):
        settings = parse_method(name, Settings())
        if settings is None:
            parser.error('bicubic needs no accelerator: name addsr-STEPS or seesr-STEPS')
        names = ('method', 'steps', 'psr_weight', 'antithetic')
        given = {name: getattr(settings, name) for name in names}

        def picture(given=given) -> None:
            jax.block_until_ready(model.sample(lq, jax.random.key(0), **given))

        first, seconds = median_seconds(picture, 1), median_seconds(picture, values.repeats)
        say(f'{name:>12} {seconds:7.3f} s, first call {first:.0f} s, peak {memory(peak=True):.1f} GB')


def random_model(spec: specs.ModelSpec, attention: str) -> pipeline.Pipeline:
    """Networks of a size with random weights; the teacher is the student."""
    mesh = sharding.make_mesh('data:1', jax.devices()[:1])
    dtype = sharding.compute_dtype(mesh)
    params = random_params(bundles.expected(spec, list(PARTS)), dtype)
    bundle = bundles.Bundle(spec, params, bundles.NANO / 'tokenizer', {})
    model = pipeline.built(bundle, mesh, dtype, chosen(attention, mesh.devices.flat[0], dtype))
    model.params['teacher'] = model.params['student']
    return model


if __name__ == '__main__':
    main()
