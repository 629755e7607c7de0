"""RAM and DAPE against the recorded answers of the original."""

import jax
import numpy as np
import pytest

from addsr_jax.networks.prompt_extractor import PromptExtractor, dape
from addsr_jax.weights.layout import from_tensors, to_state_dict
from tests import golden
from tests.golden import specs

pytestmark = pytest.mark.parity


@jax.jit
def run(params, image):
    module = PromptExtractor(specs.prompt_extractor())
    return module.apply({'params': params}, image, method='tokens_and_logits')


@pytest.mark.parametrize('case', [case for case in golden.cases('ram') if not case.startswith('trace')])
def test_tokens_and_tags_are_as_recorded(case):
    state = golden.state_dict('ram', low_variance=case.startswith('lowvariance'))
    params, lora, _ = from_tensors(state.items(), 'prompt_extractor')
    if case.startswith('dape'):
        params = dape(specs.prompt_extractor()).merge(params, lora)
    tokens, logits = run(params, golden.to_nhwc(golden.inputs('ram', case)['image']))
    golden.check('ram', case, 'image_embeds', tokens)
    golden.check('ram', case, 'logits', logits)
    golden.check('ram', case, 'probability', jax.nn.sigmoid(logits))


def test_weights_and_low_rank_factors_survive_the_way_there_and_back():
    state = golden.state_dict('ram')
    params, lora, _ = from_tensors(state.items(), 'prompt_extractor')
    again = to_state_dict('prompt_extractor', params, lora)
    assert set(again) == set(state)
    assert all(np.array_equal(again[name], state[name]) for name in state)
