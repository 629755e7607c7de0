"""The student's stage with its networks: one step of both players, what is trained, and its switches."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import trees
from addsr_jax.diffusion import schedule
from addsr_jax.errors import UserError
from addsr_jax.stages.addsr_objective import step_index, timestep_weight
from tests import tiny
from tests.stages.common import bundle, objective, released, run, stage

ABAR = schedule.alphas_cumprod(tiny.SPEC.schedule)


@pytest.fixture(scope='module')
def start():
    return jax.jit(stage('addsr', tiny.LEAST).init)(jax.random.key(0), bundle(tiny.LEAST))


@pytest.fixture(scope='module')
def plain():
    state, _, (metrics,) = run(stage('addsr', tiny.LEAST), bundle(tiny.LEAST))
    return state, metrics


def test_a_step_reports_every_term_and_moves_both_players(plain, start):
    state, metrics = plain
    assert {'distill', 'adversarial', 'd_loss', 'loss', 'gradient_norm', 'd_gradient_norm'} <= set(metrics)
    assert all(np.isfinite(v) for v in metrics.values())
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


def test_the_reported_norm_is_that_of_the_step_that_was_taken(plain, start):
    state, metrics = plain
    squares = [((a - b) ** 2).sum() for a, b in zip(*map(jax.tree.leaves, (state.params, start.params)), strict=True)]
    assert metrics['gradient_norm'] == pytest.approx(float(sum(squares)) ** 0.5 / 0.1, rel=1e-2)


def test_a_student_may_start_from_a_student_and_trains_only_what_is_named(start):
    for source in ('teacher', 'student'):
        made = stage('addsr', tiny.LEAST, start=source)
        state = start if source == 'teacher' else jax.jit(made.init)(jax.random.key(0), bundle(tiny.LEAST))
        first, wanted = trees.flatten(state.params['student']), trees.flatten(bundle(tiny.LEAST)[source])
        assert all((first[p] == wanted[p]).all() for p in wanted)
    made = stage('addsr', trainable='image_attentions')
    paths = list(trees.flatten(jax.eval_shape(made.init, jax.random.key(0), bundle()).params['student']))
    assert paths
    assert all('image_attentions' in p or 'controlnet_cond_embedding' in p for p in paths)


def test_the_decoder_learns_with_the_student_where_it_is_told_to_and_the_encoder_never(plain):
    spec = dataclasses.replace(
        tiny.LEAST, autoencoder=dataclasses.replace(tiny.LEAST.autoencoder, guided_blocks=1), name='guided'
    )
    made = stage('addsr', spec, train_decoder=True)
    state, frozen, _ = run(made, bundle(spec))
    exported = made.export(state, bundle(spec))
    assert set(exported) == {'student', 'autoencoder'}
    before, after = (trees.flatten(tree) for tree in (bundle(spec)['autoencoder'], exported['autoencoder']))
    moved = {path for path in before if (before[path] != after[path]).any()}
    assert set(after) == set(before)
    assert moved == {path for path in before if path.startswith(('decoder/', 'post_quant_conv/'))}
    # the teacher's pictures stay what they are: its decoder is the frozen one
    assert set(trees.flatten(frozen['autoencoder'])) == set(before)
    alone = stage('addsr', tiny.LEAST)
    assert set(jax.eval_shape(alone.export, plain[0], bundle(tiny.LEAST))) == {'student'}


def test_adapters_are_added_to_every_attention_of_both_networks_and_to_nothing_else():
    made = stage('addsr', trainable='lora', lora_rank=2)
    factors = jax.eval_shape(made.init, jax.random.key(0), bundle()).params['student']
    adapted = {path.rpartition('/')[0] for path in trees.flatten(factors)}
    dense = {path.removesuffix('/kernel') for path in trees.flatten(bundle()['teacher']) if path.endswith('/kernel')}
    wanted = {p for p in dense if 'attentions_' in p and p.rpartition('/')[2] in ('to_q', 'to_k', 'to_v', 'to_out_0')}
    assert adapted == wanted
    assert {p.partition('/')[0] for p in adapted} == {'unet', 'controlnet'}
    assert any('image_attentions' in p for p in adapted)
    assert any('image_attentions' not in p for p in adapted)


def test_released_sets_every_switch_to_another_value_than_the_papers():
    paper, published = objective('addsr'), released()
    for name in (
        'ta_index',
        'second_step_latent',
        'psr_range',
        'noise',
        'branch',
        'spectral_steps',
        'd_grad_leak',
        'trainable',
    ):
        assert getattr(paper, name) != getattr(published, name), name


def test_weights_without_a_small_decoder_cannot_draw_the_teachers_pictures_with_it():
    with pytest.raises(UserError, match='stage addsr needs tiny_decoder, which'):
        stage('addsr', teacher_decoder='tiny').freeze(bundle())


def test_distillation_weight_is_equation_7():
    t = jnp.array([0, 500, 999])
    for p in (1, 2, 3, 4):
        wanted = np.sqrt(ABAR[[0, 500, 999]]) * 0.5 * 2.1 ** (p - 1)
        np.testing.assert_allclose(
            timestep_weight(objective('addsr'), ABAR, jnp.full(3, float(p)), t), wanted, rtol=1e-5
        )
    linear = timestep_weight(objective('addsr', ta_form='linear'), ABAR, jnp.array([4.0]), t[:1])
    np.testing.assert_allclose(linear, np.sqrt(ABAR[:1]) * 1.3, rtol=1e-5)


def test_step_index_counts_along_the_chain():
    one, start = jnp.array([True, False, False, False]), jnp.array([0, 0, 1, 2])
    assert step_index(objective('addsr'), one, start).tolist() == [1, 2, 3, 4]
    assert step_index(objective('addsr', ta_index='first_step'), one, start).tolist() == [4, 1, 2, 3]


def test_impossible_choices_are_refused_with_the_choices():
    with pytest.raises(UserError, match='graded_step, first_step'):
        objective('addsr', ta_index='nothing')
