"""Batches reach the devices in order, and a source's error reaches whoever waits for its batch."""

import threading
from itertools import islice

import numpy as np
import pytest

from addsr_jax import sharding
from addsr_jax.errors import UserError
from addsr_jax.training.prefetch import prefetch

MESH = sharding.make_mesh('data:8')


def numbered(count):
    for i in range(count):
        yield {'x': np.full(8, i, np.float32), 'replaced': np.full(8, -1, np.int32)}


def endless():
    i = 0
    while True:
        yield {'x': np.full(8, i, np.float32), 'replaced': np.full(8, i, np.int32)}
        i += 1


def test_batches_come_in_order_sharded_and_each_is_inspected_when_it_is_taken():
    seen = []
    with prefetch(endless(), MESH, lambda flags: seen.append(int(flags[0]))) as source:
        got = list(islice(source, 5))
    assert [float(b['x'][0]) for b in got] == [0, 1, 2, 3, 4]
    assert seen == [0, 1, 2, 3, 4]
    assert all(set(b) == {'x'} and len(b['x'].sharding.device_set) == 8 for b in got)


def test_an_error_comes_where_its_batch_would_have_been():
    def broken():
        yield from numbered(2)
        raise UserError('the disk is gone')

    with prefetch(broken(), MESH, lambda flags: None) as source:
        next(source)
        next(source)
        with pytest.raises(UserError, match='disk'):
            next(source)


def test_data_that_end_are_an_error():
    with prefetch(numbered(1), MESH, lambda flags: None) as source, pytest.raises(ValueError, match='the data ended'):
        list(source)


def test_the_thread_ends_with_the_block():
    before = threading.active_count()
    with prefetch(endless(), MESH, lambda flags: None) as source:
        next(source)
    assert threading.active_count() == before


def test_the_source_is_closed_at_the_end():
    closed = []

    def source():
        try:
            yield from endless()
        finally:
            closed.append(True)

    with prefetch(source(), MESH, lambda flags: None) as batches:
        next(batches)
        assert not closed
    assert closed
