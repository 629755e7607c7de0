"""The autoencoder's stage."""

import numpy as np
import pytest

from addsr_jax.networks.build import apply
from tests import tiny
from tests.stages.common import bundle, run, stage


def start():
    return {'prompt_extractor': bundle()['prompt_extractor']}


def test_the_loss_falls_and_the_posterior_starts_narrow():
    state, _, metrics = run(stage('autoencoder'), start(), 20)
    assert metrics[-1]['loss'] < metrics[0]['loss']
    _, std = apply(tiny.networks().autoencoder, state.ema['autoencoder'], tiny.batch(0, 4)['hr'], method='encode')
    assert float(std.mean()) < 0.05


def test_the_scaling_factor_makes_latents_of_unit_variance():
    made, batch = stage('autoencoder'), tiny.batch(0, 4)
    state, frozen, _ = run(made, start())
    spec = made.spec_update(state, frozen, batch)
    mean, _ = apply(tiny.networks().autoencoder, state.ema['autoencoder'], batch['hr'], method='encode')
    assert float(np.std(mean) * spec.autoencoder.scaling_factor) == pytest.approx(1, rel=1e-3)


def test_the_loss_is_its_weighted_terms_and_more_stages_see_more():
    few, more = (
        run(stage('autoencoder', perceptual=10.0, kl=1.0, perceptual_stages=stages), start())[2][0] for stages in (1, 2)
    )
    for m in (few, more):
        assert m['loss'] == pytest.approx(m['l1'] + 10 * m['perceptual'] + m['kl'], rel=1e-5)
    assert few['perceptual'] > 0
    assert more['perceptual'] > few['perceptual']
