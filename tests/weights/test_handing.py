"""Tensors on their way from the process that read them to the others, the network between them left out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax.errors import UserError
from addsr_jax.weights import handing

ARRAYS = {
    'scalar': np.asarray(3, np.int32),
    'flags': np.asarray([True, False, True]),
    'empty': np.zeros((0, 4), np.float32),
    'half': np.arange(15, dtype=np.float32).reshape(3, 5).astype(jnp.bfloat16),
    'reversed': np.arange(6.0)[::-1],
}
SHAPES = {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in ARRAYS.items()}
HASHES = {name: 2**128 - 1 - n for n, name in enumerate(ARRAYS)}


@pytest.fixture
def network(monkeypatch):
    """What was given last."""
    given = []

    def from_one(content, size, giver):
        given.extend([] if content is None else [content])
        assert given[-1].size == size
        return given[-1]

    monkeypatch.setattr(handing.processes, 'from_one', from_one)


def failing(error):
    def look():
        raise error

    return look


@pytest.mark.usefixtures('network')
def test_tensors_arrive_to_the_bit_whatever_their_shapes_and_dtypes():
    looked = handing.Looked(ARRAYS, HASHES)
    assert handing.shared(lambda: looked, SHAPES, 0) is looked
    found = handing.shared(None, SHAPES, 0)
    assert found.made == HASHES
    assert list(found.arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert (found.arrays[name].dtype, found.arrays[name].shape) == (array.dtype, array.shape)
        assert found.arrays[name].tobytes() == array.tobytes()


@pytest.mark.usefixtures('network')
@pytest.mark.parametrize(
    ('error', 'there'),
    [
        (UserError('kernel holds NaN'), UserError('kernel holds NaN')),
        (OSError('cut off\nin the middle'), ValueError('cut off')),
        (KeyError(), ValueError('KeyError')),
        (UserError('x' * 2000), UserError('x' * (handing.COMPLAINT - 1))),
    ],
    ids=['a mistake', 'an error', 'an error without words', 'a long one'],
)
def test_a_complaint_arrives_instead_of_tensors_and_its_own_process_keeps_the_error(error, there):
    with pytest.raises(type(error)) as here:
        handing.shared(failing(error), SHAPES, 0)
    assert here.value is error
    with pytest.raises(type(there)) as arrived:
        handing.shared(None, SHAPES, 0)
    assert str(arrived.value) == str(there)


def beside(monkeypatch, complaint, numbers):
    """Another process, which gave a complaint or none, and then these numbers."""
    monkeypatch.setattr(handing.processes, 'from_all', lambda content: np.stack([content, complaint]))
    monkeypatch.setattr(handing.processes, 'numbers_of_all', lambda own: [own, numbers])


NONE = np.zeros(handing.COMPLAINT, np.uint8)


def test_hashes_of_shares_are_summed_and_those_of_the_same_share_counted_once(monkeypatch):
    beside(monkeypatch, NONE, [7, 5])
    found = handing.together(lambda: {'b': 5, 'a': 2**128 - 1}, {'a': (0, 1), 'b': (0, 0)})
    assert found == {'a': 2**128 + 6, 'b': 5}


def test_what_processes_read_of_the_same_share_must_be_the_same(monkeypatch):
    beside(monkeypatch, NONE, [6])
    with pytest.raises(UserError, match='a is not the same at every process'):
        handing.together(lambda: {'a': 5}, {'a': (0, 0)})


def test_what_another_process_complains_of_is_raised_and_ones_own_error_first(monkeypatch):
    beside(monkeypatch, handing._complaint(UserError('kernel holds \udcff'), handing.COMPLAINT), [])
    with pytest.raises(UserError, match=r'kernel holds \?'):
        handing.together(lambda: {'a': 1}, {'a': (0, 1)})
    with pytest.raises(KeyError):
        handing.together(failing(KeyError('mine')), {'a': (0, 1)})
