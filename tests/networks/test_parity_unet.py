"""UNet and ControlNet against the recorded answers of the PyTorch originals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import trees
from addsr_jax.networks.controlnet import ControlNet
from addsr_jax.networks.unet import UNet
from addsr_jax.weights.layout import from_tensors, to_state_dict
from tests import golden
from tests.golden import specs

pytestmark = pytest.mark.parity
FORWARD = {
    network: [case for case in golden.cases(network) if case.startswith('s')] for network in ('unet', 'controlnet')
}


def unet_arguments(x):
    steps = np.broadcast_to(x['timestep'], x['sample'].shape[:1])
    down = [golden.to_nhwc(x[k]) for k in x if k.startswith('down_block_additional_residuals')]
    return {
        'latents': golden.to_nhwc(x['sample']),
        'timesteps': jnp.asarray(steps, jnp.int32),
        'encoder_hidden_states': x['encoder_hidden_states'],
        'image_encoder_hidden_states': x['image_encoder_hidden_states'],
        'down_residuals': tuple(down) or None,
        'mid_residual': golden.to_nhwc(x['mid_block_additional_residual']) if down else None,
    }


def controlnet_arguments(x):
    steps = np.broadcast_to(x['timestep'], x['sample'].shape[:1])
    return {
        'latents': golden.to_nhwc(x['sample']),
        'timesteps': jnp.asarray(steps, jnp.int32),
        'encoder_hidden_states': x['encoder_hidden_states'],
        'image_encoder_hidden_states': x['image_encoder_hidden_states'],
        'condition': golden.to_nhwc(x['controlnet_cond']),
    }


@pytest.fixture(scope='module')
def unet():
    module = UNet(specs.unet())
    params, _, _ = from_tensors(golden.state_dict('unet').items(), 'unet')
    return jax.jit(lambda p, a: module.apply({'params': p}, **a)), params


@pytest.fixture(scope='module')
def controlnet():
    module = ControlNet(specs.controlnet())
    params, _, _ = from_tensors(golden.state_dict('controlnet').items(), 'controlnet')

    def run(p, a, scale):
        (down, mid), sown = module.apply({'params': p}, **a, conditioning_scale=scale, mutable='intermediates')
        return down, mid, sown['intermediates']

    return jax.jit(run), params


def answers(run, params, arguments, rows: int, *more):
    """In batches of `rows` pictures, filled up by repeating: cases of one shape share a program."""
    count = len(arguments['latents'])
    parts = []
    for start in range(0, count, rows):
        chosen = np.arange(start, start + rows) % count
        parts.append(run(params, jax.tree.map(lambda x, i=chosen: np.asarray(x)[i], arguments), *more))
    return jax.tree.map(lambda *x: np.concatenate(x)[:count], *parts)


UNET_ROWS = {'s8x8_alltimesteps': 1}  # as the gradients; else 2
CONTROLNET_ROWS = {'s12x20_t749_scale0.6': 2}  # as where it feeds the UNet; else 1


@pytest.mark.parametrize('case', FORWARD['unet'])
def test_unet_answers_as_recorded(unet, case):
    run, params = unet
    answer = answers(run, params, unet_arguments(golden.inputs('unet', case)), UNET_ROWS.get(case, 2))
    golden.check('unet', case, 'sample', golden.to_nchw(answer))


def test_unet_shows_every_epsilon_as_recorded(unet):
    run, _ = unet
    params, _, _ = from_tensors(golden.state_dict('unet', low_variance=True).items(), 'unet')
    case = 'lowvariance_8x8_t249'
    golden.check('unet', case, 'sample', golden.to_nchw(run(params, unet_arguments(golden.inputs('unet', case)))))


def test_unet_gradients_are_as_recorded(unet):
    run, params = unet
    a = unet_arguments(golden.inputs('unet', 'grad_8x8'))
    constant = a['latents']

    def loss(params, moving):
        out = run(params, {**a, **moving})
        return (out * constant).sum() + 0.5 * (out**2).sum()

    moving = {k: a[k] for k in ('latents', 'encoder_hidden_states', 'image_encoder_hidden_states', 'mid_residual')}
    value, (of_params, of_inputs) = jax.value_and_grad(loss, argnums=(0, 1))(params, moving)
    norms = {name: np.linalg.norm(g) for name, g in to_state_dict('unet', of_params).items()}
    names = golden.document('unet', 'cases')['grad_names']
    golden.check('unet', 'grad_8x8', 'loss', value)
    golden.check('unet', 'grad_8x8', 'd_sample', golden.to_nchw(of_inputs['latents']))
    golden.check('unet', 'grad_8x8', 'd_encoder_hidden_states', of_inputs['encoder_hidden_states'])
    golden.check('unet', 'grad_8x8', 'd_image_encoder_hidden_states', of_inputs['image_encoder_hidden_states'])
    golden.check('unet', 'grad_8x8', 'd_mid_block_additional_residual', golden.to_nchw(of_inputs['mid_residual']))
    golden.check('unet', 'grad_8x8', 'param_grad_norms', np.array([norms[name] for name in names]))


def even(scale: float, count: int = 10) -> jax.Array:
    return jnp.full(count, scale, jnp.float32)


@pytest.mark.parametrize('case', FORWARD['controlnet'])
def test_controlnet_answers_as_recorded(controlnet, case):
    run, params = controlnet
    x = golden.inputs('controlnet', case)
    outputs = golden.cases('controlnet')[case]['outputs']
    count = sum(name.startswith('down.') for name in outputs) + 1
    scales = jnp.logspace(-1, 0, count) if case.endswith('guess') else even(x['conditioning_scale'], count)
    check_controlnet(case, answers(run, params, controlnet_arguments(x), CONTROLNET_ROWS.get(case, 1), scales))


def test_controlnet_shows_every_epsilon_as_recorded(controlnet):
    run, _ = controlnet
    params, _, _ = from_tensors(golden.state_dict('controlnet', low_variance=True).items(), 'controlnet')
    x = golden.inputs('controlnet', 'lowvariance_8x8_t249')
    count = sum(n.startswith('down.') for n in golden.cases('controlnet')['lowvariance_8x8_t249']['outputs']) + 1
    check_controlnet('lowvariance_8x8_t249', run(params, controlnet_arguments(x), even(1.0, count)))


def test_controlnet_gradients_are_as_recorded(controlnet):
    run, params = controlnet
    a = controlnet_arguments(golden.inputs('controlnet', 'grad_8x8'))

    def loss(params, moving):
        down, mid, _ = run(params, {**a, **moving}, jnp.ones(10))
        return sum((x**2).mean() for x in (*down, mid))

    moving = {k: a[k] for k in ('latents', 'condition')}
    value, (of_params, of_inputs) = jax.value_and_grad(loss, argnums=(0, 1))(params, moving)
    norms = {name: np.linalg.norm(g) for name, g in to_state_dict('controlnet', of_params).items()}
    names = golden.document('controlnet', 'cases')['grad_names']
    golden.check('controlnet', 'grad_8x8', 'loss', value)
    golden.check('controlnet', 'grad_8x8', 'd_sample', golden.to_nchw(of_inputs['latents']))
    golden.check('controlnet', 'grad_8x8', 'd_controlnet_cond', golden.to_nchw(of_inputs['condition']))
    golden.check('controlnet', 'grad_8x8', 'param_grad_norms', np.array([norms[name] for name in names]))


def check_controlnet(case, answer):
    down, mid, sown = answer
    for i, residual in enumerate(down):
        golden.check('controlnet', case, f'down.{i}', golden.to_nchw(residual))
    golden.check('controlnet', case, 'mid', golden.to_nchw(mid))
    golden.check('controlnet', case, 'repre', golden.to_nchw(sown['repre'][0]))
    for i in range(3):
        feature = sown['controlnet_cond_embedding'][f'feature_map_{i}'][0]
        golden.check('controlnet', case, f'feature_map.{i}', golden.to_nchw(feature))


def test_controlnet_feeds_the_unet_as_recorded(unet, controlnet):
    x = golden.inputs('unet', 'chain_controlnet_12x20')
    control, control_params = controlnet
    scales = even(x['conditioning_scale'])
    down, mid, _ = control(control_params, controlnet_arguments(x), scales)
    run, params = unet
    answer = run(params, {**unet_arguments(x), 'down_residuals': down, 'mid_residual': mid})
    golden.check('unet', 'chain_controlnet_12x20', 'sample', golden.to_nchw(answer))


@pytest.mark.parametrize('network', ['unet', 'controlnet'])
def test_weights_survive_the_way_there_and_back(network):
    state = golden.state_dict(network)
    params, lora, spectral = from_tensors(state.items(), network)
    assert not trees.flatten(lora)
    assert not trees.flatten(spectral)
    again = to_state_dict(network, params)
    assert set(again) == set(state)
    assert all(np.array_equal(again[name], state[name]) for name in state)
