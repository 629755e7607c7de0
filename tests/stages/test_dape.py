"""The prompt extractor's stage."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import trees
from addsr_jax.networks.build import apply
from addsr_jax.networks.prompt_extractor import normalise
from addsr_jax.ops.image import resize
from addsr_jax.stages import picture_statistics
from addsr_jax.stages.dape import binary_cross_entropy
from addsr_jax.weights import bundle as bundles
from tests import tiny
from tests.stages.common import bundle, run, stage


def test_from_nothing_the_statistics_of_the_clean_picture_are_learned():
    _, _, metrics = run(stage('dape'), {}, 20)
    assert metrics[-1]['loss'] < metrics[0]['loss']


def test_the_student_sees_the_degraded_picture_and_learns_what_the_clean_one_says():
    made, batch = stage('dape'), tiny.batch(0, 4)
    params = made.init(jax.random.key(0), {}).params['prompt_extractor']
    _, _, (metrics,) = run(made, {})

    def answer(pictures):
        size = tiny.SPEC.prompt_extractor.swin.image_size
        view = normalise(resize(jnp.clip(pictures / 2 + 0.5, 0, 1), (size, size), 'bicubic'))
        return apply(tiny.networks().prompt_extractor, params, view, method='tokens_and_logits')

    tokens, logits = (np.asarray(x, np.float64) for x in jax.jit(answer)(batch['lq']))
    clean = np.asarray(batch['hr']) / 2 + 0.5  # 32 pixels are the extractor's own size
    wanted = np.asarray(jax.jit(lambda x: picture_statistics.token_targets(x, 4))(clean))
    words = np.asarray(picture_statistics.word_targets(clean), np.float64)
    q = 1 / (1 + np.exp(-logits))
    assert 0 < words.mean() < 1
    assert metrics['token_mse'] == pytest.approx(((tokens - wanted) ** 2).mean(), rel=1e-4)
    assert metrics['tag_bce'] == pytest.approx(-(words * np.log(q) + (1 - words) * np.log(1 - q)).mean(), rel=1e-4)


def test_soft_tags_have_the_cross_entropy_of_their_probabilities():
    logits, p = np.array([[-2.0, 0.3, 5.0]]), np.array([[0.9, 0.2, 0.6]])
    q = 1 / (1 + np.exp(-logits))
    wanted = -(p * np.log(q) + (1 - p) * np.log(1 - q)).mean(axis=1)
    np.testing.assert_allclose(binary_cross_entropy(jnp.asarray(logits), jnp.asarray(p)), wanted, rtol=1e-6)


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


def test_the_loss_is_its_weighted_terms():
    _, _, (m,) = run(stage('dape', token_weight=3.0, tag_weight=5.0), {})
    assert m['loss'] == pytest.approx(3 * m['token_mse'] + 5 * m['tag_bce'], rel=1e-5)
