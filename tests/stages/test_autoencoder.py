"""The autoencoder's stage."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import trees
from addsr_jax.errors import UserError
from addsr_jax.networks.build import apply
from tests import tiny
from tests.networks.test_perceptual import random_params
from tests.stages.common import bundle, empty_batch, first_key, loss_and_draw, run, stage

BATCH = tiny.batch(0, 4)
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # of ImageNet


def start():
    return {'prompt_extractor': bundle()['prompt_extractor']}


@jax.jit
def encoded(params, images):
    return apply(tiny.networks().autoencoder, params, images, method='encode')


@pytest.fixture(scope='module')
def learned():
    return run(stage('autoencoder'), start(), 20)


def test_the_loss_falls_and_the_posterior_starts_narrow(learned):
    state, _, metrics = learned
    assert metrics[-1]['loss'] < metrics[0]['loss']
    _, std = encoded(state.ema['autoencoder'], BATCH['hr'])
    assert float(std.mean()) < 0.05


def test_the_scaling_factor_makes_latents_of_unit_variance(learned):
    made = stage('autoencoder')
    state, frozen, _ = learned
    spec = made.spec_update(state, frozen, lambda: BATCH)
    mean, _ = encoded(state.ema['autoencoder'], BATCH['hr'])
    assert float(np.std(mean) * spec.autoencoder.scaling_factor) == pytest.approx(1, rel=1e-3)


def draws(batch):
    return loss_and_draw('autoencoder')[1](first_key(), batch)


@pytest.fixture(scope='module')
def terms():
    """{stages compared: (loss [B], metrics)} of a random autoencoder, whose posterior is wide."""
    made = {n: loss_and_draw('autoencoder', perceptual=10.0, kl=1.0, perceptual_stages=n)[0] for n in (1, 2)}
    samples = {'batch': BATCH, 'draws': draws(BATCH)}
    both = jax.jit(lambda trained, frozen: {n: loss(trained, frozen, samples) for n, loss in made.items()})
    return both({'autoencoder': bundle()['autoencoder']}, start())


@jax.jit
def features(images):
    """Both stages of the extractor, of images in [-1, 1] that have its own size."""
    seen = (images / 2 + 0.5 - MEAN) / STD
    return apply(tiny.networks().prompt_extractor, bundle()['prompt_extractor'], seen, 2, method='stages')


def test_every_term_is_its_formula_on_a_latent_drawn_from_the_posterior(terms):
    params = bundle()['autoencoder']
    mean, std = (np.asarray(x, np.float64) for x in encoded(params, BATCH['hr']))
    latents = jnp.asarray(mean + std * np.asarray(draws(BATCH)['posterior']), jnp.float32)
    x = np.asarray(jax.jit(lambda z: apply(tiny.networks().autoencoder, params, z, method='decode'))(latents))
    l1 = np.abs(x - BATCH['hr']).mean(axis=(1, 2, 3))
    # KL(N(mean, variance) || N(0, 1)) = (mean^2 + variance - 1 - log variance) / 2
    kl = ((mean**2 + std**2 - 1 - np.log(std**2)) / 2).mean(axis=(1, 2, 3))
    pairs = zip(features(x), features(BATCH['hr']), strict=True)
    distances = [np.abs(np.asarray(a) - b).reshape(4, -1).mean(axis=1) for a, b in pairs]
    assert np.abs(np.log(std)).max() > 0.1
    for stages, (loss, metrics) in terms.items():
        perceptual = np.sum(distances[:stages], axis=0)
        np.testing.assert_allclose(loss, l1 + 10 * perceptual + kl, rtol=1e-4)
        assert float(metrics['l1']) == pytest.approx(l1.mean(), rel=1e-4)
        assert float(metrics['kl']) == pytest.approx(kl.mean(), rel=1e-4)
        assert float(metrics['perceptual']) == pytest.approx(perceptual.mean(), rel=1e-4)
        psnr = 10 * np.log10(2**2 / ((x - BATCH['hr']) ** 2).mean())
        assert float(metrics['psnr']) == pytest.approx(psnr, abs=1e-3)


def test_the_loss_is_its_weighted_terms_and_more_stages_see_more(terms):
    few, more = ({**{k: float(v) for k, v in m.items()}, 'loss': float(loss.mean())} for loss, m in terms.values())
    for m in (few, more):
        assert m['loss'] == pytest.approx(m['l1'] + 10 * m['perceptual'] + m['kl'], rel=1e-5)
    assert few['perceptual'] > 0
    assert more['perceptual'] > few['perceptual']


def test_noise_of_the_posterior_is_standard_normal_and_each_samples_own():
    noise, few = (np.asarray(draws(empty_batch(n))['posterior']) for n in (4096, 2))
    assert abs(noise.mean()) < 0.02
    assert noise.std() == pytest.approx(1, abs=0.015)
    np.testing.assert_array_equal(noise[:2], few)
    assert len(np.unique(noise[:, 0, 0, 0])) > 0.99 * 4096


GUIDED = dataclasses.replace(
    tiny.SPEC, name='guided', autoencoder=dataclasses.replace(tiny.SPEC.autoencoder, guided_blocks=1)
)


def test_a_decoder_learns_for_latents_that_stay():
    start = {part: bundle(GUIDED)[part] for part in ('autoencoder', 'prompt_extractor')}
    made = stage('autoencoder', GUIDED, trainable='decoder', latent_noise=0.5)
    state, frozen, metrics = run(made, start, 8)
    before, after = trees.flatten(start['autoencoder']), trees.flatten(made.export(state, start)['autoencoder'])
    moved = {path for path in before if (before[path] != after[path]).any()}
    assert set(after) == set(before)
    assert moved == {path for path in before if path.startswith(('decoder/', 'post_quant_conv/'))}
    assert metrics[-1]['l1'] < metrics[0]['l1']
    assert (
        made.spec_update(state, frozen, lambda: BATCH) == GUIDED
    )  # the scaling factor is that of the latents, which stay


def test_a_decoder_of_no_autoencoder_is_refused_by_name():
    with pytest.raises(UserError, match=r'^stage autoencoder needs autoencoder, which --config\.weights does not hold'):
        stage('autoencoder', trainable='decoder').freeze(start())


def test_more_stages_than_the_extractor_has_or_the_pictures_have_room_for_are_refused():
    with pytest.raises(UserError, match=r'perceptual_stages 8: the prompt extractor of size \w+ has 2'):
        stage('autoencoder', perceptual_stages=8)
    made = stage('autoencoder', perceptual_stages=2)
    state = jax.eval_shape(lambda: made.init(jax.random.key(0), start()))
    small = {**BATCH, **{name: BATCH[name][:, :16, :16] for name in ('hr', 'lq')}}
    with pytest.raises(
        UserError, match=r'hr_size 16 is too small for 2 stages of the prompt extractor, which need \d+'
    ):
        jax.eval_shape(made.update, state, made.freeze(start()), small)


def test_noise_on_latents_has_a_deviation_of_each_picture_up_to_the_largest():
    _, draw = loss_and_draw('autoencoder', latent_noise=0.5)
    many = draw(first_key(), empty_batch(4096))
    deviation, noise = np.asarray(many['deviation']), np.asarray(many['noise'])
    assert deviation.shape == (4096,)
    np.testing.assert_allclose(np.quantile(deviation, (0, 0.25, 0.5, 0.75, 1)), (0, 0.25, 0.5, 0.75, 1), atol=0.03)
    assert noise.std() == pytest.approx(1, abs=0.015)
    assert abs(np.corrcoef(noise.ravel(), np.asarray(many['posterior']).ravel())[0, 1]) < 0.02
    assert set(loss_and_draw('autoencoder')[1](first_key(), empty_batch(2))) == {'posterior'}


def test_lpips_is_added_by_its_weight_and_told():
    params, batch = random_params('vgg'), tiny.batch(0, 2)
    plain, _ = loss_and_draw('autoencoder')
    weighed, draw = loss_and_draw('autoencoder', lpips_weight=0.3)
    samples, trained = {'batch': batch, 'draws': draw(first_key(), batch)}, {'autoencoder': bundle()['autoencoder']}
    frozen = {**start(), 'lpips': params}
    both = jax.jit(lambda: (plain(trained, frozen, samples), weighed(trained, frozen, samples)))
    (before, _), (after, told) = both()
    assert float(told['lpips']) > 0
    assert float((after - before).mean()) == pytest.approx(0.3 * float(told['lpips']), rel=1e-3)
    assert stage('autoencoder', lpips_weight=0.3).distances == ('lpips',)
    assert stage('autoencoder').distances == ()
