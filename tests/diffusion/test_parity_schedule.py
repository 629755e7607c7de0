"""The noise schedule and the ancestral step against the recorded answers of diffusers' DDPMScheduler."""

import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax.diffusion import methods, schedule
from addsr_jax.sizes import SD2
from tests import golden

pytestmark = pytest.mark.parity
ABAR = schedule.alphas_cumprod(SD2.schedule)
STEPS = [case for case in golden.cases('schedule') if case.startswith('step')]


def test_signal_levels_are_as_recorded():
    golden.check('schedule', 'tables', 'alphas_cumprod', ABAR)


@pytest.mark.parametrize('count', [1, 2, 3, 4, 8, 50])
def test_teacher_timesteps_are_as_recorded(count):
    golden.check('schedule', 'tables', f'timesteps.leading.{count}', np.array(methods.teacher_timesteps(count)))


@pytest.mark.parametrize('count', [4, 8, 50])
def test_student_timesteps_are_the_recorded_trailing_ones(count):
    golden.check('schedule', 'tables', f'timesteps.trailing.{count}', np.array(methods.student_timesteps(count)))


def test_noising_and_its_inverse_are_as_recorded():
    x = golden.inputs('schedule', 'pairs')
    z0, zt, noise = (golden.to_nhwc(x[k]) for k in ('x0', 'xt', 'noise'))
    t = jnp.asarray(x['t'], jnp.int32)
    noised = schedule.add_noise(ABAR, z0, noise, t)
    golden.check('schedule', 'pairs', 'add_noise', golden.to_nchw(noised))
    golden.check('schedule', 'pairs', 'get_z0', golden.to_nchw(schedule.predict_z0(ABAR, 'epsilon', noise, zt, t)))
    back = schedule.predict_z0(ABAR, 'epsilon', noise, noised, t)
    golden.check('schedule', 'pairs', 'get_z0_of_add_noise', golden.to_nchw(back))
    velocity = schedule.training_target(ABAR, 'v', z0, noise, t)
    golden.check('schedule', 'pairs', 'get_velocity', golden.to_nchw(velocity))


@pytest.mark.parametrize('case', STEPS)
def test_ancestral_steps_are_as_recorded(case):
    x = golden.inputs('schedule', case)
    output, z, noise = (golden.to_nhwc(x[k]) for k in ('model_output', 'sample', 'variance_noise'))
    t, count = int(x['t']), int(x.get('num_inference_steps', 4))
    prediction = 'v' if 'vpred' in case else 'epsilon'
    z0 = schedule.predict_z0(ABAR, prediction, output, z, jnp.full(2, t))
    z0 = jnp.clip(z0, -1, 1) if 'clip' in case else z0  # not in the sampler: SD-2's file says clip_sample false
    to_z0, to_zt, deviation = schedule.ddpm_coefficients(ABAR, (t,), count)[0]
    golden.check('schedule', case, 'pred_original_sample', golden.to_nchw(z0))
    golden.check('schedule', case, 'prev_sample', golden.to_nchw(to_z0 * z0 + to_zt * z + deviation * noise))
