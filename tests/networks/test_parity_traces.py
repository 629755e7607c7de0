"""Inside the networks: what every recorded submodule of the originals answers, found here under the same name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import trees
from addsr_jax.networks.autoencoder import Autoencoder
from addsr_jax.networks.controlnet import ControlNet
from addsr_jax.networks.prompt_extractor import PromptExtractor, dape, normalise
from addsr_jax.networks.text_encoder import TextEncoder
from addsr_jax.networks.unet import UNet
from addsr_jax.networks.vit import ViT
from addsr_jax.weights.layout import from_tensors
from addsr_jax.weights.names import STACKED, to_name
from tests import golden
from tests.golden import specs
from tests.networks.test_parity_unet import controlnet_arguments, unet_arguments

pytestmark = pytest.mark.parity
INPUT = {'dino': 'pos_drop'}  # no module here: the first hidden state, which the feature '4' of other cases is


def answers(module, params, arguments, kind, method=None):
    """{PyTorch name of a submodule: what it returned}, the rows of scanned layers one by one."""

    @jax.jit
    def run(params, arguments):
        capture = {'capture_intermediates': True, 'mutable': 'intermediates'}
        return module.apply({'params': params}, method=method, **arguments, **capture)[1]['intermediates']

    found = {}
    for path, (value, *_) in trees.flatten(run(params, arguments)).items():
        place, _, called = path.rpartition('/')
        if called == '__call__' and place:
            found |= named(place, value[0] if isinstance(value, tuple) else value, kind)
    return found


def named(place, value, kind):
    for stem in STACKED.get(kind, ()):
        if place == stem or place.startswith(f'{stem}/'):
            return {to_name(f'{stem}_{i}{place[len(stem) :]}'): row for i, row in enumerate(value)}
    return {to_name(place): value}


def check(network, case, found):
    for name, record in golden.cases(network)[case]['outputs'].items():
        if name == INPUT.get(network):
            continue
        value = np.asarray(found[name])
        if value.ndim == 4:  # maps are recorded as [B, C, H, W] or as tokens [B, H W, C]
            value = golden.to_nchw(value) if len(record['shape']) == 4 else value.reshape(record['shape'])
        golden.check(network, case, name, value)


@pytest.mark.parametrize('case', ['trace_8x8_t499', 'trace_lowvariance'])
def test_every_part_of_the_unet_answers_as_recorded(case):
    state = golden.state_dict('unet', low_variance=case.endswith('lowvariance'))
    arguments = unet_arguments(golden.inputs('unet', case))
    check('unet', case, answers(UNet(specs.unet()), from_tensors(state.items(), 'unet')[0], arguments, 'unet'))


def test_every_part_of_the_controlnet_answers_as_recorded():
    params = from_tensors(golden.state_dict('controlnet').items(), 'controlnet')[0]
    arguments = controlnet_arguments(golden.inputs('controlnet', 'trace_8x8_t499'))
    found = answers(ControlNet(specs.controlnet()), params, arguments, 'controlnet')
    check('controlnet', 'trace_8x8_t499', found)


@pytest.mark.parametrize(
    ('case', 'taken', 'given', 'method'),
    [('trace_encode_64x64', 'image', 'images', 'moments'), ('trace_decode_8x8', 'z', 'latents', 'decode')],
)
def test_every_part_of_the_autoencoder_answers_as_recorded(case, taken, given, method):
    params = from_tensors(golden.state_dict('vae').items(), 'autoencoder')[0]
    arguments = {given: golden.to_nhwc(golden.inputs('vae', case)[taken])}
    check('vae', case, answers(Autoencoder(specs.autoencoder()), params, arguments, 'autoencoder', method))


def test_every_part_of_the_text_encoder_answers_as_recorded():
    params = from_tensors(golden.state_dict('text_encoder').items(), 'text_encoder')[0]
    tokens = jnp.asarray(golden.inputs('text_encoder', 'trace')['input_ids'], jnp.int32)
    found = answers(TextEncoder(specs.text_encoder()), params, {'tokens': tokens}, 'text_encoder')
    check('text_encoder', 'trace', found)


def test_every_part_of_the_prompt_extractor_answers_as_recorded():
    params, lora, _ = from_tensors(golden.state_dict('ram').items(), 'prompt_extractor')
    params = dape(specs.prompt_extractor()).merge(params, lora)
    arguments = {'images': golden.to_nhwc(golden.inputs('ram', 'trace_dape')['image'])}
    module = PromptExtractor(specs.prompt_extractor())
    check('ram', 'trace_dape', answers(module, params, arguments, 'prompt_extractor', 'tokens_and_logits'))


@pytest.mark.parametrize('network', ['dino', 'dinov2'])
def test_every_part_of_the_feature_networks_answers_as_recorded(network):
    images = golden.to_nhwc(golden.inputs(network, 'trace')['x'])
    spec, images = {'dino': (specs.dino(), normalise(images)), 'dinov2': (specs.dinov2(), images)}[network]
    params = from_tensors(golden.state_dict(network).items(), network)[0]
    check(network, 'trace', answers(ViT(spec), params, {'images': images}, network))
