"""Pickles of numpy arrays: arrays are read, and nothing that a file says is ever run."""

import os
import pickle
import subprocess

import numpy as np
import pytest

from addsr_jax.errors import UserError
from addsr_jax.weights import numpy_pickle

RNG = np.random.default_rng(0)


class Runs:
    """Pickles to a call of a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize('dtype', ['f2', 'f4', 'f8'])
def test_arrays_are_read_bit_for_bit(tmp_path, dtype):
    content = {
        'a': {'kernel': RNG.normal(0, 1, (3, 2, 4)).astype(dtype)},
        'b': np.asfortranarray(np.ones((2, 3), dtype)),
    }
    (tmp_path / 'x.ckpt').write_bytes(pickle.dumps(content, 3))
    read = numpy_pickle.read(tmp_path / 'x.ckpt')
    np.testing.assert_array_equal(read['a']['kernel'], content['a']['kernel'])
    np.testing.assert_array_equal(read['b'], content['b'])
    assert read['b'].dtype == content['b'].dtype


HOSTILE = {
    'a call of os.system': lambda path: {'a': Runs(os.system, f'touch {path}')},
    'a call of eval': lambda path: {'a': Runs(eval, f"open('{path}', 'w')")},
    'a process': lambda path: Runs(subprocess.check_call, ['touch', str(path)]),
    'objects inside an array': lambda path: {'a': np.array([Runs(os.system, f'touch {path}')])},
    'integers': lambda path: {'a': np.arange(3)},
    'text': lambda path: {'a': 'text'},
    'no dict': lambda path: np.zeros(3, np.float32),
}


@pytest.mark.parametrize('name', HOSTILE)
def test_everything_else_is_refused_and_nothing_runs(tmp_path, name):
    path = tmp_path / 'x.ckpt'
    path.write_bytes(pickle.dumps(HOSTILE[name](tmp_path / 'owned'), 3))
    with pytest.raises(UserError, match=r'x\.ckpt'):
        numpy_pickle.read(path)
    assert not (tmp_path / 'owned').exists()


def test_a_damaged_file_is_refused_or_read_whole(tmp_path):
    """No damage of a byte or cut gets further than one line."""
    good = pickle.dumps({'a': np.float32([1, 2, 3])}, 3)
    path, refused = tmp_path / 'x.ckpt', 0
    for at in range(len(good)):
        for bad in (good[:at], good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :]):
            path.write_bytes(bad)
            try:
                assert all(isinstance(leaf, np.ndarray | dict) for leaf in numpy_pickle.read(path).values())
            except UserError:
                refused += 1
    assert refused > len(good)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r'none\.ckpt'):
        numpy_pickle.read(tmp_path / 'none.ckpt')
