"""The learning rate and the clipping are what the numbers say."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax.errors import UserError
from addsr_jax.training.optimizers import learning_rate, make_optimizer
from addsr_jax.training.options import OptimizerOptions

OPTIONS = OptimizerOptions(
    learning_rate=1e-3,
    final_learning_rate=1e-5,
    warmup=10,
    beta1=0.9,
    beta2=0.999,
    epsilon=1e-8,
    weight_decay=0.0,
    clip=0.0,
)


def change(options: OptimizerOptions, gradient: float, value: float = 0.0) -> float:
    """What one update adds to a parameter."""
    optimizer, params = make_optimizer(options, 100), jnp.full(4, value)
    updates, _ = optimizer.update(jnp.full(4, gradient), optimizer.init(params), params)
    return float(jnp.asarray(updates)[0])


def test_warm_up_is_linear_and_the_decay_a_cosine():
    rate = learning_rate(OPTIONS, 110)
    np.testing.assert_allclose(rate(0), 1e-4, rtol=1e-5)
    np.testing.assert_allclose(rate(10), 1e-3, rtol=1e-5)
    np.testing.assert_allclose(rate(60), (1e-3 + 1e-5) / 2, rtol=1e-3)
    np.testing.assert_allclose(rate(110), 1e-5, rtol=1e-3)


def test_a_rate_without_warm_up_starts_at_once():
    np.testing.assert_allclose(learning_rate(dataclasses.replace(OPTIONS, warmup=0), 100)(0), 1e-3, rtol=1e-6)


def test_a_rate_is_halved_after_each_of_its_updates_as_a_multistep_schedule_does():
    options = dataclasses.replace(OPTIONS, final_learning_rate=1e-3, halve_at=(20, 30))
    rate = learning_rate(options, 1000)
    wanted = {10: 1e-3, 19: 1e-3, 20: 5e-4, 29: 5e-4, 30: 2.5e-4, 999: 2.5e-4}
    np.testing.assert_allclose([rate(n) for n in wanted], list(wanted.values()), rtol=1e-6)
    for wrong, said in (({'halve_at': (30, 20)}, 'halve_at must rise'), ({'final_learning_rate': 1e-5}, 'halve_at')):
        with pytest.raises(UserError, match=said):
            dataclasses.replace(options, **wrong)


def test_the_first_step_of_adam_is_the_rate_against_the_sign():
    options = dataclasses.replace(OPTIONS, warmup=0)
    assert change(options, 0.5) == pytest.approx(-1e-3, rel=1e-4)
    assert change(options, -7.0) == pytest.approx(1e-3, rel=1e-4)


def test_decay_shrinks_parameters_and_epsilon_damps_small_gradients():
    options = dataclasses.replace(OPTIONS, warmup=0)
    assert change(dataclasses.replace(options, weight_decay=0.1), 0.0, 2.0) == pytest.approx(-2e-4, rel=1e-4)
    assert abs(change(dataclasses.replace(options, epsilon=1.0), 1e-3)) < 1e-5


def test_clipping_bounds_the_global_norm():
    options = dataclasses.replace(OPTIONS, warmup=0, epsilon=1.0)
    clipped, free = change(dataclasses.replace(options, clip=1.0), 100.0), change(options, 100.0)
    assert clipped == pytest.approx(-1e-3 * 0.5 / 1.5, rel=1e-3)  # norm 200 -> 1: each gradient 1/2
    assert abs(free) > abs(clipped)


@pytest.mark.parametrize(
    'change_', [{'learning_rate': 0.0}, {'warmup': -1}, {'clip': -1.0}, {'final_learning_rate': -1.0}]
)
def test_impossible_numbers_are_refused(change_):
    with pytest.raises(UserError, match=next(iter(change_))):
        dataclasses.replace(OPTIONS, **change_)
