"""One whole training step of `configs/addsr.py:sd2_released` against its record: losses, gradients, updates."""

import dataclasses
from functools import cache
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from addsr_jax import sharding, trees
from addsr_jax.ops.augment import AugmentDraws
from addsr_jax.stages.addsr_draws import Draws
from addsr_jax.stages.table import addsr
from addsr_jax.training import config, job
from addsr_jax.training.optimizers import make_optimizer
from addsr_jax.training.options import OptimizerOptions
from addsr_jax.weights import layout, names
from tests import golden
from tests.golden import model, pictures

pytestmark = pytest.mark.parity
CASES = golden.cases('train_step')
CONFIG = f'{Path(__file__).parents[2]}/configs/addsr.py:sd2_released'
SIDE = 96


def remembers_gradients() -> optax.GradientTransformation:
    """Changes nothing; its state is the gradient."""
    return optax.GradientTransformation(
        lambda params: jax.tree.map(jnp.zeros_like, params),
        lambda gradients, state, params=None: (gradients, gradients),
    )


def seen(options: OptimizerOptions, steps: int) -> optax.GradientTransformation:
    """The config's optimiser, behind a look at what it gets."""
    return optax.chain(remembers_gradients(), make_optimizer(options, steps))


@cache
def stage():
    """That of the config of the published script, as it stands."""
    # the record's student is no copy of its teacher; on a machine's devices a run settles remat itself
    options = config.train_options(CONFIG, [('objective.start', 'student'), ('remat', 'none')])
    with mock.patch.object(job, 'make_optimizer', seen):
        return job.make_stage(options, model.spec(), sharding.make_mesh('data:1', jax.devices()[:1]))


def batch():
    ids = model.tokens('train.ids', 2)
    ids[0, 1:], ids[0, 1] = 1, 2  # the first prompt is empty
    hr, lq = (2 * pictures.pictures(f'train.{name}', 2, SIDE, SIDE) - 1 for name in ('hr', 'lq'))
    return {'hr': hr, 'lq': lq, 'tokens': ids}


def augmentation(case, name: str) -> AugmentDraws:
    """The record's integers as ours; where no crop was taken its corner was never drawn."""
    told = {entry[0].removeprefix('train.aug.'): np.ravel(entry[-1]) for entry in case['draws']}

    def pairs(x):
        return jnp.asarray(np.stack([told[f'{name}.{x}_{axis}'] for axis in 'xy'], axis=1), jnp.int32)

    corner = [
        (float(told[f'{name}.crop_{side}'][0]) + 0.5) / 33 if f'{name}.crop_{side}' in told else 0.0
        for side in ('top', 'left')
    ]
    crop = case['inputs']['crop_decision'][name]
    return AugmentDraws(
        shift=pairs('translation'), cutout=pairs('cutout'), crop=jnp.full(2, crop), corner=jnp.asarray([corner] * 2)
    )


def draws(case) -> Draws:
    field = golden.to_nhwc(pictures.normal('train.noise', (2, 4, 12, 12)))
    starts = next((entry[-1] for entry in case['draws'] if entry[0] == 'first_step_index'), [0, 0])
    order = {499: 0, 749: 1, 999: 2}  # the record counts the chain from its end
    chain = [2 - i for i in starts]
    assert case['inputs']['p'] <= 0.5 or [order[t] for t in case['inputs']['first_step_timesteps']] == list(starts)
    times = np.asarray(case['inputs']['timesteps_tea']).reshape(4, 2).T
    return Draws(
        one_step=jnp.full(2, case['inputs']['p'] <= 0.5),
        chain_start=jnp.asarray(chain, jnp.int32),
        posterior=jnp.asarray(golden.to_nhwc(pictures.normal('train.vae_eps', (2, 4, 12, 12)))),
        first_noise=jnp.asarray(field),
        noise=jnp.asarray(field),
        teacher_timesteps=jnp.asarray(times, jnp.int32),
        teacher_noise=jnp.broadcast_to(jnp.asarray(field)[:, None], (2, 4, 12, 12, 4)),
        augment_real=augmentation(case, 'real'),
        augment_fake=augmentation(case, 'fake_d'),
        augment_student=augmentation(case, 'fake_g'),
        corners=jnp.zeros((2, 2), jnp.int32),  # the published loss has no LPIPS
    )


