"""Shares of tensors: known to every process without asking, whole pieces of hashes, each counted once."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from addsr_jax import hashes, sharding
from addsr_jax.weights import shares


class Device:
    def __init__(self, process):
        self.process_index = process


def place(spans, axis=0):
    """A sharding of matrices: [(process, its devices' spans of an axis)]."""
    found = {}
    for process, held in spans:
        for start, stop in held:
            index = (slice(start, stop), slice(None))
            found[Device(process)] = index if axis == 0 else index[::-1]
    return SimpleNamespace(devices_indices_map=lambda shape: found)


def as_process(monkeypatch, number):
    monkeypatch.setattr(shares.jax, 'process_index', lambda: number)


SHAPE = (256, 64)  # 64 pieces of 4


@pytest.mark.parametrize('me', [0, 1])
def test_a_share_is_what_all_devices_of_a_process_hold_together(monkeypatch, me):
    as_process(monkeypatch, me)
    split = place([(0, [(0, 64), (64, 128)]), (1, [(192, 256), (128, 192)])])
    share = shares.own(SHAPE, split)
    assert share == shares.Share(0, 128 * me, 128 * me + 128, first=(0, 1))
    assert shares.bytes_of(share, jax.ShapeDtypeStruct(SHAPE, np.float32)) == 128 * 64 * 4


def test_of_processes_that_hold_the_same_all_know_the_first(monkeypatch):
    split = place([(0, [(0, 128)]), (1, [(128, 256)]), (2, [(0, 128)]), (3, [(128, 256)])])
    for me in range(4):
        as_process(monkeypatch, me)
        assert shares.own(SHAPE, split) == shares.Share(0, *[(0, 128), (128, 256)][me % 2], first=(0, 1, 0, 1))


@pytest.mark.parametrize(
    ('spans', 'axis', 'shape'),
    [
        pytest.param([(0, [(0, 128), (128, 256)]), (1, [(0, 128), (128, 256)])], 0, SHAPE, id='everybody needs all'),
        pytest.param([(0, [(0, 32)]), (1, [(32, 64)])], 1, SHAPE, id='split over another axis'),
        pytest.param([(0, [(0, 130)]), (1, [(130, 256)])], 0, SHAPE, id='not in whole pieces'),
        pytest.param([(0, [(0, 64), (128, 192)]), (1, [(64, 128), (192, 256)])], 0, SHAPE, id='with gaps'),
        pytest.param([(0, [(0, 192)]), (1, [(128, 256)])], 0, SHAPE, id='overlapping'),
        pytest.param([(0, [(0, 4)]), (1, [(4, 8)])], 0, (8, 8), id='small'),
    ],
)
def test_otherwise_nobody_has_a_share_alone(monkeypatch, spans, axis, shape):
    for me in range(2):
        as_process(monkeypatch, me)
        assert shares.own(shape, place(spans, axis)) is None


def test_a_share_comes_together_from_devices_and_goes_back_to_them():
    mesh = sharding.make_mesh('fsdp:-1')
    whole = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    split = sharding.state_shardings(mesh, {'kernel': whole})['kernel']
    share = shares.Share(0, 0, SHAPE[0], first=(0,))
    array = shares.put(whole, share, SHAPE, split)
    assert array.sharding == split
    np.testing.assert_array_equal(np.asarray(array), whole)
    found = shares.on_host(array, share)
    np.testing.assert_array_equal(found, whole)
    again = shares.without_copy(array)
    assert again.sharding == split
    np.testing.assert_array_equal(np.asarray(again), whole)
    assert hashes.in_pieces('kernel', found, SHAPE, 0) == hashes.in_pieces('kernel', whole)
