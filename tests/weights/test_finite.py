"""NaN and infinity in weights are named and refused, with the tensor and the file."""

import dataclasses
import re

import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import convert, push, trees
from addsr_jax.errors import UserError, guard
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


def with_large_number(form, folder):
    """70,000, which float32 holds, and float16, up to 65,504, does not."""
    bundle = tiny.bundle()
    flat = {path: leaf.copy() for path, leaf in trees.flatten(bundle.params['text_encoder']).items()}
    name = next(path for path in flat if path.endswith('kernel'))
    flat[name].reshape(-1)[0] = 70_000
    made = dataclasses.replace(bundle, params={'text_encoder': trees.unflatten(flat)})
    bundles.save(made, folder, form)
    return made, rf'{name} has numbers beyond float16: choose bfloat16 or float32'


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('form', ['orbax', 'safetensors'])
def test_numbers_that_a_smaller_type_does_not_hold_are_refused_where_they_are_read_and_where_written(tmp_path, form):
    made, line = with_large_number(form, tmp_path / 'model')
    with pytest.raises(UserError, match=line):
        bundles.load(tmp_path / 'model', 'float16')
    with pytest.raises(UserError, match=line):
        bundles.save(made, tmp_path / 'half', form, dtype='float16')
    assert not (tmp_path / 'half').exists()
    assert bundles.load(tmp_path / 'model', 'bfloat16').params


def test_the_commands_that_write_smaller_numbers_say_it_in_one_line(tmp_path, capsys):
    _, line = with_large_number('safetensors', tmp_path / 'model')
    half = [str(tmp_path / 'model'), '-o', str(tmp_path / 'half'), '--dtype', 'float16']
    assert guard(push.main, [*half, '--license', 'mit']) == 2
    assert guard(convert.main, ['to_pytorch', *half]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert all(re.search(line, said) for said in told)
    assert not (tmp_path / 'half').exists()
