"""The teacher's stage."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import trees
from addsr_jax.diffusion.denoiser import Denoiser
from addsr_jax.errors import UserError
from addsr_jax.stages import base
from addsr_jax.stages import seesr as seesr_stage
from addsr_jax.weights import bundle as bundles
from configs import seesr
from tests import tiny
from tests.stages.common import bundle, run, stage


def losses(metrics):
    return [m['loss'] for m in metrics]


def test_the_loss_falls_on_one_batch():
    _, _, metrics = run(stage('seesr'), bundle(), steps=30)
    assert np.mean(losses(metrics[-5:])) < np.mean(losses(metrics[:5]))


def test_micro_batches_equal_one_batch():
    (one, _, _), (two, _, _) = (run(stage('seesr', accumulate=m), bundle()) for m in (1, 2))
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(two.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6)


def test_late_timesteps_change_what_is_learned():
    (_, _, a), (_, _, b) = (run(stage('seesr', **c), bundle()) for c in ({}, {'late_timesteps': 1.0}))
    assert losses(a) != losses(b)


def test_the_loss_is_the_denoising_of_hr_conditioned_on_lq_written_out():
    batch, parts = tiny.batch(0, 4), bundle()
    _, _, (metrics,) = run(stage('seesr', late_timesteps=0.0), parts)
    teacher, key = Denoiser(tiny.networks(), 'teacher'), jax.random.fold_in(jax.random.key(0), 0)
    t = base.per_sample(key, 'timestep', 4, lambda k: jax.random.randint(k, (), 0, 1000))
    noise, posterior = (
        base.per_sample(key, name, 4, lambda k: jax.random.normal(k, (8, 8, 4))) for name in ('noise', 'posterior')
    )

    @jax.jit
    def answer(parts):
        text = teacher.embed_text(parts, batch['tokens'])
        condition = teacher.condition(parts, batch['lq'] / 2 + 0.5, text, clip_view=True)
        z0 = teacher.encode(parts, batch['hr'], posterior)
        signal = jnp.sqrt(teacher.abar[t]).reshape(4, 1, 1, 1)
        sigma = jnp.sqrt(1 - teacher.abar[t]).reshape(4, 1, 1, 1)
        output = teacher.network_output(parts, signal * z0 + sigma * noise, t, condition)
        return output, signal * noise - sigma * z0  # the tiny model predicts velocity

    output, velocity = answer(parts)
    assert metrics['mse'] == pytest.approx(float(((output - velocity) ** 2).mean()), rel=1e-4)


def test_late_timesteps_are_the_students_four_as_often_as_is_said():
    made = stage('seesr', late_timesteps=0.3)
    draw = made.update.__closure__  # the stage's own draws, through its update's arguments
    assert draw is not None
    draws = next(c.cell_contents for c in draw if getattr(c.cell_contents, '__name__', '') == 'draw')
    times = np.asarray(jax.jit(draws)(jax.random.key(3), {'hr': jnp.zeros((4000, 8, 8, 3))})['timesteps'])
    share = np.isin(times, (999, 749, 499, 249)).mean()
    assert share == pytest.approx(0.3 + 0.7 * 0.004, abs=0.04)
    rest = times[~np.isin(times, (999, 749, 499, 249))]
    assert np.abs(np.bincount(rest // 100, minlength=10) / len(rest) - 0.1).max() < 0.03


def test_huber_is_the_square_of_small_errors_and_a_multiple_of_large_ones():
    small, large = np.float32(1e-3), np.float32(30)
    assert seesr_stage.huber(small**2, 1.0) == pytest.approx(small**2, rel=1e-5)
    assert seesr_stage.huber(large**2, 0.1) == pytest.approx(2 * 0.1 * large, rel=0.01)
    assert seesr_stage.huber(large**2, 0.0) == large**2


def test_huber_changes_the_loss_and_not_the_reported_square():
    (_, _, square), (_, _, huber) = (run(stage('seesr', huber_c=c), bundle(), 1) for c in (0.0, 0.03))
    assert square[0]['loss'] == pytest.approx(square[0]['mse'], rel=1e-5)
    assert huber[0]['mse'] == pytest.approx(square[0]['mse'], rel=1e-5)
    assert 0 < huber[0]['loss'] < square[0]['loss']
    with pytest.raises(UserError, match='huber_c'):
        stage('seesr', huber_c=-1.0)


def test_only_what_is_named_is_trained_and_the_rest_is_exported_unchanged():
    made = stage('seesr', trainable='image_attentions')
    state, _, _ = run(made, bundle())
    paths = list(trees.flatten(state.params['teacher']))
    assert all(p.startswith('controlnet/') or 'image_attentions' in p for p in paths)
    exported = trees.flatten(made.export(state, bundle())['teacher'])
    before = trees.flatten(bundle()['teacher'])
    assert set(exported) == set(before)
    assert all((exported[p] == before[p]).all() for p in before if p not in paths)


def test_guidance_means_something_because_empty_text_is_learned_too():
    config = seesr.get_config('nano')
    assert config.data.null_text == 0.5
    assert config.data.degraded_target == 0.1


def test_a_teacher_may_start_from_stable_diffusions_own_unet():
    plain = trees.remove(bundle()['teacher']['unet'], ['.*image_attentions.*'])
    start = {**{k: v for k, v in bundle().items() if k not in ('teacher', 'student')}, 'unet': plain}
    made = stage('seesr', trainable='image_attentions')
    parts = seesr_stage.initial_parts(tiny.networks(), jax.random.key(0), start)
    unet, controlnet = (trees.flatten(parts['teacher'][name]) for name in ('unet', 'controlnet'))
    assert all((unet[p] == v).all() for p, v in trees.flatten(plain).items())
    shared = [p for p in controlnet if p in unet]
    assert any('image_attentions' in p for p in shared)
    new = {p: v for p, v in unet.items() if 'image_attentions' in p and p.endswith('to_q/kernel')}
    assert all(0.9 < np.abs(v).max() * v.shape[0] ** 0.5 <= 1 for v in new.values())  # as the original draws them
    assert all((controlnet[p] == unet[p]).all() for p in shared)
    assert all((v == 0).all() for p, v in controlnet.items() if p.startswith('controlnet_down_blocks'))

    state, frozen, _ = run(made, start)
    trained, rest = (set(trees.flatten(t)) for t in (state.params['teacher'], frozen['teacher']))
    assert trained | rest == set(trees.flatten(parts['teacher']))
    assert not trained & rest
    assert set(trees.flatten(made.export(state, start)['teacher'])) == trained | rest


def test_what_a_teacher_was_made_of_is_not_kept_beside_it():
    whole = tiny.bundle()
    start = dataclasses.replace(whole, params={**whole.params, 'unet': bundle()['teacher']['unet']})
    state, _, _ = run(stage('seesr'), bundle())
    merged = bundles.merged(start, stage('seesr').export(state, bundle()), whole.spec, {})
    assert set(merged.params) == set(whole.params)
