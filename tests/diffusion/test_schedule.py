"""The schedule's identities."""

import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import sizes
from addsr_jax.diffusion import methods, schedule

ABAR = schedule.alphas_cumprod(sizes.SD2.schedule)
RNG = np.random.default_rng(0)
Z0, NOISE = RNG.normal(size=(2, 4, 8, 8, 4)).astype(np.float32)
T = jnp.array([0, 249, 749, 999])


def test_signal_and_noise_of_the_published_checkpoints():
    np.testing.assert_allclose(
        ABAR[[0, 249, 499, 749, 999]], [0.99915, 0.675432, 0.27767, 0.056623, 0.00466], atol=1e-6
    )


@pytest.mark.parametrize('prediction', ['epsilon', 'v'])
def test_a_perfect_network_of_either_kind_gives_back_z0(prediction):
    z = schedule.add_noise(ABAR, Z0, NOISE, T)
    answer = schedule.training_target(ABAR, prediction, Z0, NOISE, T)
    np.testing.assert_allclose(schedule.predict_z0(ABAR, prediction, answer, z, T), Z0, atol=2e-4)


def test_unknown_parameterisations_are_refused():
    with pytest.raises(ValueError, match='epsilon'):
        schedule.predict_z0(ABAR, 'x0', Z0, Z0, T)
    with pytest.raises(ValueError, match='epsilon'):
        schedule.training_target(ABAR, 'x0', Z0, NOISE, T)


def test_the_students_chain_is_trailing_and_stops_early_below_four_steps():
    assert methods.student_timesteps(4) == (999, 749, 499, 249)
    assert methods.student_timesteps(1) == (999,)
    assert methods.student_timesteps(2) == (999, 749)
    eight = methods.student_timesteps(8)
    assert len(set(eight)) == 8
    assert (eight[0], eight[-1]) == (999, 124)
    with pytest.raises(ValueError, match='at least 1'):
        methods.student_timesteps(0)


def test_the_teachers_grid_is_leading_with_an_offset():
    fifty = methods.teacher_timesteps(50)
    assert (fifty[0], fifty[1], fifty[-1], len(fifty)) == (981, 961, 1, 50)
    with pytest.raises(ValueError, match='1000'):
        methods.teacher_timesteps(1001)


def test_the_last_ancestral_step_returns_z0():
    last = schedule.ddpm_coefficients(ABAR, methods.teacher_timesteps(50), 50)[-1]
    np.testing.assert_allclose(last, [1, 0, 1e-10], atol=1e-6)
