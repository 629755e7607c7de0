"""Kernels, noise, JPEG and sharpening against the recorded answers of the original's torch functions."""

import numpy as np
import pytest

from addsr_jax.data import degradation as d
from addsr_jax.data.jpeg import jpeg
from addsr_jax.data.kernels import gaussian_kernel, pad_kernel, sinc_kernel
from tests import golden
from tests.golden import FIXTURES, pictures

pytestmark = pytest.mark.parity
CASES = golden.cases('degradation')
PREFIX = {'bivariate_Gaussian': '', 'bivariate_generalized_Gaussian': 'generalized_', 'bivariate_plateau': 'plateau_'}


@pytest.mark.parametrize('case', [k for k in CASES if 'sig_x' in str(CASES[k]['inputs'])])
def test_blur_kernels_are_as_recorded(case):
    function, a = CASES[case]['inputs']['function'], CASES[case]['inputs']['args']
    kind = PREFIX[function] + ('iso' if a['isotropic'] else 'aniso')
    kernel = gaussian_kernel(kind, a['kernel_size'], a['sig_x'], a['sig_y'], a['theta'], a.get('beta', 1.0))
    pictures.check('degradation', case, 'kernel', kernel)


@pytest.mark.parametrize('case', [k for k in CASES if k.startswith('sinc')])
def test_sinc_kernels_are_as_recorded(case):
    a = CASES[case]['inputs']['args']
    kernel = sinc_kernel(a['kernel_size'], a['cutoff'])
    pictures.check('degradation', case, 'kernel', pad_kernel(kernel, a['pad_to'] or a['kernel_size']))


def test_the_target_is_sharpened_as_recorded():
    images = pictures.pictures('deg.u', 2, 61, 67)
    sharp = np.stack([d.sharpen(image) for image in images])
    pictures.check('degradation', 'usm_0.5_10', 'out', golden.to_nchw(sharp))


def test_gaussian_noise_is_as_recorded():
    images, sigmas = pictures.pictures('deg.n', 3, 24, 34), CASES['gaussian_mixed']['inputs']['sigma']
    grey = pictures.normal('deg.g.gray', (24, 34))[..., None]
    colour = golden.to_nhwc(pictures.normal('deg.g.color', (3, 3, 24, 34)))
    fields = [colour[0], grey, colour[2]]
    noisy = np.stack([d.gaussian_noise(x, f, s) for x, f, s in zip(images, fields, sigmas, strict=True)])
    pictures.check('degradation', 'gaussian_mixed', 'out', golden.to_nchw(noisy))


class RecordedCounts:
    """Answers `poisson` with recorded counts."""

    def __init__(self, counts):
        self.counts = counts

    def poisson(self, lam):
        assert lam.shape == self.counts.shape
        return self.counts

    def standard_normal(self, size):
        raise AssertionError('no Gaussian noise is asked for')


def test_poisson_noise_is_as_recorded():
    images, scales = pictures.pictures('deg.n', 3, 24, 34), CASES['poisson_mixed']['inputs']['scale']
    outputs = CASES['poisson_mixed']['outputs']
    with np.load(FIXTURES / 'degradation' / 'data.npz') as data:
        colour, grey = (
            data[outputs[f'counts_{k}']['key']].reshape(outputs[f'counts_{k}']['shape']) for k in ('color', 'gray')
        )
    colour, grey = golden.to_nhwc(colour), golden.to_nhwc(grey)
    noisy = [
        d.poisson_noise(images[i], RecordedCounts(grey[i] if i == 1 else colour[i]), scales[i], i == 1)
        for i in range(3)
    ]
    pictures.check('degradation', 'poisson_mixed', 'out', golden.to_nchw(np.stack(noisy)))


@pytest.mark.parametrize('case', [k for k in CASES if k.startswith('jpeg')])
def test_jpeg_is_as_recorded(case):
    spec = CASES[case]['inputs']
    name, *shape = spec['x'].removeprefix('images(').removesuffix(')').split(',')
    images, qualities = pictures.pictures(name, *map(int, shape)), spec['quality']
    out = np.stack([jpeg(image, q) for image, q in zip(images, qualities, strict=True)])
    pictures.check('degradation', case, 'out', golden.to_nchw(out))
