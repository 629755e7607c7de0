"""NaN and infinity in weights are named and refused, with the tensor and the file."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import trees
from addsr_jax.errors import UserError
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights import finite
from tests import tiny


@pytest.mark.parametrize('dtype', [np.float16, jnp.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_one_number_among_many_is_found(dtype, value):
    numbers = np.zeros(2 * finite.BLOCK + 3, dtype)
    numbers[:2] = jnp.finfo(dtype).max, jnp.finfo(dtype).tiny
    assert finite.is_finite(numbers)
    for place in (0, finite.BLOCK + 5, -1):
        spoiled = numbers.copy()
        spoiled[place] = value
        assert not finite.is_finite(spoiled)


def test_integers_empty_and_single_numbers_are_looked_at():
    assert finite.is_finite(np.full(3, 2**31 - 1, np.int32))
    assert finite.is_finite(np.zeros((0, 3), np.float32))
    assert not finite.is_finite(np.asarray(np.float32(np.nan)))


@pytest.mark.parametrize('form', ['orbax', 'safetensors'])
def test_weights_that_are_loaded_are_refused_by_tensor_and_file(tmp_path, form):
    bundle = tiny.bundle()
    flat = {path: leaf.copy() for path, leaf in trees.flatten(bundle.params['text_encoder']).items()}
    name = sorted(flat)[-1]
    flat[name].reshape(-1)[0] = np.inf
    spoiled = dataclasses.replace(bundle, params={'text_encoder': trees.unflatten(flat)})
    bundles.save(spoiled, tmp_path / 'model', form)
    with pytest.raises(UserError, match=rf'text_encoder.*: {name} holds NaN or infinity'):
        bundles.load(tmp_path / 'model')
