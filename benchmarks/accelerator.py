"""Seconds of one 512 x 512 picture at Stable Diffusion 2 size on this machine's accelerator, without anybody's weights.

    python -m benchmarks.accelerator [--attention cudnn] [--methods addsr-4,seesr-50,addsr-1] [--size sd2] [--batch 1,8]

Weights are random numbers of the published shapes (what they are changes no time), in bfloat16 but on CPU. Every
method is compiled, then timed --repeats times. TFLOP are counted in the traced program; their share of the peak is told
where the vendor's figure for this device is known (`addsr_jax.chips`). --profile DIR: one picture more of each, under
jax's profiler, and the operations that took longest.
"""

import argparse
from pathlib import Path

import jax

from addsr_jax import sharding, sizes, specs
from addsr_jax.benchmark import median_seconds
from addsr_jax.chips import chip_of
from addsr_jax.flags import say
from addsr_jax.ops.attention import chosen
from addsr_jax.planning import hardware, programs
from addsr_jax.planning.flops import flops
from addsr_jax.restoration import pipeline
from addsr_jax.restoration.settings import Settings, parse_method
from addsr_jax.runtime import memory, prepare
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights.random import random_params
from benchmarks.slowest import slowest

PARTS = ('autoencoder', 'text_encoder', 'prompt_extractor', 'student')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--size', default='sd2', choices=tuple(sizes.MODELS))
    parser.add_argument('--attention', default='auto', choices=specs.ATTENTIONS)
    parser.add_argument('--methods', default='addsr-4,seesr-50,addsr-1', help='as `evaluate` takes them')
    parser.add_argument('--side', type=int, default=512, help='pixels of the result')
    parser.add_argument('--batch', default='1', help='pictures at once, several numbers with commas between')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--profile', type=Path, help='a folder for profiles')
    values = parser.parse_args()
    prepare()
    peak = chip_of(jax.devices()[0]).peak
    model = random_model(sizes.MODELS[values.size], values.attention)
    say(f'{jax.devices()[0].device_kind}, {values.size}, {values.side} pixels, attention {values.attention}')
    for name in values.methods.split(','):
        settings = parse_method(name, Settings())
        if settings is None:
            parser.error('bicubic needs no accelerator: name addsr-STEPS or seesr-STEPS')
        given = {name: getattr(settings, name) for name in ('method', 'steps', 'psr_weight', 'antithetic')}
        for batch in map(int, values.batch.split(',')):
            lq = jax.random.uniform(jax.random.key(1), (batch, values.side, values.side, 3), minval=-1)

            def restore(lq=lq, given=given) -> None:
                jax.block_until_ready(model.sample(lq, jax.random.key(0), **given))

            first, seconds = median_seconds(restore, 1), median_seconds(restore, values.repeats)
            traced = programs.sampler(values.size, name, values.side, batch, hardware.local()).trace()
            work = flops(traced.jaxpr) / len(jax.devices())  # the picture is one device's
            share = f', {work / seconds / peak:.1%} of the peak' if peak else ''
            say(
                f'{name:>12} at batch {batch}: {seconds / batch:7.4f} s a picture, {work / seconds / 1e12:.1f} TFLOP/s'
                f'{share}, first call {first:.0f} s, {memory(peak=True):.1f} GB at most'
            )
        if values.profile:
            with jax.profiler.trace(values.profile / name):
                restore()
            for line in slowest(values.profile / name):
                say(line)


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
