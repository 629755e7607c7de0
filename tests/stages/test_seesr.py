"""The teacher's stage."""

import jax
import numpy as np

from addsr_jax import trees
from configs import seesr
from tests.stages.common import bundle, run, stage


def losses(metrics):
    return [m['loss'] for m in metrics]


def test_the_loss_falls_on_one_batch():
    _, _, metrics = run(stage('seesr'), bundle(), steps=30)
    assert np.mean(losses(metrics[-5:])) < np.mean(losses(metrics[:5]))


def test_micro_batches_equal_one_batch():
    (one, _, _), (two, _, _) = (run(stage('seesr', accumulate=m), bundle()) for m in (1, 2))
    for a, b in zip(jax.tree.leaves(one.student), jax.tree.leaves(two.student), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6)


def test_late_timesteps_change_what_is_learned():
    (_, _, a), (_, _, b) = (run(stage('seesr', **c), bundle()) for c in ({}, {'late_timesteps': 1.0}))
    assert losses(a) != losses(b)


def test_only_what_is_named_is_trained_and_the_rest_is_exported_unchanged():
    made = stage('seesr', trainable='image_attentions')
    state, _, _ = run(made, bundle())
    paths = list(trees.flatten(state.student))
    assert all(p.startswith('controlnet/') or 'image_attentions' in p for p in paths)
    exported = trees.flatten(made.export(state, bundle())['teacher'])
    before = trees.flatten(bundle()['teacher'])
    assert set(exported) == set(before)
    assert all((exported[p] == before[p]).all() for p in before if p not in paths)


def test_guidance_means_something_because_empty_text_is_learned_too():
    config = seesr.get_config('nano')
    assert config.data.null_text == 0.5
    assert config.data.degraded_target == 0.1
