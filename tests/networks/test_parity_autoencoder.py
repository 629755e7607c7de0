"""The KL autoencoder against the recorded answers of diffusers' AutoencoderKL."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax.networks.autoencoder import Autoencoder
from addsr_jax.weights.layout import from_tensors, to_state_dict
from tests import golden
from tests.golden import pictures, specs
from tests.networks import published_tiles

pytestmark = pytest.mark.parity


@pytest.fixture(scope='module')
def params():
    return from_tensors(golden.state_dict('vae').items(), 'autoencoder')[0]


@pytest.fixture(scope='module')
def small_params():
    return from_tensors(golden.state_dict('vae', low_variance=True).items(), 'autoencoder')[0]


@jax.jit
def encode(params, image):
    module = Autoencoder(specs.autoencoder())
    return module.apply({'params': params}, image, method='moments'), module.apply(
        {'params': params}, image, method='encode'
    )


@jax.jit
def decode(params, latents):
    return Autoencoder(specs.autoencoder()).apply({'params': params}, latents, method='decode')


def check_encode(params, case):
    moments, (mean, std) = encode(params, golden.to_nhwc(golden.inputs('vae', case)['image']))
    for name, value in {'moments': moments, 'mean': mean, 'std': std}.items():
        golden.check('vae', case, name, golden.to_nchw(value))


@pytest.mark.parametrize('case', [case for case in golden.cases('vae') if case.startswith('encode')])
def test_encoder_answers_as_recorded(params, case):
    check_encode(params, case)


@pytest.mark.parametrize('case', [case for case in golden.cases('vae') if case.startswith('decode')])
def test_decoder_answers_as_recorded(params, case):
    latents = golden.to_nhwc(golden.inputs('vae', case)['z'])
    golden.check('vae', case, 'image', golden.to_nchw(decode(params, latents)))


def test_both_show_every_epsilon_as_recorded(small_params):
    check_encode(small_params, 'lowvariance_encode_64x64')
    latents = golden.to_nhwc(golden.inputs('vae', 'lowvariance_decode_8x8')['z'])
    golden.check('vae', 'lowvariance_decode_8x8', 'image', golden.to_nchw(decode(small_params, latents)))


def test_gradient_through_the_clipped_decoder_is_as_recorded(params):
    x = {name: golden.to_nhwc(value) for name, value in golden.inputs('vae', 'grad_decode_8x8').items()}

    def loss(latents):
        image = jnp.clip(decode(params, latents), -1, 1) / 2 + 0.5
        return ((image - x['target']) ** 2).mean()

    value, gradient = jax.jit(jax.value_and_grad(loss))(x['z'])
    golden.check('vae', 'grad_decode_8x8', 'loss', value)
    golden.check('vae', 'grad_decode_8x8', 'd_z', golden.to_nchw(gradient))


WIDE = Autoencoder(specs.autoencoder(golden.document('tiling', 'cases')['tiled_vae_config']))


@pytest.fixture(scope='module')
def wide_params():
    """Another size with norms of 32 groups, filled by the rule."""
    shapes = jax.eval_shape(WIDE.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))['params']
    zeros = to_state_dict('autoencoder', jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes))
    return from_tensors({name: golden.tensor(name, x.shape) for name, x in zeros.items()}.items(), 'autoencoder')[0]


@pytest.mark.parametrize(('height', 'width'), [(20, 45), (40, 36), (44, 45)])
def test_large_latents_are_decoded_whole_as_recorded(wide_params, height, width):
    z = golden.to_nhwc(pictures.normal('tile.z', (1, 4, height, width)))
    image = jax.jit(partial(WIDE.apply, method='decode'))({'params': wide_params}, z)
    pictures.check('tiling', f'vae_tiled_decode_{height}x{width}', 'untiled', golden.to_nchw(image))


@pytest.mark.parametrize(('height', 'width'), [(20, 45), (40, 36), (44, 45)])
def test_latents_in_tiles_that_share_statistics_are_decoded_as_recorded(wide_params, height, width):
    z = golden.to_nhwc(pictures.normal('tile.z', (1, 4, height, width)))
    image = jax.jit(partial(published_tiles.decode, WIDE, side=16))(wide_params, z)
    pictures.check('tiling', f'vae_tiled_decode_{height}x{width}', 'tiled', golden.to_nchw(image))


def test_a_picture_in_tiles_that_share_statistics_is_encoded_as_recorded(wide_params):
    image = 2 * pictures.pictures('tile.img', 1, 160, 136) - 1
    moments = jax.jit(partial(published_tiles.moments, WIDE, side=64))(wide_params, image)
    pictures.check('tiling', 'vae_tiled_encode_160x136', 'tiled', golden.to_nchw(moments))


def test_a_large_picture_is_encoded_whole_as_recorded(wide_params):
    image = 2 * pictures.pictures('tile.img', 1, 160, 136) - 1
    moments = jax.jit(partial(WIDE.apply, method='moments'))({'params': wide_params}, image)
    pictures.check('tiling', 'vae_tiled_encode_160x136', 'untiled', golden.to_nchw(moments))


def test_weights_survive_the_way_there_and_back(params):
    state, again = golden.state_dict('vae'), to_state_dict('autoencoder', params)
    assert set(again) == set(state)
    assert all(np.array_equal(again[name], state[name]) for name in state)
