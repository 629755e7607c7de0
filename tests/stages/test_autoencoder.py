"""The autoencoder's stage."""

import jax
import numpy as np
import pytest

from addsr_jax.networks.build import apply
from tests import tiny
from tests.stages.common import stage


@pytest.fixture(scope='module')
def bundle():
    return tiny.on_device({'prompt_extractor': tiny.bundle().params['prompt_extractor']})


def run(made, bundle, steps):
    state, frozen = jax.jit(made.init)(jax.random.key(0), bundle), made.freeze(bundle)
    update, metrics = jax.jit(made.update), []
    for _ in range(steps):
        state, m = update(state, frozen, tiny.batch(0, 4))
        metrics.append({k: float(v) for k, v in m.items()})
    return state, frozen, metrics


def test_the_loss_falls_and_the_posterior_starts_narrow(bundle):
    made = stage('autoencoder')
    state, _frozen, metrics = run(made, bundle, 20)
    assert metrics[-1]['loss'] < metrics[0]['loss']
    _, std = apply(tiny.networks().autoencoder, state.ema, tiny.batch(0, 4)['hr'], method='encode')
    assert float(std.mean()) < 0.05


def test_the_scaling_factor_makes_latents_of_unit_variance(bundle):
    made = stage('autoencoder')
    state, frozen, _ = run(made, bundle, 1)
    batch = tiny.batch(0, 4)
    spec = made.spec_update(state, frozen, batch)
    mean, _ = apply(tiny.networks().autoencoder, state.ema, batch['hr'], method='encode')
    assert float(np.std(mean) * spec.autoencoder.scaling_factor) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize(('key', 'value'), [('perceptual', 10.0), ('kl', 1.0), ('perceptual_stages', 2)])
def test_every_weight_changes_the_loss(bundle, key, value):
    plain, changed = (run(stage('autoencoder', **c), bundle, 1)[2][0]['loss'] for c in ({}, {key: value}))
    assert plain != changed