@cache
def start():
    made = stage()
    bundle = {**model.frozen(), 'student': model.denoiser('stu/')}
    params, _, spectral = layout.from_tensors(golden.state_dict('discriminator').items(), 'discriminator')
    state = made.init(jax.random.key(0), jax.tree.map(jnp.asarray, bundle))
    discriminator = {**state.discriminator, 'params': params, 'spectral': spectral}
    state = dataclasses.replace(state, discriminator=discriminator)  # its optimiser's first moments are zeros anyway
    return jax.tree.map(jnp.asarray, state), made.freeze(jax.tree.map(jnp.asarray, bundle))


@cache
def program():
    def run(state, frozen, data, chosen):
        original, addsr.draw = addsr.draw, lambda *_: chosen
        try:
            return stage().update(state, frozen, data)
        finally:
            addsr.draw = original

    return jax.jit(run)


@cache
def taken(name: str):
    """(state before, state after, metrics) of the recorded step."""
    state, frozen = start()
    after, metrics = program()(state, frozen, batch(), draws(CASES[name]))
    return state, after, metrics


def check(name, output, actual):
    pictures.check('train_step', name, output, np.asarray(actual))


@pytest.mark.parametrize('name', CASES)
def test_losses_are_as_recorded(name):
    _, _, metrics = taken(name)
    check(name, 'loss', metrics['loss'])
    check(name, 'gan_loss', metrics['adversarial'])
    check(name, 'loss_D', metrics['d_loss'])
    check(name, 'grad_norm_total_before_clip', metrics['gradient_norm'])
    check(name, 'grad_norm_D', metrics['d_gradient_norm'])


def their_leaf(tree, network: str, name: str) -> np.ndarray:
    """The leaf of a PyTorch name, in PyTorch's layout."""
    return layout.to_state_dict(network, tree)[name]


@pytest.mark.parametrize('name', ['plain', 'psr'])
def test_gradients_and_updates_of_the_student_are_as_recorded(name):
    before, after, _ = taken(name)
    gradients = after.optimizer[0]['student']
    for i, full in enumerate(CASES[name]['G_tensors']):
        network, tensor = full.split('/')
        check(name, f'grad_G_{i}', their_leaf(gradients[network], network, tensor))
        old, new = (
            their_leaf(s.params['student'][network], network, tensor).astype(np.float64) for s in (before, after)
        )
        check(name, f'update_G_{i}', new - old)
    for network in ('unet', 'controlnet'):
        check(name, f'grad_norm_{network}', optax.tree.norm(gradients[network]))


@pytest.mark.parametrize('name', ['plain', 'psr'])
def test_gradients_and_norm_vectors_of_the_discriminator_are_as_recorded(name):
    before, after, _ = taken(name)
    gradients = after.discriminator_optimizer[0]
    for i, full in enumerate(CASES[name]['D_tensors']):
        tensor = full.removeprefix('heads.')
        check(name, f'grad_D_{i}', their_leaf(gradients, 'discriminator', tensor))
        heads = (their_leaf(s.discriminator['params'], 'discriminator', tensor) for s in (before, after))
        old, new = (h.astype(np.float64) for h in heads)
        check(name, f'update_D_{i}', new - old)
    check(name, 'grad_norm_D_left_over_from_gan_loss', optax.tree.norm(after.discriminator['leak']))
    vector = CASES[name]['spectral_u_name'].removeprefix('heads.')
    check(name, 'spectral_u_after', their_leaf(after.discriminator['spectral'], 'discriminator', vector))


def test_what_is_trained_is_what_the_published_code_trains():
    before, _, _ = taken('plain')
    for network in ('unet', 'controlnet'):
        count = len(trees.flatten(before.params['student'][network]))
        assert count == CASES['plain']['trained_tensors'][network]
    assert names.to_path('conv_in.weight', 4) not in trees.flatten(before.params['student']['controlnet'])
