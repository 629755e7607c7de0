"""PyTorch names and parameter paths are two spellings of one thing."""

import json

import numpy as np
import pytest

from addsr_jax import trees
from addsr_jax.weights import layout, names
from tests.golden import FIXTURES, state_dict

NETWORKS = {
    'unet': 'unet',
    'controlnet': 'controlnet',
    'vae': 'autoencoder',
    'text_encoder': 'text_encoder',
    'ram': 'prompt_extractor',
    'dino': 'dino',
    'dinov2': 'dinov2',
    'discriminator': 'discriminator',
}


@pytest.mark.parametrize('folder', NETWORKS)
def test_every_recorded_name_becomes_a_path_and_back(folder):
    manifest = json.loads((FIXTURES / folder / 'manifest.json').read_text())
    for name, (shape, _) in manifest.items():
        assert names.to_name(names.to_path(name, len(shape))) == name


@pytest.mark.parametrize(('folder', 'network'), NETWORKS.items())
def test_a_state_dict_survives_the_journey_bit_for_bit(folder, network):
    state = state_dict(folder)
    back = layout.to_state_dict(network, *layout.from_tensors(state.items(), network))
    assert set(back) == set(state)
    for name, tensor in state.items():
        np.testing.assert_array_equal(back[name], tensor, err_msg=name)


def test_layouts_turn_round():
    state = {'conv.weight': np.arange(2 * 3 * 5 * 7).reshape(2, 3, 5, 7), 'fc.weight': np.arange(6).reshape(2, 3)}
    params, _, _ = layout.from_tensors(state.items(), 'unet')
    flat = trees.flatten(params)
    assert flat['conv/kernel'].shape == (5, 7, 3, 2)
    assert flat['fc/kernel'].shape == (3, 2)


def test_scanned_layers_with_a_gap_are_refused():
    state = {f'blocks.{i}.norm1.weight': np.ones(2) for i in (0, 2)}
    with pytest.raises(ValueError, match=r'rows \[0, 2\]'):
        layout.from_tensors(state.items(), 'dino')
