"""DINO and DINOv2 against the recorded answers of timm's and the authors' networks."""

import jax
import pytest

from addsr_jax.networks.discriminator import readout
from addsr_jax.networks.prompt_extractor import normalise
from addsr_jax.networks.vit import ViT
from addsr_jax.ops.image import resize
from addsr_jax.weights.layout import from_tensors
from tests import golden
from tests.golden import specs

pytestmark = pytest.mark.parity
HOOKS = (2, 5, 8, 11)


@jax.jit
def dino(params, images):
    return readout(ViT(specs.dino()).apply({'params': params}, images)[0], HOOKS)


@jax.jit
def dinov2(params, images):
    hidden, tokens = ViT(specs.dinov2()).apply({'params': params}, images)
    patches = [hidden[i][:, 1:] for i in (0, *(block + 1 for block in HOOKS))]  # recorded without the class token
    return patches, tokens[:, 0]


@pytest.mark.parametrize('case', ['x64x64', 'x128x128', 'x96x80', 'x40x50', 'lowvariance', 'flex_96x64'])
def test_dino_features_are_as_recorded(case):
    state = golden.state_dict('dino', low_variance=case == 'lowvariance')
    images = golden.to_nhwc(golden.inputs('dino', case)['x'])
    if not case.startswith('flex'):  # the others begin at the picture, not at the network
        images = normalise(resize(images, (64, 64), 'area'))
    for k, feature in enumerate(dino(from_tensors(state.items(), 'dino')[0], images)):
        golden.check('dino', case, str(k), feature.swapaxes(1, 2))


@pytest.mark.parametrize('case', ['x70x70_native', 'x98x98', 'x42x56', 'x112x70', 'lowvariance'])
def test_dinov2_features_and_class_token_are_as_recorded(case):
    state = golden.state_dict('dinov2', low_variance=case == 'lowvariance')
    images = golden.to_nhwc(golden.inputs('dinov2', case)['x'])
    features, cls = dinov2(from_tensors(state.items(), 'dinov2')[0], images)
    golden.check('dinov2', case, 'cls', cls)
    for k, feature in enumerate(features):
        golden.check('dinov2', case, f'features.{k}', feature.swapaxes(1, 2))


def test_dinov2_sees_the_bilinearly_resized_picture_as_recorded():
    images = resize(golden.to_nhwc(golden.inputs('dinov2', 'train_lr_64')['image']), (70, 70), 'bilinear')
    _, cls = dinov2(from_tensors(golden.state_dict('dinov2').items(), 'dinov2')[0], images)
    golden.check('dinov2', 'train_lr_64', 'cls', cls)
