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


@pytest.mark.parametrize(('case', 'settings'), [('usm_0.5_10', {}), ('usm_1.0_3.3', {'weight': 1.0, 'threshold': 3.3})])
def test_the_target_is_sharpened_as_recorded(case, settings):
    sharp = [d.sharpen(image, **settings) for image in pictures.pictures('deg.u', 2, 61, 67)]
    pictures.check('degradation', case, 'out', golden.to_nchw(np.stack(sharp)))


# The recorded kernels by name, 21 x 21.
KERNELS = {
    'k1': gaussian_kernel('aniso', 15, 2.1, 0.9, 0.7, 1.0),
    'k1b': sinc_kernel(17, 1.3),
    'k2': gaussian_kernel('generalized_aniso', 11, 1.1, 0.6, -0.4, 0.8),
    'k2b': gaussian_kernel('plateau_iso', 9, 0.9, 0.9, 0.0, 1.6),
    's1': sinc_kernel(13, 1.9),
    's1b': np.ones((1, 1)),
}


def kernel(name):
    return pad_kernel(KERNELS[name], d.KERNEL)


@pytest.mark.parametrize(
    ('case', 'names'), [('filter2d_batch', ['k1', 'k1b']), ('filter2d_shared', ['k2', 'k2']), ('filter2d_2d', ['k2'])]
)
def test_blurring_is_as_recorded(case, names):
    images = pictures.pictures('deg.f', 2, 37, 53)
    blurred = [d.filter2d(image, kernel(name)) for image, name in zip(images, names, strict=False)]
    pictures.check('degradation', case, 'out', golden.to_nchw(np.stack(blurred)))


@pytest.mark.parametrize('case', ['gaussian_mixed', 'gaussian_color', 'gaussian_gray'])
def test_gaussian_noise_is_as_recorded(case):
    images, spec = pictures.pictures('deg.n', 3, 24, 34), CASES[case]['inputs']
    grey = pictures.normal('deg.g.gray', (24, 34))[..., None]
    colour = golden.to_nhwc(pictures.normal('deg.g.color', (3, 3, 24, 34)))
    fields = [grey if flag else colour[i] for i, flag in enumerate(spec['gray_flag'])]
    noisy = [d.gaussian_noise(x, f, s) for x, f, s in zip(images, fields, spec['sigma'], strict=True)]
    pictures.check('degradation', case, 'out', golden.to_nchw(np.stack(noisy)))


class RecordedNoise:
    """Recorded fields and counts instead of a generator's: [H, W, 1] for grey noise, [H, W, 3] for colour."""

    def __init__(self, **answers):
        self.answers = {kind: {a.shape[-1]: a for a in arrays} for kind, arrays in answers.items()}

    def standard_normal(self, size):
        return self._answer('fields', size)

    def poisson(self, lam):
        return self._answer('counts', lam.shape)

    def _answer(self, kind, shape):
        recorded = self.answers[kind][shape[-1]]
        assert recorded.shape == tuple(shape)
        return recorded


def counts_of(case):
    """The recorded Poisson counts, each [B, H, W, C]."""
    outputs = CASES[case]['outputs']
    with np.load(FIXTURES / 'degradation' / 'data.npz') as data:
        named = [outputs[name] for name in outputs if name.startswith('counts')]
        return [golden.to_nhwc(data[record['key']].reshape(record['shape'])) for record in named]


@pytest.mark.parametrize('case', ['poisson_mixed', 'poisson_color', 'poisson_gray'])
def test_poisson_noise_is_as_recorded(case):
    images, spec = pictures.pictures('deg.n', 3, 24, 34), CASES[case]['inputs']
    counts = counts_of(case)
    noisy = [
        d.poisson_noise(image, RecordedNoise(counts=[c[i] for c in counts]), spec['scale'][i], bool(grey))
        for i, (image, grey) in enumerate(zip(images, spec['gray_flag'], strict=True))
    ]
    pictures.check('degradation', case, 'out', golden.to_nchw(np.stack(noisy)))


@pytest.mark.parametrize('case', [k for k in CASES if k.startswith('jpeg')])
def test_jpeg_is_as_recorded(case):
    spec = CASES[case]['inputs']
    name, *shape = spec['x'].removeprefix('images(').removesuffix(')').split(',')
    images = pictures.pictures(name, *map(int, shape))
    qualities = np.broadcast_to(spec['quality'], len(images))
    out = np.stack([jpeg(image, float(q)) for image, q in zip(images, qualities, strict=True)])
    pictures.check('degradation', case, 'out', golden.to_nchw(out))
