"""Resizing and colour fixes against the recorded answers of torch and of the original's scripts."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax.data.resize import resize as resize_on_host
from addsr_jax.networks.prompt_extractor import preprocess
from addsr_jax.ops import image as image_ops
from tests import golden
from tests.golden import pictures

pytestmark = pytest.mark.parity
CASES = golden.cases('image_ops')
RESIZED = [k for k in CASES if 'interpolate' in CASES[k]['inputs']]


def batch_of(case):
    name, *shape = re.findall(r'[\w.]+', CASES[case]['inputs']['x'].removeprefix('images'))[:4]
    return pictures.pictures(name, *map(int, shape))


def size_of(spec):
    return tuple(np.broadcast_to(spec['size'], 2).tolist())


@pytest.mark.parametrize('case', [k for k in RESIZED if 'size' in CASES[k]['inputs']['interpolate']])
def test_resizing_on_the_device_is_as_recorded(case):
    spec = CASES[case]['inputs']['interpolate']
    out = image_ops.resize(jnp.asarray(batch_of(case)), size_of(spec), spec['mode'])
    pictures.check('image_ops', case, 'out', golden.to_nchw(out))


@pytest.mark.parametrize('case', RESIZED)
def test_resizing_on_the_host_is_as_recorded(case):
    spec, images = CASES[case]['inputs']['interpolate'], batch_of(case)
    factor = spec.get('scale_factor')
    size = size_of(spec) if factor is None else tuple(int(n * factor) for n in images.shape[1:3])
    out = np.stack([resize_on_host(image, size, spec['mode'], factor) for image in images])
    pictures.check('image_ops', case, 'out', golden.to_nchw(out))


def pair_of(case):
    found = [re.fullmatch(r'image\(([\w.]+),(\d+),(\d+)\).*', CASES[case]['inputs'][k]) for k in ('target', 'source')]
    target, source = (pictures.picture(m[1], int(m[2]), int(m[3])) for m in found if m)
    if 'target_edit' in CASES[case]['inputs']:
        target[..., 1] = 0.5
    return target, source


@pytest.mark.parametrize('case', [k for k in CASES if k.startswith('adain_tensor')])
def test_adain_is_as_recorded(case):
    out = image_ops.adain(*pair_of(case))
    pictures.check('image_ops', case, 'out', golden.to_nchw(out[None]))


@pytest.mark.parametrize('case', [k for k in CASES if k.startswith('wavelet_tensor')])
def test_wavelet_fix_is_as_recorded(case):
    out = image_ops.wavelet(*map(jnp.asarray, pair_of(case)))
    pictures.check('image_ops', case, 'out', golden.to_nchw(out[None]))


def test_each_level_of_the_wavelet_fix_is_as_recorded():
    image = pictures.picture('cf.t1', 67, 93)
    for level in range(5):
        out = image_ops.low_frequencies(jnp.asarray(image), level + 1)
        pictures.check('image_ops', 'wavelet_levels', f'blur{level}', golden.to_nchw(out[None]))


@pytest.mark.parametrize(('case', 'size'), [('ram_train_up', (97, 131)), ('ram_train_down', (611, 403))])
def test_prompt_extractor_sees_a_training_picture_as_recorded(case, size):
    image = jnp.asarray(pictures.picture(case.replace('ram_train_', 'ram.'), *size))
    seen = preprocess(image[None], 384, clip=True)
    pictures.check('image_ops', case, 'out', golden.to_nchw(seen)[0])


def test_prompt_extractor_sees_a_signed_picture_as_recorded():
    images = 2 * pictures.pictures('ram.x0', 2, 72, 56) - 1
    pictures.check('image_ops', 'ram_train_psr', 'out', golden.to_nchw(preprocess(jnp.asarray(images), 384)))


def test_prompt_extractor_sees_the_picture_as_recorded():
    images = pictures.pictures('ram.x0', 2, 72, 56)
    pictures.check('image_ops', 'ram_infer_psr', 'out', golden.to_nchw(preprocess(jnp.asarray(images), 384)))
