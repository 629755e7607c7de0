"""The prompt extractor's stage."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import trees
from addsr_jax.networks.build import apply
from addsr_jax.networks.prompt_extractor import dape
from addsr_jax.stages import picture_statistics
from addsr_jax.stages.dape import binary_cross_entropy
from addsr_jax.weights import bundle as bundles
from tests import tiny
from tests.stages.common import bundle, first_key, loss_and_draw, run, stage

BATCH = tiny.batch(0, 4)
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # of ImageNet


@jax.jit
def answer(params, images):
    """Tokens and tag logits of images in [-1, 1], which have the extractor's own size: nothing is resized."""
    seen = (images / 2 + 0.5 - MEAN) / STD
    return apply(tiny.networks().prompt_extractor, params, seen, method='tokens_and_logits')


def terms(tokens, logits, wanted_tokens, wanted_tags):
    """Mean square error of tokens [B], and binary cross-entropy of tags [B], in float64."""
    tokens, logits, wanted_tokens, p = (np.asarray(x, np.float64) for x in (tokens, logits, wanted_tokens, wanted_tags))
    q = 1 / (1 + np.exp(-logits))
    entropy = -(p * np.log(q) + (1 - p) * np.log(1 - q))
    return ((tokens - wanted_tokens) ** 2).mean(axis=(1, 2)), entropy.mean(axis=-1)


@pytest.fixture(scope='module')
def adapting():
    """(loss [B], metrics, gradient of the factors, factors) of low-rank adaptation, with factors that are not zero."""
    loss, draw = loss_and_draw('dape', targets='clean_tokens', trainable='lora', token_weight=3.0, tag_weight=5.0)
    extractor = bundle()['prompt_extractor']
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(lambda: dape(tiny.SPEC.prompt_extractor).init(jax.random.key(0), extractor))
    factors = jax.tree.map(lambda s: jnp.asarray(rng.normal(0, 0.5, s.shape), jnp.float32), shapes)
    samples = {'batch': BATCH, 'draws': draw(first_key(), BATCH)}

    def total(trained):
        value, metrics = loss(trained, {'prompt_extractor': extractor}, samples)
        return value.mean(), (value, metrics)

    gradient, (value, metrics) = jax.jit(jax.grad(total, has_aux=True))({'prompt_extractor': factors})
    return value, metrics, gradient['prompt_extractor'], factors


def test_the_student_sees_the_degraded_picture_and_learns_the_frozen_networks_answer_to_the_clean_one(adapting):
    value, metrics, _, factors = adapting
    extractor = bundle()['prompt_extractor']
    adapted = dape(tiny.SPEC.prompt_extractor).merge(extractor, factors)
    wanted_tokens, wanted_logits = answer(extractor, BATCH['hr'])
    q = 1 / (1 + np.exp(-np.asarray(wanted_logits, np.float64)))
    error, entropy = terms(*answer(adapted, BATCH['lq']), wanted_tokens, q)
    assert float(metrics['token_mse']) == pytest.approx(error.mean(), rel=1e-4)
    assert float(metrics['tag_bce']) == pytest.approx(entropy.mean(), rel=1e-4)
    np.testing.assert_allclose(value, 3 * error + 5 * entropy, rtol=1e-4)


def test_the_gradient_reaches_every_factor_through_the_student_alone(adapting):
    _, _, gradient, factors = adapting
    extractor = bundle()['prompt_extractor']
    adapters = dape(tiny.SPEC.prompt_extractor)
    wanted_tokens, wanted_logits = answer(extractor, BATCH['hr'])

    @jax.jit
    def slope(factors, along):
        """d loss / d factors along one direction, by forward mode."""

        def loss(f):
            tokens, logits = answer(adapters.merge(extractor, f), BATCH['lq'])
            p, log = jax.nn.sigmoid(wanted_logits), jax.nn.log_sigmoid
            entropy = -(p * log(logits) + (1 - p) * log(-logits)).mean()
            return 3 * ((tokens - wanted_tokens) ** 2).mean() + 5 * entropy

        return jax.jvp(loss, (factors,), (along,))[1]

    assert all(float(jnp.abs(g).max()) > 0 for g in jax.tree.leaves(gradient))
    rng = np.random.default_rng(2)
    along = jax.tree.map(lambda x: jnp.asarray(rng.standard_normal(x.shape), jnp.float32), factors)
    products = jax.tree.map(lambda g, d: (g * d).sum(), gradient, along)
    assert float(slope(factors, along)) == pytest.approx(float(sum(jax.tree.leaves(products))), rel=1e-3)


def test_soft_tags_have_the_cross_entropy_of_their_probabilities():
    logits, p = np.array([[-2.0, 0.3, 5.0]]), np.array([[0.9, 0.2, 0.6]])
    q = 1 / (1 + np.exp(-logits))
    wanted = -(p * np.log(q) + (1 - p) * np.log(1 - q)).mean(axis=1)
    np.testing.assert_allclose(binary_cross_entropy(jnp.asarray(logits), jnp.asarray(p)), wanted, rtol=1e-6)


@pytest.fixture(scope='module')
def from_nothing():
    return run(stage('dape'), {}, 20)


