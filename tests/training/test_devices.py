"""One device and eight give the same losses and gradients, whether leaves of the state are split or not.

The toy networks: what could depend on devices is in the stages, in the discriminator, which is the real one, and in
the rules. The networks themselves: tests/stages/test_seesr.py.
"""

import jax
import pytest

from addsr_jax import sharding
from tests import tiny
from tests.stages import toy
from tests.training.common import assert_same_step, one_step


@pytest.mark.parametrize('name', ['seesr', 'addsr'])
def test_losses_and_gradients_do_not_depend_on_the_number_of_devices(name, monkeypatch):
    monkeypatch.setattr(sharding, 'SMALL', 1)
    made, bundle, batch = toy.stage(name), jax.device_get(toy.bundle()), tiny.batch(0)
    one = one_step(made, bundle, batch, 'data:1')
    for text in ('data:8', 'data:2,fsdp:4'):
        other = one_step(made, bundle, batch, text)
        assert_same_step(one, other)
        split = [leaf for leaf in jax.tree.leaves(other.state.params) if not leaf.sharding.is_fully_replicated]
        assert bool(split) == ('fsdp' in text)
