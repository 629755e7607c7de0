"""The prompt extractor's stage."""

import dataclasses

import jax
import pytest

from addsr_jax import trees
from addsr_jax.weights import bundle as bundles
from tests import tiny
from tests.stages.common import bundle, run, stage


def test_from_nothing_the_statistics_of_the_clean_picture_are_learned():
    _, _, metrics = run(stage('dape'), {}, 20)
    assert metrics[-1]['loss'] < metrics[0]['loss']


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