def test_from_nothing_the_statistics_of_the_clean_picture_are_learned(from_nothing):
    _, _, metrics = from_nothing
    assert metrics[-1]['loss'] < metrics[0]['loss']


def test_the_statistics_are_those_of_the_clean_picture(from_nothing):
    _, _, metrics = from_nothing
    first = jax.jit(stage('dape').init)(jax.random.key(0), {}).params['prompt_extractor']
    tokens, logits = answer(first, BATCH['lq'])
    clean = jnp.asarray(BATCH['hr'] / 2 + 0.5)
    cells = int(np.sqrt(tokens.shape[1] - 1))
    wanted = picture_statistics.token_targets(clean, cells), picture_statistics.word_targets(clean)
    error, entropy = terms(tokens, logits, *wanted)
    assert metrics[0]['token_mse'] == pytest.approx(error.mean(), rel=1e-3)
    assert metrics[0]['tag_bce'] == pytest.approx(entropy.mean(), rel=1e-3)


def test_low_rank_adaptation_trains_nothing_else_and_starts_as_the_identity():
    start = {'prompt_extractor': bundle()['prompt_extractor']}
    made = stage('dape', targets='clean_tokens', trainable='lora')
    state = made.init(jax.random.key(0), start)
    assert all(p.rsplit('/')[-1] in ('lora_A', 'lora_B') for p in trees.flatten(state.params))
    exported = made.export(state, start)
    assert set(exported) == {'dape'}  # kept apart from the weights, which stay as they were
    merged = bundles.adapted(dataclasses.replace(tiny.bundle(), params={**start, **exported})).params
    assert set(merged) == {'prompt_extractor'}
    before, after = trees.flatten(start['prompt_extractor']), trees.flatten(merged['prompt_extractor'])
    assert all((after[p] == before[p]).all() for p in before)


WHOLE = {'targets': 'clean_tokens', 'trainable': 'all'}


def test_a_network_that_is_trained_whole_learns_what_it_answered_to_the_clean_picture_as_it_began():
    start = {'prompt_extractor': bundle()['prompt_extractor']}
    loss, draw = loss_and_draw('dape', **WHOLE)
    trained = jax.tree.map(lambda x: 1.1 * x, start['prompt_extractor'])
    samples = {'batch': BATCH, 'draws': draw(first_key(), BATCH)}
    _, metrics = jax.jit(loss)({'prompt_extractor': trained}, stage('dape', **WHOLE).freeze(start), samples)
    (tokens, logits), (wanted, tags) = answer(trained, BATCH['lq']), answer(start['prompt_extractor'], BATCH['hr'])
    error, entropy = terms(tokens, logits, wanted, 1 / (1 + np.exp(-np.asarray(tags, np.float64))))
    assert float(metrics['token_mse']) == pytest.approx(error.mean(), rel=1e-4)
    assert float(metrics['tag_bce']) == pytest.approx(entropy.mean(), rel=1e-4)


def test_factors_that_the_weights_held_are_not_added_to_a_network_that_was_trained_whole(adapting):
    held = {'prompt_extractor': bundle()['prompt_extractor'], 'dape': adapting[-1]}
    made = stage('dape', **WHOLE)
    state = made.init(jax.random.key(0), held)
    weights = dataclasses.replace(tiny.bundle(), params=held)
    final = bundles.adapted(bundles.merged(weights, made.export(state, held), tiny.SPEC, {})).params
    assert set(final) == {'prompt_extractor'}
    learned = trees.flatten(state.ema['prompt_extractor'])
    assert all((value == learned[path]).all() for path, value in trees.flatten(final['prompt_extractor']).items())


def test_the_loss_is_its_weighted_terms(from_nothing, adapting):
    _, _, metrics = from_nothing
    for m in metrics:
        assert m['loss'] == pytest.approx(m['token_mse'] + m['tag_bce'], rel=1e-5)
    value, m, _, _ = adapting
    assert float(value.mean()) == pytest.approx(3 * float(m['token_mse']) + 5 * float(m['tag_bce']), rel=1e-5)


def test_what_is_dropped_is_drawn_for_each_sample_whatever_the_batch_around_it_and_not_in_the_targets():
    plain, _ = loss_and_draw('dape', targets='clean_tokens', trainable='lora')
    loss, draw = loss_and_draw('dape', targets='clean_tokens', trainable='lora', dropout=0.1)
    frozen = {'prompt_extractor': bundle()['prompt_extractor']}
    state = stage('dape', targets='clean_tokens', trainable='lora').init(jax.random.key(0), frozen)
    value = jax.jit(lambda batch, keys: loss(state.params, frozen, {'batch': batch, 'draws': keys})[0])
    one, other = draw(first_key(), BATCH), draw(jax.random.key(7), BATCH)
    whole, again = value(BATCH, one), value(BATCH, other)
    assert (np.asarray(whole) != np.asarray(again)).all()
    half = {name: rows[::2] for name, rows in BATCH.items()}
    np.testing.assert_allclose(value(half, one[::2]), np.asarray(whole)[::2], rtol=1e-5)
    clean = {**BATCH, 'lq': BATCH['hr']}  # the same weights on the same picture: what is left is what was dropped
    assert (np.asarray(value(clean, one)) > plain(state.params, frozen, {'batch': clean, 'draws': one})[0]).all()
