"""The autoencoder's stage."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax.networks.build import apply
from addsr_jax.networks.prompt_extractor import normalise
from addsr_jax.stages import base
from tests import tiny
from tests.stages.common import bundle, run, stage


def start():
    return {'prompt_extractor': bundle()['prompt_extractor']}


def test_the_loss_falls_and_the_posterior_starts_narrow():
    state, _, metrics = run(stage('autoencoder'), start(), 20)
    assert metrics[-1]['loss'] < metrics[0]['loss']
    _, std = apply(tiny.networks().autoencoder, state.ema['autoencoder'], tiny.batch(0, 4)['hr'], method='encode')
    assert float(std.mean()) < 0.05


def test_every_term_is_the_formula_written_out():
    made, hr = stage('autoencoder'), tiny.batch(0, 4)['hr']
    state = made.init(jax.random.key(0), start())
    _, frozen, (metrics,) = run(made, start())
    key = jax.random.fold_in(jax.random.key(0), 0)
    noise = base.per_sample(key, 'noise', 4, lambda k: jax.random.normal(k, (8, 8, 4)))

    @jax.jit
    def network(params):
        mean, std = apply(tiny.networks().autoencoder, params, hr, method='encode')
        return mean, std, apply(tiny.networks().autoencoder, params, mean + std * noise, method='decode')

    @jax.jit
    def features(pictures):
        view = normalise(pictures / 2 + 0.5)
        return apply(tiny.networks().prompt_extractor, frozen['prompt_extractor'], view, 1, method='stages')

    mean, std, x = (np.asarray(a, np.float64) for a in network(state.params['autoencoder']))
    kl = 0.5 * (mean**2 + std**2 - 1 - np.log(std**2))  # of N(mean, std^2) from N(0, 1)
    assert (kl >= 0).all()
    assert metrics['kl'] == pytest.approx(kl.mean(), rel=1e-4)
    assert metrics['l1'] == pytest.approx(np.abs(x - hr).mean(), rel=1e-4)
    assert metrics['psnr'] == pytest.approx(10 * np.log10(4 / ((x - hr) ** 2).mean()), rel=1e-4)
    pairs = zip(features(x.astype(np.float32)), features(hr), strict=True)
    assert metrics['perceptual'] == pytest.approx(sum(float(jnp.abs(a - b).mean()) for a, b in pairs), rel=1e-3)


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
