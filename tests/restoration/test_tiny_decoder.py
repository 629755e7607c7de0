"""The small decoder: it draws what it is asked to draw, and nothing else of a picture changes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import sharding
from addsr_jax.errors import UserError
from addsr_jax.networks.build import build
from addsr_jax.restoration import pipeline
from addsr_jax.restoration.settings import Settings
from addsr_jax.specs import TinyDecoderSpec
from tests import tiny

LQ = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)


@pytest.fixture(scope='module')
def model():
    spec = dataclasses.replace(tiny.LEAST, tiny_decoder=TinyDecoderSpec(channels=8, blocks=(1, 1, 1)))
    own = tiny.bundle(tiny.LEAST)
    params = {**own.params, 'tiny_decoder': build(spec).initial('tiny_decoder', jax.random.key(5))}
    mesh = sharding.make_mesh('data:1', jax.devices()[:1])
    return pipeline.built(dataclasses.replace(own, spec=spec, params=params), mesh, jnp.float32)


def drawn(model, **settings):
    return np.asarray(model.sample(LQ, jax.random.key(3), **settings))


def test_before_the_last_step_it_changes_what_the_next_step_looks_at(model):
    apart = {weight: drawn(model, steps=2, psr_weight=weight) for weight in (0.0, 0.5)}
    found = {weight: drawn(model, steps=2, psr_weight=weight, tiny_decoder='steps') for weight in (0.0, 0.5)}
    np.testing.assert_allclose(found[0.0], apart[0.0], atol=1e-6)  # no step looks at the last prediction
    assert np.abs(found[0.5] - apart[0.5]).max() > 1e-4


@pytest.mark.parametrize('method', [{'steps': 1}, {'method': 'seesr', 'steps': 2}], ids=['one step', 'teacher'])
def test_where_nothing_comes_before_the_last_picture_steps_is_none(model, method):
    np.testing.assert_array_equal(drawn(model, **method, tiny_decoder='steps'), drawn(model, **method))


@pytest.mark.parametrize('method', [{'steps': 1}, {'method': 'seesr', 'steps': 2}], ids=['student', 'teacher'])
def test_all_pictures_of_it_differ_and_are_pictures(model, method):
    found = drawn(model, **method, tiny_decoder='all')
    assert found.shape == LQ.shape
    assert np.abs(found).max() <= 1
    assert np.abs(found - drawn(model, **method)).max() > 1e-3


def test_each_step_that_is_looked_at_is_drawn_by_the_whole_decoder(model):
    settings = [Settings(steps=2, tile=0, tiny_decoder=kind) for kind in ('none', 'all')]
    noise = np.random.default_rng(1).normal(size=(1, 3, 16, 16, 4)).astype(np.float32)
    words = model.words(settings[0])[None]
    shown = [list(model._sample_steps(lambda: (LQ, noise, words, None), chosen)) for chosen in settings]
    for whole, asked in zip(*shown, strict=True):
        np.testing.assert_array_equal(whole, asked)


def test_weights_without_it_say_how_it_gets_there():
    mesh = sharding.make_mesh('data:1', jax.devices()[:1])
    plain = pipeline.built(tiny.bundle(tiny.LEAST), mesh, jnp.float32)
    with pytest.raises(UserError, match=r'hold no tiny decoder: .*--tiny_decoder taesd_decoder'):
        drawn(plain, steps=2, tiny_decoder='all')


def test_it_has_no_tiles_of_its_own():
    with pytest.raises(UserError, match='draws whole tiles: leave out decoder_tile, or tiny_decoder'):
        Settings(tile=0, decoder_tile=32, tiny_decoder='all')
    assert Settings(tile=0, tiny_decoder='steps').in_less_memory() is None
