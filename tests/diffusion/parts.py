"""Samplers network by network: programs that samplings of a shape share, and that compile sooner than a whole one."""

from contextlib import contextmanager
from unittest import mock

import jax
import jax.numpy as jnp

from addsr_jax.diffusion.denoiser import Denoiser
from addsr_jax.restoration import program

OWN = {
    name: jax.jit(getattr(Denoiser, name), static_argnums=0)
    for name in ('network_output', 'encode', 'decode', 'embed_text')
} | {'embed_image': jax.jit(Denoiser.embed_image, static_argnums=0, static_argnames='clip_view')}
PARTS = {
    'encode': 'autoencoder',
    'decode': 'autoencoder',
    'embed_text': 'text_encoder',
    'embed_image': 'prompt_extractor',
}


def answer(self, params, latents, timesteps, conditioning, conditioning_scale=1.0):
    """Student and teacher share a program, as do windows of one size and whole pictures of that size."""
    told = (latents, timesteps, conditioning, jnp.float32(conditioning_scale))
    return OWN['network_output'](Denoiser(self.networks), {'student': params[self.part]}, *told)


def one_by_one(self, params, latents, timesteps, conditioning, conditioning_scale=1.0):
    """With and without guidance share the program of one picture."""
    told = (latents, timesteps, conditioning)
    pictures = (jax.tree.map(lambda x, i=i: x[i : i + 1], told) for i in range(len(latents)))
    return jnp.concatenate([answer(self, params, *picture, conditioning_scale) for picture in pictures])


def shared(name, part, self, params, *arrays, **options):
    """The program `name` of all; it takes no more than its own `part`."""
    return OWN[name](Denoiser(self.networks), {part: params[part]}, *arrays, **options)


scan, one_program = jax.lax.scan, program.jitted


def loop(step, carry, xs, **options):
    """`jax.lax.scan` step by step, but for those inside networks, which have options and outputs."""
    if options:
        return scan(step, carry, xs, **options)
    for i in range(len(jax.tree.leaves(xs)[0])):
        carry, _ = step(carry, jax.tree.map(lambda x, i=i: x[i], xs))
    return carry, None


@contextmanager
def programs(answer=answer):
    """Methods of `Denoiser` that are programs each."""

    def method(name, part):
        return lambda self, *arrays, **options: shared(name, part, self, *arrays, **options)

    with mock.patch.multiple(Denoiser, network_output=answer, **{n: method(n, part) for n, part in PARTS.items()}):
        yield


@contextmanager
def stepwise(answer=answer):
    """Samplers that take their steps one after the other, with a program for each network."""
    with programs(answer), mock.patch.object(jax.lax, 'scan', loop):
        yield


def jitted(networks, sampling, mesh, answer=answer):
    """In place of `program.jitted`, which is one program."""
    run = one_program(networks, sampling, mesh).__wrapped__

    def called(*arguments):
        with stepwise(answer):
            return run(*arguments)

    return called
