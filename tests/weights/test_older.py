"""What version 0.1 wrote is read: optimisers and states whose parameters had no level of parts."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from addsr_jax.errors import UserError
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights import older
from addsr_jax.weights.beside import load_beside
from tests import tiny

UNET, CONTROLNET, TEXT = (np.full(3, float(i), np.float32) for i in range(3))
# (trained tree as it was, the same by part)
FORMS = {
    'addsr': (
        {'unet': {'k': UNET}, 'controlnet': {'k': CONTROLNET}},
        {'student': {'unet': {'k': UNET}, 'controlnet': {'k': CONTROLNET}}},
    ),
    'seesr': (
        {'unet': {'k': UNET}, 'controlnet': {'k': CONTROLNET}, 'text_encoder': {'e': TEXT}},
        {'teacher': {'unet': {'k': UNET}, 'controlnet': {'k': CONTROLNET}}, 'text_encoder': {'e': TEXT}},
    ),
    'autoencoder': ({'encoder': {'k': UNET}}, {'autoencoder': {'encoder': {'k': UNET}}}),
}


def state_of(params):
    optimizer = optax.adamw(1e-3).init(jax.tree.map(jnp.asarray, params))
    return {'optimizer': jax.tree.map(lambda x: x + 1, optimizer), 'discriminator': {'params': {'heads_0': TEXT}}}


@pytest.mark.parametrize('stage', FORMS)
def test_the_forms_are_told_apart_and_become_each_other(stage):
    before, now = (state_of(form) for form in FORMS[stage])
    assert older.is_older(before)
    assert not older.is_older(now)
    assert jax.tree.structure(older.without_parts(now)) == jax.tree.structure(before)
    again = older.with_parts(before, now)
    assert jax.tree.structure(again) == jax.tree.structure(now)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(now), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize('written', [0, 1], ids=['version 0.1', 'today'])
def test_what_stands_beside_a_result_is_read_in_either_form(tmp_path, written):
    state, now = state_of(FORMS['addsr'][written]), state_of(FORMS['addsr'][1])
    bundles.save(tiny.bundle(), tmp_path / 'final', 'orbax', beside={'training': state})
    loaded = load_beside(tmp_path / 'final', 'training', jax.eval_shape(lambda: now))
    assert jax.tree.structure(loaded) == jax.tree.structure(now)
    for a, b in zip(jax.tree.leaves(loaded), jax.tree.leaves(now), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_state_of_another_network_is_refused_in_either_form(tmp_path):
    bundles.save(tiny.bundle(), tmp_path / 'final', 'orbax', beside={'training': state_of(FORMS['autoencoder'][0])})
    with pytest.raises(UserError, match='does not fit this run'):
        load_beside(tmp_path / 'final', 'training', jax.eval_shape(lambda: state_of(FORMS['addsr'][1])))
