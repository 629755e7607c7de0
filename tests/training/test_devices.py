"""One device and eight give the same losses and gradients, whether leaves of the state are split or not.

The toy networks: what could depend on devices is in the stages, in the discriminator, which is the real one, and in
the rules. The networks themselves: tests/stages/test_seesr.py, and the student's in `make test-parity`.
"""

from functools import cache
from unittest import mock

import jax
import pytest

from addsr_jax import sharding
from tests import tiny
from tests.stages import toy
from tests.stages.common import stage
from tests.training.common import assert_same_step, one_step


@pytest.mark.parametrize(('name', 'leaves'), [('seesr', 7), ('addsr', 7)])  # that an even number of devices can split
def test_losses_and_gradients_do_not_depend_on_the_number_of_devices(name, leaves, monkeypatch):
    monkeypatch.setattr(sharding, 'SMALL', 1)
    made, bundle, batch = toy.stage(name), jax.device_get(toy.bundle()), tiny.batch(0)
    one = one_step(made, bundle, batch, 'data:1')
    for text, split in (('data:8', 0), ('data:4,fsdp:2', leaves), ('data:2,fsdp:4', leaves), ('fsdp:4,data:2', leaves)):
        other = one_step(made, bundle, batch, text)
        assert_same_step(one, other)
        found = [leaf for leaf in jax.tree.leaves(other.state.params) if not leaf.sharding.is_fully_replicated]
        assert len(found) == split, text


@cache
def student(text: str):
    """One step of the student with the tiny networks, every leaf of a kilobyte split where the mesh splits."""
    with mock.patch.object(sharding, 'SMALL', 256):
        return one_step(stage('addsr', trainable='image_attentions'), tiny.bundle().params, tiny.batch(0), text)


@pytest.mark.torch  # five minutes of compiling
@pytest.mark.parametrize('text', ['data:8', 'fsdp:8', 'data:2,fsdp:4'])
def test_the_student_s_networks_give_the_same_on_every_layout(text):
    one, other = student('data:1'), student(text)
    assert_same_step(one, other)
    split = [leaf for leaf in jax.tree.leaves(other.state.params) if not leaf.sharding.is_fully_replicated]
    assert (len(split) > 40) == ('fsdp' in text)
