"""The text encoder against the recorded answers of transformers' CLIPTextModel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax.networks.text_encoder import TextEncoder
from addsr_jax.weights.layout import from_tensors, to_state_dict
from tests import golden
from tests.golden import specs

pytestmark = pytest.mark.parity


@jax.jit
def run(params, tokens):
    return TextEncoder(specs.text_encoder()).apply({'params': params}, tokens)


@pytest.mark.parametrize('case', ['prompts', 'arbitrary', 'short_11', 'lowvariance'])
def test_hidden_states_are_as_recorded(case):
    state = golden.state_dict('text_encoder', low_variance=case == 'lowvariance')
    params = from_tensors(state.items(), 'text_encoder')[0]
    tokens = jnp.asarray(golden.inputs('text_encoder', case)['input_ids'], jnp.int32)
    golden.check('text_encoder', case, 'last_hidden_state', run(params, tokens))


def test_weights_survive_the_way_there_and_back():
    state = golden.state_dict('text_encoder')
    again = to_state_dict('text_encoder', from_tensors(state.items(), 'text_encoder')[0])
    assert set(again) == set(state)
    assert all(np.array_equal(again[name], state[name]) for name in state)
