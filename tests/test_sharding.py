"""Meshes from text, and where state and batches lie."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from addsr_jax import sharding
from addsr_jax.errors import UserError


@pytest.mark.parametrize(
    ('text', 'shape'),
    [
        ('data:-1', {'data': 8}),
        ('data:2,fsdp:4', {'data': 2, 'fsdp': 4}),
        ('fsdp:-1', {'fsdp': 8}),
        ('data:-1,fsdp:2', {'data': 4, 'fsdp': 2}),
    ],
)
def test_a_mesh_is_written_as_axes_and_counts(text, shape):
    assert dict(sharding.make_mesh(text).shape) == shape


@pytest.mark.parametrize('text', ['data', 'data:x', 'data:3', 'rows:8', 'data:-1,fsdp:-1', 'data:0', 'data:2,data:4'])
def test_an_impossible_mesh_is_refused_with_an_example(text):
    with pytest.raises(UserError, match=r'mesh'):
        sharding.make_mesh(text)


def test_large_leaves_are_split_along_their_largest_divisible_axis_and_small_ones_are_whole():
    mesh = sharding.make_mesh('data:2,fsdp:4')
    state = {
        'student': {'kernel': jnp.zeros((3, 3, 64, 256)), 'bias': jnp.zeros(256), 'odd': jnp.zeros((301, 303))},
        'step': jnp.zeros((), jnp.int32),
    }
    places = sharding.state_shardings(mesh, jax.eval_shape(lambda: state))
    assert places['student']['kernel'].spec == PartitionSpec(None, None, None, 'fsdp')
    assert places['student']['bias'].spec == PartitionSpec()
    assert places['student']['odd'].spec == PartitionSpec()
    assert places['step'].spec == PartitionSpec()
    assert sharding.unsplit(mesh, jax.eval_shape(lambda: state)) == {'student/odd': 301 * 303 * 4}
    assert sharding.unsplit(sharding.make_mesh('data:8'), jax.eval_shape(lambda: state)) == {}


def test_a_batch_that_devices_cannot_share_is_refused_with_a_size_that_works():
    mesh = sharding.make_mesh('data:8')
    sharding.check_batch(mesh, 16, 2)
    with pytest.raises(UserError, match='multiple of 16'):
        sharding.check_batch(mesh, 24, 2)


def test_a_batch_is_split_over_all_axes():
    mesh = sharding.make_mesh('data:2,fsdp:4')
    (array,) = sharding.put_batch({'x': np.arange(16.0)}, mesh).values()
    assert {s.data.shape for s in array.addressable_shards} == {(2,)}
