"""The stage of the small decoder: it learns the decoder's pictures, and changes nothing else."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import trees
from addsr_jax.diffusion.denoiser import Denoiser
from addsr_jax.errors import UserError
from addsr_jax.networks.build import apply, build
from addsr_jax.specs import TinyDecoderSpec
from tests import tiny
from tests.networks.test_perceptual import random_params
from tests.stages.common import bundle, first_key, loss_and_draw, run, stage

SIZE: Any = {'channels': 8, 'blocks': (1, 1, 1)}
BATCH = tiny.batch(0, 4)


def start():
    return {'autoencoder': bundle()['autoencoder']}


@pytest.fixture(scope='module')
def learned():
    return run(stage('tiny_decoder', **SIZE), start(), 20)


def test_it_learns_and_the_autoencoder_stays(learned):
    made, (state, frozen, metrics) = stage('tiny_decoder', **SIZE), learned
    assert metrics[-1]['l1'] < 0.8 * metrics[0]['l1']
    assert set(state.params) == set(made.export(state, start())) == {'tiny_decoder'}
    for path, value in trees.flatten(start()['autoencoder']).items():
        np.testing.assert_array_equal(trees.flatten(frozen['autoencoder'])[path], value)


def test_what_it_leaves_opens_as_a_model_with_a_small_decoder(learned):
    made, (state, frozen, _) = stage('tiny_decoder', **SIZE), learned
    spec = made.spec_update(state, frozen, lambda: BATCH)
    assert spec == dataclasses.replace(tiny.SPEC, tiny_decoder=TinyDecoderSpec(**SIZE))
    shown = made.preview(state, frozen, BATCH)
    drawn = Denoiser(build(spec)).decode_tiny({**frozen, **made.export(state, start())}, latents(frozen, 0.0))
    np.testing.assert_allclose(shown['tiny_decoder'], drawn, atol=1e-5)


def latents(frozen, noise):
    return Denoiser(tiny.networks()).encode(frozen, BATCH['hr'], jnp.asarray(noise))


def test_the_loss_is_the_distance_of_its_pictures_from_the_decoders_of_the_same_latents():
    loss, draw = loss_and_draw('tiny_decoder', latent_noise=0.5, **SIZE)
    weighed, _ = loss_and_draw('tiny_decoder', latent_noise=0.5, lpips_weight=0.3, **SIZE)
    draws = {**draw(first_key(), BATCH), 'corners': jnp.zeros((4, 2), jnp.int32)}
    begun = stage('tiny_decoder', **SIZE).init(jax.random.key(1), start()).params
    frozen, samples = {**start(), 'lpips': random_params('vgg')}, {'batch': BATCH, 'draws': draws}
    z = latents(frozen, draws['posterior']) + 0.5 * draws['deviation'][:, None, None, None] * draws['noise']
    wanted = Denoiser(tiny.networks()).decode(frozen, z, BATCH['lq'])
    decoder = build(stage('tiny_decoder', **SIZE).spec_update(None, None, None)).tiny_decoder
    x = np.asarray(apply(decoder, begun['tiny_decoder'], z))
    found, told = loss(begun, frozen, samples)
    np.testing.assert_allclose(found, np.abs(x - wanted).mean(axis=(1, 2, 3)), rtol=1e-4)
    assert float(told['psnr']) == pytest.approx(10 * np.log10(4 / ((x - wanted) ** 2).mean()), abs=1e-3)
    both, more = weighed(begun, frozen, samples)
    assert float((both - found).mean()) == pytest.approx(0.3 * float(more['lpips']), rel=1e-3)
    assert float(more['lpips']) > 0


def test_it_learns_on_from_the_one_that_the_weights_hold_and_refuses_another(learned):
    made = stage('tiny_decoder', **SIZE)
    held = {**start(), **made.export(learned[0], start())}
    spec = made.spec_update(None, None, None)
    begun = stage('tiny_decoder', spec, **SIZE).init(jax.random.key(0), held).params['tiny_decoder']
    for path, value in trees.flatten(held['tiny_decoder']).items():
        np.testing.assert_array_equal(trees.flatten(begun)[path], value)
    with pytest.raises(UserError, match=r'a tiny decoder of 8 channels and blocks \(1, 1, 1\): set'):
        stage('tiny_decoder', spec, **{**SIZE, 'channels': 16}).init(jax.random.key(0), held)


def test_pictures_of_another_size_than_the_autoencoders_are_refused():
    with pytest.raises(UserError, match='pixels per latent of tiny_decoder 8 is not'):
        stage('tiny_decoder', **{**SIZE, 'blocks': (1, 1, 1, 1)})
