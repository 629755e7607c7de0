"""Loss terms, weights, averages and updates against the recorded arithmetic of the published training script."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from addsr_jax.diffusion import methods, schedule
from addsr_jax.diffusion.denoiser import Denoiser
from addsr_jax.stages.addsr import Heads, Losses, Prediction, Sample
from addsr_jax.stages.addsr_draws import draw
from addsr_jax.stages.addsr_objective import step_index, timestep_weight
from addsr_jax.stages.base import ema_update
from addsr_jax.stages.projected import Projection, make_projection
from addsr_jax.training.optimizers import make_optimizer
from addsr_jax.training.options import OptimizerOptions
from tests import golden, tiny
from tests.golden import model, pictures
from tests.stages.common import objective, released

pytestmark = pytest.mark.parity
CASES = golden.cases('losses')
ABAR = schedule.alphas_cumprod(tiny.SPEC.schedule)


def check(case, output, actual):
    pictures.check('losses', case, output, np.asarray(actual))


class Echo(Projection):
    """A discriminator that answers with the "picture" itself: logits go in where pictures do."""

    def features(self, images, draws, frozen, lq, embedding):
        return images, jnp.zeros(())

    def logits(self, params, spectral, features):
        return features[0]


@dataclasses.dataclass(frozen=True)
class Lines(Echo):
    """Of the target the logits are tanh of the features by a matrix, here in place of the norm vectors."""

    heads: int = 1  # of one kind, on features of their own

    def features(self, images, draws, frozen, lq, embedding):
        return (images,) * self.heads, jnp.zeros(())

    def logits(self, params, spectral, features):
        maps = features[0]
        if spectral is None:
            return maps[0]
        return jnp.concatenate([jnp.tanh(x.reshape(len(x), -1) @ spectral / 5) for x in maps], axis=1)


def losses_with(kind, **changes):
    whole = make_projection(model.networks(), 'none')
    projection = kind(whole.networks, whole.parts, whole.extract, whole.embed)
    student, teacher = (Denoiser(model.networks(), part) for part in ('student', 'teacher'))
    return Losses(student, teacher, projection, dataclasses.replace(objective('addsr'), **changes), ())


def sample(draws, **batch):
    """Data and draws alone: the terms of logits look at nothing else."""
    nothing: Any = None
    return Sample(
        frozen={},
        batch=batch,
        draws=draws,
        s=nothing,
        p=nothing,
        z_s=nothing,
        student=nothing,
        teacher=nothing,
        lq=nothing,
        embedding=nothing,
    )


@pytest.fixture(scope='module')
def losses_of_logits():
    return losses_with(Echo)


def test_hinge_losses_and_their_gradients(losses_of_logits):
    real, fake = (1.5 * pictures.normal(f'loss.{name}', (2, 85)) for name in ('real', 'fake'))
    draws = draw(jax.random.key(0), tiny.SPEC, objective('addsr'), tiny.batch(0, 2))

    def d_loss(real, fake):
        return losses_of_logits.discriminator({}, (None, None), fake, sample(draws, hr=real))[0].mean()

    def g_loss(fake):
        return losses_of_logits.adversarial(Prediction(fake, fake), Heads({}, None), sample(draws))[0].mean()

    value, (to_real, to_fake) = jax.value_and_grad(d_loss, argnums=(0, 1))(jnp.asarray(real), jnp.asarray(fake))
    check('hinge', 'loss_d', value)
    check('hinge', 'grad_real', to_real)
    check('hinge', 'grad_fake', to_fake)
    value, gradient = jax.value_and_grad(g_loss)(jnp.asarray(fake))
    check('hinge', 'gan_loss', value)
    check('hinge', 'gan_grad', gradient)


@pytest.mark.parametrize(
    ('weight', 'heads'), [(0.1, 1), (10.0, 1), (10.0, 3)]
)  # the script's is the mean over its heads, and so the record's for any number of equal ones
def test_r1_and_its_gradient(weight, heads):
    losses = losses_with(partial(Lines, heads=heads), r1=weight)
    x, matrix, fake = (
        jnp.asarray(pictures.normal(f'loss.{name}', shape))
        for name, shape in (('x', (3, 4, 6)), ('w', (24, 7)), ('f', (3, 7)))
    )
    draws = draw(jax.random.key(0), tiny.SPEC, objective('addsr'), tiny.batch(0, 3))

    def d_loss(hr):
        return losses.discriminator({}, (matrix, None), fake, sample(draws, hr=hr))[0].mean()

    value, gradient = jax.value_and_grad(d_loss)(x)
    check('hinge_r1', f'loss_{weight}', value)
    check('hinge_r1', f'grad_{weight}', gradient)


def test_the_published_weight_of_each_timestep():
    made = released()
    table = CASES['ta_weight']['table']
    one, start = jnp.array([False, False, False, True]), jnp.array([0, 1, 2, 0])
    p = step_index(made, one, start)
    weights = timestep_weight(made, ABAR, p, jnp.zeros(4, jnp.int32)) / np.sqrt(ABAR[0])
    np.testing.assert_allclose(weights, [table[t] for t in ('999', '749', '499', '1000')], rtol=1e-5)


def test_arithmetic_of_the_schedule():
    x, noise = (jnp.asarray(pictures.normal(f'sch.{name}', (6, 4, 3, 5))) for name in 'xn')
    t = jnp.asarray(CASES['scheduler_ops']['inputs']['timesteps'])
    noised = schedule.add_noise(ABAR, x, noise, t)
    check('scheduler_ops', 'add_noise', noised)
    check('scheduler_ops', 'get_z0', schedule.predict_z0(ABAR, 'epsilon', 0.9 * noise, noised, t))
    check('scheduler_ops', 'get_velocity', schedule.training_target(ABAR, 'v', x, noise, t))
    signal, sigma = schedule.coefficients(ABAR, t, 4)
    check('scheduler_ops', 'get_weights', signal)
    check('scheduler_ops', 'get_lambda', sigma)


def test_timesteps_of_the_teacher():
    for count, wanted in CASES['set_timesteps']['table'].items():
        assert list(methods.teacher_timesteps(int(count))) == wanted


@pytest.mark.parametrize(('count', 't'), [(3, 667), (3, 1), (50, 981), (50, 1)])
def test_one_ancestral_step(count, t):
    sample, output, fresh = (jnp.asarray(pictures.normal(f'sch.{name}', (6, 4, 3, 5))) for name in 'xnv')
    z0 = schedule.predict_z0(ABAR, 'epsilon', output, sample, jnp.full(6, t))
    ((to_z0, to_zt, deviation),) = schedule.ddpm_coefficients(ABAR, (t,), count)
    check('ddpm_step', f'prev_{count}_{t}', to_z0 * z0 + to_zt * sample + deviation * fresh)


def test_moving_average_of_the_student():
    shapes = {'a': (3, 4), 'b': (4,)}

    def at(k):
        return {name: jnp.asarray(pictures.normal(f'ema.{k}.{name}', shape)) for name, shape in shapes.items()}

    average = at(0)
    for k in (1, 2, 3):
        average = ema_update(average, at(k), 0.99, jnp.asarray(k - 1), warmup=False)
        for name in shapes:
            check('ema', f'shadow{k}_{name}', average[name])


def test_clipped_adamw():
    told = CASES['adamw_clip']['inputs']
    config = OptimizerOptions(
        learning_rate=told['lr'],
        final_learning_rate=told['lr'],
        warmup=0,
        beta1=told['betas'][0],
        beta2=told['betas'][1],
        epsilon=told['eps'],
        weight_decay=told['weight_decay'],
        clip=told['max_grad_norm'],
    )
    optimizer = make_optimizer(config, 100)
    shapes = {'a': (3, 4), 'b': (4,)}
    start = {name: jnp.asarray(pictures.normal(f'ema.0.{name}', shape)) for name, shape in shapes.items()}
    params: Any = start
    state = optimizer.init(start)
    for k in (1, 2, 3):
        gradients = {name: jnp.asarray(pictures.normal(f'adam.{k}.{name}', shape)) for name, shape in shapes.items()}
        check('adamw_clip', f'norm{k}', optax.tree.norm(gradients))
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        for name in shapes:
            moved = np.asarray(params[name], np.float64) - np.asarray(start[name], np.float64)
            check('adamw_clip', f'delta{k}_{name}', moved)
