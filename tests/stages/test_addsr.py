"""The student's stage: the order of its players, its switches, and that batches may be split."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from addsr_jax import trees
from addsr_jax.diffusion import schedule
from addsr_jax.errors import UserError
from addsr_jax.stages.addsr import Heads, Prediction, make_losses
from addsr_jax.stages.addsr_draws import draw
from addsr_jax.stages.addsr_objective import distillation_weight, released, step_index
from addsr_jax.stages.base import Optimizers, Recipe
from tests import tiny
from tests.stages.common import bundle, objective, run, stage, update

ABAR = schedule.alphas_cumprod(tiny.SPEC.schedule)
NO_OPTIMIZERS = Optimizers(optax.identity(), optax.identity())
# switches of what precedes the graded step, and what of it they change
PREPARED = {
    'second_step_latent': ('hr', 'z_s'),
    'psr_range': ('signed', 'student'),
    'psr_train': (0.3, 'student'),
    'teacher_condition': ('lq', 'teacher'),
}


@pytest.fixture(scope='module')
def plain():
    state, _, (metrics,) = run(stage('addsr'), bundle())
    return state, metrics


def test_a_step_reports_every_term_and_moves_both_players(plain):
    state, metrics = plain
    assert {'distill', 'adversarial', 'd_loss', 'loss', 'gradient_norm', 'd_gradient_norm'} <= set(metrics)
    assert all(np.isfinite(v) for v in metrics.values())
    start = stage('addsr').init(jax.random.key(0), bundle())
    for before, after in (
        (start.params, state.params),
        (start.discriminator['params'], state.discriminator['params']),
    ):
        moved = jax.tree.map(lambda a, b: bool((a != b).any()), before, after)
        assert np.mean(jax.tree.leaves(moved)) > 0.8
    assert int(state.step) == 1


def test_loss_is_distillation_plus_a_share_of_the_adversarial_term(plain):
    _, m = plain
    assert m['loss'] == pytest.approx(m['distill'] + objective('addsr').adversarial_weight * m['adversarial'], rel=1e-5)


def prepared(**changes):
    """(losses, sample): a batch of which the last samples take two steps."""
    made, batch = objective('addsr', **changes), tiny.batch(0, 4)
    recipe = Recipe(tiny.SPEC, NO_OPTIMIZERS, ema=0.0, seed=0, accumulate=1, dtype=jnp.float32)
    losses = make_losses(recipe, made)
    draws = dataclasses.replace(
        draw(jax.random.key(0), tiny.SPEC, made, batch), one_step=jnp.array([True, False, False, False])
    )
    trained = {'student': bundle()['teacher']}
    return losses, jax.jit(losses.prepare)(trained, bundle(), batch, draws)


@pytest.fixture(scope='module')
def paper():
    return prepared()


@pytest.mark.parametrize('switch', PREPARED)
def test_switches_of_refinement_change_the_second_step_and_leave_the_rest(paper, switch):
    value, changed = PREPARED[switch]
    other = prepared(**{switch: value})[1]
    for name in ('s', 'p', 'z_s', 'student', 'teacher', 'lq'):
        pairs = zip(*(jax.tree.leaves(getattr(s, name)) for s in (paper[1], other)), strict=True)
        assert any(bool(jnp.abs(a - b).max() > 1e-5) for a, b in pairs) == (name == changed), name


def test_refinement_leaves_samples_of_one_step_alone(paper):
    _, sample = paper
    np.testing.assert_allclose(sample.student.image[0], sample.lq.image[0], atol=1e-6)
    assert float(jnp.abs(sample.student.image[1:] - sample.lq.image[1:]).max()) > 0.01
    assert sample.s[0] == objective('addsr').timesteps[0]
    assert sample.s[1:].tolist() == [objective('addsr').timesteps[i + 1] for i in sample.draws.chain_start[1:]]


def test_a_second_step_starts_from_the_prediction_of_the_first_under_fresh_noise(paper):
    losses, sample = paper
    params = {**bundle(), 'student': bundle()['teacher']}
    model, d, o = losses.student_model, sample.draws, losses.objective

    @jax.jit
    def first_prediction(params):
        s = jnp.asarray(o.timesteps)[d.chain_start]
        z_first = model.add_noise(model.encode(params, sample.batch['hr'], d.posterior), d.first_noise, s)
        z0 = model.predict_z0(params, z_first, s, sample.lq)
        return z0, model.decode(params, z0) / 2 + 0.5

    z0, x = first_prediction(params)
    signal = np.sqrt(ABAR[np.asarray(sample.s)]).reshape(-1, 1, 1, 1)
    sigma = np.sqrt(1 - ABAR[np.asarray(sample.s)]).reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(sample.z_s[1:], (signal * z0 + sigma * d.noise)[1:], atol=2e-4)
    np.testing.assert_allclose(sample.student.image[1:], x[1:], atol=2e-4)  # and it is the next condition


def test_the_moving_average_follows_the_student(plain):
    state, _ = plain
    start = trees.flatten(stage('addsr').init(jax.random.key(0), bundle()).params)
    now, average = trees.flatten(state.params), trees.flatten(state.ema)
    moved = 0.0
    for path, value in average.items():  # decay of the first step: (1 + 0) / (10 + 0)
        np.testing.assert_allclose(value, 0.1 * start[path] + 0.9 * now[path], atol=1e-6)
        moved = max(moved, float(jnp.abs(now[path] - start[path]).max()))
    assert moved > 1e-4
    exported = stage('addsr').export(state, bundle())['student']
    assert all((value == average[f'student/{path}']).all() for path, value in trees.flatten(exported).items())


def test_low_rank_adapters_alone_are_trained_and_the_result_is_exported_merged():
    made = stage('addsr', trainable='lora', lora_rank=2, lora_alpha=4.0)
    state = made.init(jax.random.key(0), bundle())
    paths = list(trees.flatten(state.params))
    assert all(path.endswith(('lora_A', 'lora_B')) and 'attentions' in path for path in paths)
    assert any(path.startswith('student/controlnet') for path in paths)
    same = trees.flatten(made.export(state, bundle())['student'])
    assert all((same[p] == v).all() for p, v in trees.flatten(bundle()['teacher']).items())  # fresh: a no-op
    moved = dataclasses.replace(state, ema=jax.tree.map(lambda x: x + 0.1, state.ema))
    exported = trees.flatten(made.export(moved, bundle())['student'])
    assert made.adapters is not None
    factors = trees.flatten(made.adapters(moved))
    for path, base in trees.flatten(bundle()['teacher']).items():
        layer = path.removesuffix('/kernel')
        if f'{layer}/lora_A' in factors:
            wanted = base + (factors[f'{layer}/lora_B'] @ factors[f'{layer}/lora_A']).T  # the scale is inside B
            np.testing.assert_allclose(exported[path], wanted, atol=1e-6)
        else:
            np.testing.assert_array_equal(exported[path], base)
    frozen = made.freeze(bundle())
    assert 'student' not in frozen  # its other tensors are the teacher's, held once


def test_a_new_loss_is_one_row(paper):
    losses, _ = paper
    assert [weight for weight, _ in losses.terms] == [1.0, losses.objective.adversarial_weight]


def test_the_weighting_switches_change_the_distillation_by_their_closed_form(paper):
    _, sample = paper
    prediction = Prediction(tiny.batch(1, 4)['hr'], jnp.zeros_like(sample.z_s))
    draws = dataclasses.replace(sample.draws, teacher_timesteps=sample.draws.teacher_timesteps[:, :1])
    draws = dataclasses.replace(draws, teacher_noise=draws.teacher_noise[:, :1])

    def distillation(**changes):
        losses = dataclasses.replace(paper[0], objective=objective('addsr', **changes))
        p = step_index(losses.objective, draws.one_step, draws.chain_start)
        told = dataclasses.replace(sample, draws=draws, p=p)
        loss = jax.jit(losses.distillation)(prediction, Heads({}, {}), told)[0]
        return losses.objective, p, np.asarray(loss)

    made, p, loss = distillation()
    t = draws.teacher_timesteps[:, 0]
    for changes in ({'ta_index': 'first_step'}, {'ta_form': 'constant'}, {'ta_form': 'linear'}):
        other, q, changed = distillation(**changes)
        ratio = distillation_weight(other, ABAR, q, t) / distillation_weight(made, ABAR, p, t)
        np.testing.assert_allclose(changed, loss * ratio, rtol=1e-4)
        assert np.abs(changed / loss - 1).max() > 0.1


def test_the_switches_of_chance_change_the_draws():
    def drawn(**changes):
        return draw(jax.random.key(3), tiny.SPEC, objective('addsr', **changes), tiny.batch(0, 8))

    base = drawn()
    assert 0 < int(base.one_step.sum()) < 8
    assert int(drawn(branch='per_batch').one_step.sum()) in (0, 8)
    assert float(jnp.abs(base.noise - base.first_noise).max()) > 0.1
    shared = drawn(noise='shared')
    for field in (shared.first_noise, *shared.teacher_noise.swapaxes(0, 1)):
        np.testing.assert_array_equal(field, shared.noise)
    assert drawn(teacher_samples=3).teacher_timesteps.shape == (8, 3)
    assert drawn(one_step_probability=1.0).one_step.all()


def test_a_student_may_start_from_a_student_and_trains_only_what_is_named():
    key = jax.random.key(0)
    for start in ('teacher', 'student'):
        state = stage('addsr', start=start).init(key, bundle())
        first, wanted = trees.flatten(state.params['student']), trees.flatten(bundle()[start])
        assert all((first[p] == wanted[p]).all() for p in wanted)
    paths = list(trees.flatten(stage('addsr', trainable='image_attentions').init(key, bundle()).params['student']))
    assert paths
    assert all('image_attentions' in p or 'controlnet_cond_embedding' in p for p in paths)


def test_the_leak_of_the_published_code_and_its_power_iterations_reach_the_discriminator(plain):
    made = stage('addsr', d_grad_leak=True, spectral_steps=3)
    state, frozen, (metrics,) = run(made, bundle())
    assert metrics['d_loss'] != plain[1]['d_loss']  # the second look sees vectors of one more iteration
    a, b = (trees.flatten(s.discriminator['spectral']) for s in (state, plain[0]))
    assert any((np.abs(a[k] - b[k]) > 1e-4).any() for k in a)

    leak = state.discriminator['leak']
    assert all(float(jnp.abs(g).max()) > 0 for g in jax.tree.leaves(leak))
    without = dataclasses.replace(
        state, discriminator={**state.discriminator, 'leak': jax.tree.map(jnp.zeros_like, leak)}
    )
    first, second = (update(made)(s, frozen, tiny.batch(0, 4))[0].discriminator['params'] for s in (state, without))
    # plain descent at 0.1: the leak moves the next update by exactly its share
    for moved, other, share in zip(*map(jax.tree.leaves, (first, second, leak)), strict=True):
        np.testing.assert_allclose(moved - other, -0.1 * share, atol=2e-6)


def test_micro_batches_equal_one_batch(plain):
    whole, m1 = plain
    parts, _, (m2,) = run(stage('addsr', accumulate=2), bundle())
    for name in m1:
        assert m2[name] == pytest.approx(m1[name], rel=2e-4, abs=1e-6), name
    for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(parts.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6)
    for a, b in zip(jax.tree.leaves(whole.discriminator), jax.tree.leaves(parts.discriminator), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6)


def test_released_sets_every_switch_to_another_value_than_the_papers():
    paper, published = objective('addsr'), released(objective('addsr'))
    for name in (
        'ta_index',
        'second_step_latent',
        'psr_range',
        'noise',
        'branch',
        'c_norm',
        'spectral_steps',
        'd_grad_leak',
        'trainable',
    ):
        assert getattr(paper, name) != getattr(published, name), name


def test_distillation_weight_is_equation_7():
    t = jnp.array([0, 500, 999])
    for p in (1, 2, 3, 4):
        wanted = np.sqrt(ABAR[[0, 500, 999]]) * 0.5 * 2.1 ** (p - 1)
        np.testing.assert_allclose(
            distillation_weight(objective('addsr'), ABAR, jnp.full(3, float(p)), t), wanted, rtol=1e-5
        )
    linear = distillation_weight(objective('addsr', ta_form='linear'), ABAR, jnp.array([4.0]), t[:1])
    np.testing.assert_allclose(linear, np.sqrt(ABAR[:1]) * 1.3, rtol=1e-5)


def test_step_index_counts_along_the_chain():
    one, start = jnp.array([True, False, False, False]), jnp.array([0, 0, 1, 2])
    assert step_index(objective('addsr'), one, start).tolist() == [1, 2, 3, 4]
    assert step_index(objective('addsr', ta_index='first_step'), one, start).tolist() == [4, 1, 2, 3]


def test_impossible_choices_are_refused_with_the_choices():
    with pytest.raises(UserError, match='graded_step, first_step'):
        objective('addsr', ta_index='nothing')
