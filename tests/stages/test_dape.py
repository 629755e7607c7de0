"""The prompt extractor's stage."""

import jax
import pytest

from addsr_jax import trees
from tests import tiny
from tests.stages.common import stage


def run(made, bundle, steps):
    state, frozen = jax.jit(made.init)(jax.random.key(0), bundle), made.freeze(bundle)
    update, metrics = jax.jit(made.update), []
    for _ in range(steps):
        state, m = update(state, frozen, tiny.batch(0, 4))
        metrics.append({k: float(v) for k, v in m.items()})
    return state, frozen, metrics


def test_from_nothing_the_statistics_of_the_clean_picture_are_learned():
    _, _, metrics = run(stage('dape'), {}, 20)
    assert metrics[-1]['loss'] < metrics[0]['loss']


def test_low_rank_adaptation_trains_nothing_else_and_starts_as_the_identity():
    bundle = tiny.on_device({'prompt_extractor': tiny.bundle().params['prompt_extractor']})
    made = stage('dape', targets='clean_tokens', trainable='lora')
    state = made.init(jax.random.key(0), bundle)
    assert all(p.rsplit('/')[-1] in ('lora_A', 'lora_B') for p in trees.flatten(state.student))
    exported = trees.flatten(made.export(state, bundle)['prompt_extractor'])
    before = trees.flatten(bundle['prompt_extractor'])
    assert all((exported[p] == before[p]).all() for p in before)


@pytest.mark.parametrize('key', ['token_weight', 'tag_weight'])
def test_every_weight_changes_the_loss(key):
    plain, changed = (run(stage('dape', **c), {}, 1)[2][0]['loss'] for c in ({}, {key: 3.0}))
    assert plain != changed
