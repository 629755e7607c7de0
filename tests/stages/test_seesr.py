"""The teacher's stage."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import sharding, trees
from addsr_jax.diffusion import schedule
from addsr_jax.diffusion.denoiser import Denoiser
from addsr_jax.errors import UserError
from addsr_jax.stages import seesr as seesr_stage
from addsr_jax.weights import bundle as bundles
from configs import seesr
from tests import tiny
from tests.stages import toy
from tests.stages.common import bundle, empty_batch, first_key, loss_and_draw, run, stage
from tests.training.common import Step, assert_same_step, one_step

ABAR = schedule.alphas_cumprod(tiny.SPEC.schedule)
BATCH = tiny.batch(0, 4)
CHAIN = [249, 499, 749, 999]


@pytest.fixture(scope='module')
def learned():
    """(state, metrics) of 30 steps of the whole teacher."""
    state, _, metrics = run(stage('seesr'), bundle(), steps=30)
    return state, metrics


def test_losses_and_gradients_of_the_networks_do_not_depend_on_the_number_of_devices(monkeypatch):
    monkeypatch.setattr(sharding, 'SMALL', 256)
    state, _, (metrics,) = run(stage('seesr'), bundle())
    shared = one_step(stage('seesr'), tiny.bundle().params, BATCH, 'data:2,fsdp:2')
    assert_same_step(Step(state, metrics), shared)
    assert any(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(shared.state.params))


def losses(metrics):
    return [m['loss'] for m in metrics]


def test_the_loss_falls_on_one_batch(learned):
    _, metrics = learned
    assert np.mean(losses(metrics[-5:])) < np.mean(losses(metrics[:5]))


def test_the_first_loss_of_the_networks_is_the_denoising_of_hr_conditioned_on_lq_written_out(learned):
    chance = loss_and_draw('seesr')[1](first_key(), BATCH)
    teacher, t = Denoiser(tiny.networks(), 'teacher'), chance['timesteps']

    @jax.jit
    def answer(parts):
        text = teacher.embed_text(parts, BATCH['tokens'])
        condition = teacher.condition(parts, BATCH['lq'] / 2 + 0.5, text, clip_view=True)
        z0 = teacher.encode(parts, BATCH['hr'], chance['posterior'])
        signal, sigma = (jnp.sqrt(a)[:, None, None, None] for a in (ABAR[t], 1 - ABAR[t]))
        output = teacher.network_output(parts, signal * z0 + sigma * chance['noise'], t, condition)
        return output, signal * chance['noise'] - sigma * z0  # the tiny model predicts velocity

    output, velocity = answer(bundle())
    assert learned[1][0]['mse'] == pytest.approx(float(((output - velocity) ** 2).mean()), rel=1e-4)


def reference(trained):
    """The loss [B] of a first step, and its error, with z_t and the velocity written out."""
    _, draw = loss_and_draw('seesr')
    chance = draw(first_key(), BATCH)
    t = np.asarray(chance['timesteps'])
    signal, sigma = (np.sqrt(a)[:, None, None, None] for a in (ABAR[t], 1 - ABAR[t]))
    z0 = toy.pooled(BATCH['hr']) + 0.1 * chance['posterior']
    model, lq = toy.ToyDenoiser(tiny.networks(), 'teacher'), BATCH['lq'] / 2 + 0.5
    told = model.condition(trained, lq, model.embed_text(trained, BATCH['tokens']))
    output = model.network_output(trained, signal * z0 + sigma * chance['noise'], t, told)
    error = output - (signal * chance['noise'] - sigma * z0)
    return (error**2).mean(axis=(1, 2, 3)), error


def test_the_loss_is_the_square_error_of_the_velocity_told_the_low_quality_picture():
    made = toy.stage('seesr')
    first = toy.start(made)
    after, metrics = toy.run(made)
    loss, _ = reference(first.params)
    assert metrics['loss'] == pytest.approx(float(loss.mean()), rel=1e-5)
    assert metrics['mse'] == pytest.approx(float(loss.mean()), rel=1e-5)
    gradient = jax.grad(lambda p: reference(p)[0].mean())(first.params)
    for a, b, g in zip(*map(jax.tree.leaves, (after.params, first.params, gradient)), strict=True):
        assert float(jnp.abs(g).max()) > 0
        np.testing.assert_allclose(a, b - 0.1 * g, atol=1e-6)


def test_the_average_follows_the_teacher_by_a_tenth_at_first():
    made = toy.stage('seesr')
    first, (after, _) = toy.start(made), toy.run(made)
    for e, p0, p1 in zip(*map(jax.tree.leaves, (after.ema, first.params, after.params)), strict=True):
        np.testing.assert_allclose(e, p1 + (p0 - p1) / 10, atol=1e-7)


def test_micro_batches_equal_one_batch():
    (one, m1), (two, m2) = (toy.run(toy.stage('seesr', accumulate=m)) for m in (1, 2))
    assert m2 == pytest.approx(m1, rel=1e-5)
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(two.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6)


def drawn(batch, **changes):
    return loss_and_draw('seesr', **changes)[1](jax.random.key(3), batch)


def test_timesteps_are_uniform_over_all_thousand_where_none_are_preferred():
    counts = np.bincount(np.asarray(drawn(empty_batch(16384), late_timesteps=0.0)['timesteps']), minlength=1000)
    assert len(counts) == 1000  # none above 999
    assert counts.min() > 0  # 16.4 of each are expected
    np.testing.assert_allclose(counts.reshape(10, 100).sum(axis=1) / 16384, 0.1, atol=0.012)


@pytest.mark.parametrize('share', [0.3, 1.0])
def test_late_timesteps_are_a_share_of_the_four_of_the_student_equally_often(share):
    timesteps = np.asarray(drawn(empty_batch(4096), late_timesteps=share)['timesteps'])
    counts = np.array([(timesteps == t).sum() for t in CHAIN])
    assert counts.sum() / 4096 == pytest.approx(share + (1 - share) * 4 / 1000, abs=0.036)
    np.testing.assert_allclose(counts / counts.sum(), 0.25, atol=0.062)
    rest = timesteps[~np.isin(timesteps, CHAIN)]
    if len(rest):
        np.testing.assert_allclose(np.bincount(rest // 100, minlength=10) / len(rest), 0.1, atol=0.03)


def test_late_timesteps_change_what_is_learned():
    (_, a), (_, b) = (toy.run(toy.stage('seesr', **c)) for c in ({}, {'late_timesteps': 1.0}))
    assert a['loss'] != b['loss']


def test_noise_is_standard_normal_and_not_that_of_the_posterior():
    chance = drawn(empty_batch(4096))
    noise, posterior = (np.asarray(chance[name]).ravel() for name in ('noise', 'posterior'))
    for field in (noise, posterior):
        assert abs(field.mean()) < 0.02
        assert field.std() == pytest.approx(1, abs=0.015)
    assert abs(np.corrcoef(noise, posterior)[0, 1]) < 0.02


def test_samples_draw_the_same_whatever_the_batch_around_them():
    few, many = (drawn(empty_batch(n)) for n in (2, 8))
    for name in few:
        np.testing.assert_array_equal(few[name], many[name][:2])
    assert len(np.unique(np.asarray(many['noise'])[:, 0, 0, 0])) == 8


def test_huber_is_the_square_of_small_errors_and_a_multiple_of_large_ones():
    small, large = np.float32(1e-3), np.float32(30)
    assert seesr_stage.huber(small**2, 1.0) == pytest.approx(small**2, rel=1e-5)
    assert seesr_stage.huber(large**2, 0.1) == pytest.approx(2 * 0.1 * large, rel=0.01)
    assert seesr_stage.huber(large**2, 0.0) == large**2


def test_huber_changes_the_loss_and_not_the_reported_square():
    (_, square), (_, huber) = (toy.run(toy.stage('seesr', huber_c=c)) for c in (0.0, 0.03))
    assert square['loss'] == pytest.approx(square['mse'], rel=1e-5)
    assert huber['mse'] == pytest.approx(square['mse'], rel=1e-5)
    assert 0 < huber['loss'] < square['loss']
    _, error = reference(toy.start(toy.stage('seesr')).params)
    wanted = 2 * 0.03 * (np.sqrt(np.asarray(error, np.float64) ** 2 + 0.03**2) - 0.03)
    assert huber['loss'] == pytest.approx(wanted.mean(), rel=1e-4)
    with pytest.raises(UserError, match='huber_c'):
        stage('seesr', huber_c=-1.0)


@pytest.fixture(scope='module')
def published():
    """(stage, first state) of the published set of what is trained."""
    made = stage('seesr', trainable='image_attentions')
    return made, jax.jit(made.init)(jax.random.key(0), bundle())


def changed(state):
    """The state after training that moved every trained tensor by 1 and their averages by 1/2."""
    return dataclasses.replace(
        state, params=jax.tree.map(lambda x: x + 1, state.params), ema=jax.tree.map(lambda x: x + 0.5, state.ema)
    )


def test_only_what_is_named_is_trained_and_the_rest_is_exported_unchanged(published):
    made, state = published
    paths = list(trees.flatten(state.params['teacher']))
    assert all(p.startswith('controlnet/') or 'image_attentions' in p for p in paths)
    whole = trees.flatten(bundle()['teacher'])
    assert set(paths) == {p for p in whole if p.startswith('controlnet/') or 'image_attentions' in p}
    exported = trees.flatten(made.export(changed(state), bundle())['teacher'])
    before = trees.flatten(bundle()['teacher'])
    assert set(exported) == set(before)
    assert all((exported[p] == before[p]).all() for p in before if p not in paths)
    assert all((exported[p] == before[p] + 0.5).all() for p in paths)


def test_an_update_takes_the_published_set_and_keeps_its_structure(published):
    made, state = published
    after, _ = jax.eval_shape(made.update, state, made.freeze(bundle()), BATCH)
    assert jax.tree.structure(after) == jax.tree.structure(state)


def test_guidance_means_something_because_empty_text_is_learned_too():
    data = seesr.get_config('nano').to_dict()['data']
    assert data['null_text'] == 0.5
    assert data['degraded_target'] == 0.1


def test_a_teacher_may_start_from_stable_diffusions_own_unet():
    plain = trees.remove(bundle()['teacher']['unet'], ['.*image_attentions.*'])
    start = {**{k: v for k, v in bundle().items() if k not in ('teacher', 'student')}, 'unet': plain}
    made = stage('seesr', trainable='image_attentions')
    initial_parts = jax.jit(seesr_stage.initial_parts, static_argnums=0)
    parts = initial_parts(tiny.networks(), jax.random.key(0), start)
    unet, controlnet = (trees.flatten(parts['teacher'][name]) for name in ('unet', 'controlnet'))
    assert all((unet[p] == v).all() for p, v in trees.flatten(plain).items())
    shared = [p for p in controlnet if p in unet]
    assert any('image_attentions' in p for p in shared)
    new = {p: v for p, v in unet.items() if 'image_attentions' in p and p.endswith('to_q/kernel')}
    assert all(0.9 < np.abs(v).max() * v.shape[0] ** 0.5 <= 1 for v in new.values())  # as the original draws them
    assert all((controlnet[p] == unet[p]).all() for p in shared)
    assert all((v == 0).all() for p, v in controlnet.items() if p.startswith('controlnet_down_blocks'))

    state, frozen = jax.eval_shape(made.init, jax.random.key(0), start), made.freeze(start)
    after, _ = jax.eval_shape(made.update, state, frozen, BATCH)
    trained, rest = (set(trees.flatten(t)) for t in (after.params['teacher'], frozen['teacher']))
    assert trained | rest == set(trees.flatten(parts['teacher']))
    assert not trained & rest
    assert set(trees.flatten(made.export(after, start)['teacher'])) == trained | rest


def test_what_a_teacher_was_made_of_is_not_kept_beside_it(learned):
    whole = tiny.bundle()
    start = dataclasses.replace(whole, params={**whole.params, 'unet': bundle()['teacher']['unet']})
    merged = bundles.merged(start, stage('seesr').export(learned[0], bundle()), whole.spec, {})
    assert set(merged.params) == set(whole.params)
