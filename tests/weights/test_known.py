"""Networks are known by their tensors, whatever file they come in."""

from pathlib import Path

import numpy as np
import pytest

from addsr_jax.errors import UserError
from addsr_jax.weights import conversion, known
from tests import tiny_sd


def test_the_shipped_list_knows_the_embedded_networks():
    lines = conversion.inspect(Path('nano'), known.read())
    told = [line.split(', ')[-1] for line in lines if 'sha256' in line]
    assert len(told) == 7
    assert 'same tensors as nano student/unet' in told
    assert known.UNKNOWN not in told


def test_a_hash_does_not_depend_on_the_order_and_tells_every_bit():
    state = dict(list(tiny_sd.states()['unet'].items())[:5])
    hash_ = known.of_tensors(known.entry(name, value) for name, value in state.items())
    assert hash_ == known.of_tensors(known.entry(name, state[name]) for name in reversed(state))
    name = next(iter(state))
    flat = state[name].copy()
    flat.reshape(-1).view(np.uint8)[0] ^= 1
    assert hash_ != known.of_tensors(known.entry(n, flat if n == name else v) for n, v in state.items())


def test_a_list_of_ones_own_adds_to_the_shipped_one(tmp_path):
    path = tmp_path / 'known.txt'
    path.write_text(f'# mirrors\n{"0" * 64} the autoencoder of A  # checked by hand\n{"0" * 64} that of B\n\n')
    found = known.read([path])
    assert known.told('0' * 64, found) == 'same tensors as the autoencoder of A and that of B'
    assert known.told('1' * 64, found) == 'unknown'
    assert len(found) > 1


@pytest.mark.parametrize('line', ['abc the autoencoder', '0' * 64, f'{"g" * 64} x'])
def test_a_line_that_is_none_is_named(tmp_path, line):
    (tmp_path / 'known.txt').write_text(f'\n{line}\n')
    with pytest.raises(UserError, match=r'known\.txt, line 2: expected 64'):
        known.read([tmp_path / 'known.txt'])


def test_a_list_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match='cannot be read'):
        known.read([tmp_path / 'nothing.txt'])
