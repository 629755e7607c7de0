"""The small decoder: its form, and the living library's numbers."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import trees
from addsr_jax.networks.build import apply
from addsr_jax.networks.tiny_decoder import TinyDecoder
from addsr_jax.specs import TinyDecoderSpec
from addsr_jax.weights import layout, published, single_files
from addsr_jax.weights.stored import Stored

SPEC = TinyDecoderSpec(channels=8, blocks=(2, 1, 1))


@pytest.fixture(scope='module')
def params():
    return TinyDecoder(SPEC).init(jax.random.key(0), jnp.zeros((1, 4, 4, 4)))['params']


def test_latents_become_a_picture_of_the_factor_of_the_levels(params):
    found = apply(TinyDecoder(SPEC), params, jnp.zeros((2, 5, 3, 4)))
    assert found.shape == (2, 20, 12, 3)
    assert SPEC.factor == 4


def test_latents_beyond_three_deviations_count_as_three(params):
    signs = jnp.sign(jax.random.normal(jax.random.key(1), (1, 4, 4, 4)))
    found, clamped = (apply(TinyDecoder(SPEC), params, far * signs) for far in (30, 1e4))
    np.testing.assert_allclose(found, clamped, atol=1e-5)


def stored(array):
    return Stored(tuple(array.shape), np.dtype('float32'), lambda: array)


@pytest.mark.parametrize('of', ['diffusers', 'the original'])
def test_its_sizes_follow_from_the_names_and_shapes_of_both_layouts(params, of, tmp_path):
    state = layout.to_state_dict('tiny_decoder', params)
    theirs = {f'decoder.{name}': tensor for name, tensor in state.items()} | {'encoder.layers.0.weight': np.zeros(3)}
    if of == 'the original':
        theirs = {}
        for name, tensor in state.items():
            _, place, rest = name.split('.', 2)
            theirs[f'{int(place) + 1}.{rest}'] = tensor
    names = published.current_names({name: stored(t) for name, t in theirs.items()}, 'tiny_decoder', tmp_path)
    assert set(names) == set(state)
    assert single_files.tiny_decoder_spec(names, tmp_path) == SPEC
    back, _, _ = layout.from_tensors(((name, tensor.read()) for name, tensor in names.items()), 'tiny_decoder')
    for path, leaf in trees.flatten(params).items():
        np.testing.assert_array_equal(trees.flatten(back)[path], leaf)


@pytest.mark.torch
def test_the_published_size_gives_the_numbers_of_diffusers():
    import torch
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

    torch.manual_seed(0)
    living = AutoencoderTiny().eval()
    state = {name: tensor.numpy() for name, tensor in living.state_dict().items() if name.startswith('decoder.')}
    names = published.current_names({name: stored(t) for name, t in state.items()}, 'tiny_decoder', Path('it'))
    spec = single_files.tiny_decoder_spec(names, Path('it'))
    assert spec == TinyDecoderSpec(channels=64, blocks=(3, 3, 3, 1))
    tree, _, _ = layout.from_tensors(((name, tensor.read()) for name, tensor in names.items()), 'tiny_decoder')
    z = np.random.default_rng(0).standard_normal((2, 8, 6, 4)).astype(np.float32)
    with torch.no_grad():
        wanted = living.decoder(torch.from_numpy(z.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
    found = apply(TinyDecoder(spec), tree, z)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
