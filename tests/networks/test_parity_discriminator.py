"""Projected discriminator and DiffAugment against the recorded answers of the original."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import trees
from addsr_jax.networks import discriminator as d
from addsr_jax.networks.prompt_extractor import normalise
from addsr_jax.networks.vit import ViT
from addsr_jax.ops import augment
from addsr_jax.weights.layout import from_tensors, to_state_dict
from tests import golden
from tests.golden import specs

pytestmark = pytest.mark.parity
SPEC = specs.discriminator()


@pytest.fixture(scope='module')
def heads():
    params, _, spectral = from_tensors(golden.state_dict('discriminator').items(), 'discriminator')
    return params, spectral


@jax.jit
def run(params, spectral, features, condition):
    return d.Heads(SPEC).apply({'params': params, 'spectral': spectral}, features, condition)


def features_of(x):
    return tuple(x[f'features.{k}'].swapaxes(1, 2) for k in range(5))


def check_logits(case, logits, prefix=''):
    for k, part in enumerate(jnp.split(logits, 5, axis=1)):
        golden.check('discriminator', case, f'{prefix}logits.{k}', part)


@pytest.mark.parametrize('case', ['heads_eval', 'heads_eval_n49_b3', 'heads_eval_smallfeatures'])
def test_heads_answer_as_recorded(heads, case):
    x = golden.inputs('discriminator', case)
    check_logits(case, run(*heads, features_of(x), x['c']))


def test_power_iterations_are_as_recorded(heads):
    params, spectral = heads
    x = golden.inputs('discriminator', 'heads_train')
    for prefix, after in (('', 'after1'), ('second.', 'after2')):
        spectral = d.power_iteration(params, spectral)
        check_logits('heads_train', run(params, spectral, features_of(x), x['c']), prefix)
        for name, value in to_state_dict('discriminator', spectral).items():
            golden.check('discriminator', 'heads_train', f'{after}.{name}', value)
    check_logits('heads_train', run(params, spectral, features_of(x), x['c']), 'eval_after.')


def test_gradients_are_as_recorded(heads):
    params, spectral = heads
    x = golden.inputs('discriminator', 'heads_grad')
    spectral = d.power_iteration(params, spectral)

    def loss(params, features, condition):
        logits = run(params, spectral, features, condition)
        return jax.nn.relu(1 + logits).mean() + jax.nn.relu(1 - 0.5 * logits).mean()

    value, grads = jax.value_and_grad(loss, argnums=(0, 1, 2))(params, features_of(x), x['c'])
    golden.check('discriminator', 'heads_grad', 'loss', value)
    golden.check('discriminator', 'heads_grad', 'd_c', grads[2])
    for k, gradient in enumerate(grads[1]):
        golden.check('discriminator', 'heads_grad', f'd_features.{k}', gradient.swapaxes(1, 2))
    ours = to_state_dict('discriminator', grads[0])
    recorded = [n for n in golden.cases('discriminator')['heads_grad']['outputs'] if n.startswith('d_heads.')]
    assert len(recorded) == 24
    for name in recorded:
        golden.check('discriminator', 'heads_grad', name, ours[name.removeprefix('d_heads.')])


def whole(heads, x, draws, train):
    params, spectral = heads
    spectral = d.power_iteration(params, spectral) if train else spectral
    dino = from_tensors(golden.state_dict('dino').items(), 'dino')[0]

    @jax.jit
    def see(images):
        seen = augment.to_feature_size(images / 2 + 0.5, draws, SPEC.image_size)
        hidden, _ = ViT(specs.dino()).apply({'params': dino}, normalise(seen))
        return run(params, spectral, d.readout(hidden, SPEC.hooks), x['c'])

    return see


def no_crop(batch):
    return augment.AugmentDraws(
        shift=jnp.zeros((batch, 2), jnp.int32),
        cutout=jnp.zeros((batch, 2), jnp.int32),
        crop=jnp.ones(batch),
        corner=jnp.zeros((batch, 2)),
    )


def with_crop(batch, x, size):
    """Draws whose corner falls on the recorded pixel."""
    places = [(int(x[k]) + 0.5) / (size - SPEC.image_size + 1) for k in ('crop_i', 'crop_j')]
    return dataclasses.replace(
        no_crop(batch), crop=jnp.zeros(batch), corner=jnp.tile(jnp.asarray([places]), (batch, 1))
    )


@pytest.mark.parametrize('case', ['full_eval_noaug_64', 'full_train_noaug_128_nocrop', 'full_train_noaug_96_crop'])
def test_whole_discriminator_answers_as_recorded(heads, case):
    x = golden.inputs('discriminator', case)
    draws = with_crop(2, x, 96) if 'crop_i' in x else no_crop(2)
    see = whole(heads, x, draws, 'train' in case)
    check_logits(case, see(golden.to_nhwc(x['x'])))


@pytest.mark.parametrize('case', ['full_train_aug_64', 'full_train_aug_96_crop'])
def test_whole_discriminator_answers_as_recorded_on_augmented_images(heads, case):
    x = golden.inputs('discriminator', case)
    images = augment.diff_augment(golden.to_nhwc(x['x']), augmentation(x))
    see = whole(heads, x, with_crop(2, x, 96) if 'crop_i' in x else no_crop(2), True)
    check_logits(case, see(images))


def test_gradient_to_the_picture_is_as_recorded(heads):
    x = golden.inputs('discriminator', 'full_gan_grad_96')
    see = whole(heads, x, no_crop(2), True)
    value, gradient = jax.value_and_grad(lambda images: -see(images).mean())(golden.to_nhwc(x['x']))
    golden.check('discriminator', 'full_gan_grad_96', 'loss', value)
    golden.check('discriminator', 'full_gan_grad_96', 'd_x', golden.to_nchw(gradient))


def augmentation(x):
    def pairs(first, second):
        if first not in x:
            return jnp.zeros((2, 2), jnp.int32)
        return jnp.asarray(np.stack([x[first].reshape(-1), x[second].reshape(-1)], axis=1), jnp.int32)

    return dataclasses.replace(
        no_crop(2), shift=pairs('translation_x', 'translation_y'), cutout=pairs('offset_x', 'offset_y')
    )


@pytest.mark.parametrize('case', ['diffaug_translation', 'diffaug_cutout', 'diffaug_cutout_odd', 'diffaug_both'])
def test_augmentations_are_as_recorded(case):
    x = golden.inputs('discriminator', case)
    images, draws = golden.to_nhwc(x['x']), augmentation(x)
    if 'translation_x' in x:
        images = augment.translate(images, draws.shift)
    if 'offset_x' in x:
        images = augment.cutout(images, draws.cutout)
    golden.check('discriminator', case, 'y', golden.to_nchw(images))


def test_weights_survive_the_way_there_and_back(heads):
    state, again = golden.state_dict('discriminator'), to_state_dict('discriminator', *heads)
    assert set(again) == set(state)
    assert all(np.array_equal(again[name], state[name]) for name in state)
    assert all(path.rsplit('/')[-1] in ('weight_u', 'weight_v') for path in trees.flatten(heads[1]))
