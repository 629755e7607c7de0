"""The student's stage: the order of its players, its switches, and that batches may be split."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import trees
from addsr_jax.diffusion import schedule
from addsr_jax.stages.addsr_objective import CHOICES, distillation_weight, released, step_index
from tests import tiny
from tests.stages.common import objective, stage

ABAR = schedule.alphas_cumprod(tiny.SPEC.schedule)
# at psr_train = 1 the low-quality image has no part in the second condition
SWITCHES = {
    'ta_index': 'first_step',
    'ta_form': 'constant',
    'second_step_latent': 'hr',
    'psr_range': 'signed',
    'psr_train': 0.3,
    'teacher_condition': 'lq',
    'noise': 'shared',
    'branch': 'per_batch',
    'adversarial_weight': 0.5,
    'teacher_samples': 3,
    'start': 'student',
}


@pytest.fixture(scope='module')
def bundle():
    return tiny.on_device(tiny.bundle().params)


def run(made, bundle, batch=None, steps=1):
    state, frozen = made.init(jax.random.key(0), bundle), made.freeze(bundle)
    update = jax.jit(made.update)
    for n in range(steps):
        state, metrics = update(state, frozen, batch or tiny.batch(n, 4))
    return state, {name: float(value) for name, value in metrics.items()}


@pytest.fixture(scope='module')
def plain(bundle):
    return run(stage('addsr'), bundle)


def test_a_step_reports_every_term_and_moves_both_players(bundle, plain):
    state, metrics = plain
    assert {'distill', 'adversarial', 'd_loss', 'loss', 'gradient_norm', 'd_gradient_norm'} <= set(metrics)
    assert all(np.isfinite(v) for v in metrics.values())
    start = stage('addsr').init(jax.random.key(0), bundle)
    for before, after in (
        (start.student, state.student),
        (start.discriminator['params'], state.discriminator['params']),
    ):
        moved = jax.tree.map(lambda a, b: bool((a != b).any()), before, after)
        assert np.mean(jax.tree.leaves(moved)) > 0.8
    assert int(state.step) == 1


def test_loss_is_distillation_plus_a_share_of_the_adversarial_term(plain):
    _, m = plain
    assert m['loss'] == pytest.approx(m['distill'] + objective('addsr').adversarial_weight * m['adversarial'], rel=1e-5)


@pytest.mark.parametrize('switch', SWITCHES)
def test_every_switch_changes_the_step(bundle, plain, switch):
    _, metrics = run(stage('addsr', **{switch: SWITCHES[switch]}), bundle)
    assert abs(metrics['gradient_norm'] - plain[1]['gradient_norm']) > 1e-5 * plain[1]['gradient_norm']


def test_the_number_of_power_iterations_changes_the_norm_vectors(bundle, plain):
    state, _ = run(stage('addsr', spectral_steps=3), bundle)
    a, b = (trees.flatten(s.discriminator['spectral']) for s in (state, plain[0]))
    assert any((np.abs(a[k] - b[k]) > 1e-4).any() for k in a)


def test_the_leak_of_the_published_code_reaches_the_next_update_of_the_discriminator(bundle):
    (_, one), (_, two) = (run(stage('addsr', d_grad_leak=leak), bundle, steps=1) for leak in (False, True))
    assert one['d_loss'] == pytest.approx(two['d_loss'], rel=1e-6)
    (first, _), (second, _) = (run(stage('addsr', d_grad_leak=leak), bundle, steps=2) for leak in (False, True))
    difference = jax.tree.map(
        lambda a, b: float(jnp.abs(a - b).max()), first.discriminator['params'], second.discriminator['params']
    )
    assert max(jax.tree.leaves(difference)) > 1e-7


def test_only_what_is_named_is_trained(bundle):
    state, _ = run(stage('addsr', trainable='image_attentions'), bundle)
    paths = list(trees.flatten(state.student))
    assert paths
    assert all('image_attentions' in p or 'controlnet_cond_embedding' in p for p in paths)


def test_micro_batches_equal_one_batch(bundle):
    whole, m1 = run(stage('addsr'), bundle)
    parts, m2 = run(stage('addsr', accumulate=2), bundle)
    for name in m1:
        assert m2[name] == pytest.approx(m1[name], rel=2e-4, abs=1e-6), name
    for a, b in zip(jax.tree.leaves(whole.student), jax.tree.leaves(parts.student), strict=True):
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
    for name, allowed in CHOICES.items():
        with pytest.raises(Exception, match=str(allowed[0])):
            objective('addsr', **{name: 'nothing'})
