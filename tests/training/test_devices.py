"""One device and eight give the same losses and gradients; states are born where the rules say."""

import jax
import numpy as np
import pytest

from addsr_jax import sharding
from addsr_jax.training import step
from tests import tiny
from tests.stages.common import stage
from tests.training.common import compile_once

MESHES = {'data:1': 1, 'data:8': 8, 'data:2,fsdp:4': 8}


def one_step(name: str, text: str):
    """(metrics, student after one step of plain descent) on a mesh."""
    made, bundle = stage(name), tiny.bundle().params
    mesh = sharding.make_mesh(text, jax.devices()[: MESHES[text]])
    shapes = step.state_shapes(made, bundle, mesh)
    state = step.first_state(made, bundle, shapes, 0)
    frozen = sharding.put_replicated(made.freeze(bundle), mesh)
    update = compile_once(made, shapes, tiny.Batches().shapes, mesh)
    state, metrics = update(state, frozen, sharding.put_batch(tiny.batch(0), mesh))
    return {k: float(v) for k, v in metrics.items()}, jax.device_get(state.params)


@pytest.mark.parametrize(('name', 'meshes'), [('seesr', ('data:8', 'data:2,fsdp:4')), ('addsr', ('data:8',))])
def test_losses_and_gradients_do_not_depend_on_the_number_of_devices(name, meshes):
    metrics, student = one_step(name, 'data:1')
    for text in meshes:
        other, same = one_step(name, text)
        for key, value in metrics.items():
            assert other[key] == pytest.approx(value, rel=1e-4, abs=1e-6), (text, key)
        # a step of plain descent shows the gradient itself
        for a, b in zip(jax.tree.leaves(student), jax.tree.leaves(same), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=3e-6)
