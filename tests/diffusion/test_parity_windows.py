"""Windows of latents against the recorded ones of the original pipelines' tile branch."""

import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax.diffusion.windows import Windows, over_windows, window_weights
from tests import golden
from tests.golden import pictures

pytestmark = pytest.mark.parity
CASES = golden.cases('tiling')
GRIDS = [name for name in CASES if name.startswith('latent_tiles')]
FUSED = [name for name in GRIDS if 'noise_pred' in CASES[name].get('outputs', {})]


def windows_of(case: dict) -> Windows:
    return Windows(case['inputs']['tile_size'], case['inputs']['tile_overlap'])


@pytest.mark.parametrize('name', [name for name in CASES if name.startswith('gaussian')])
def test_weights_are_as_recorded(name):
    inputs = CASES[name]['inputs']
    weights = window_weights(inputs['tile_height'], inputs['tile_width'])
    pictures.check('tiling', name, 'weights', weights)


@pytest.mark.parametrize('name', GRIDS)
def test_windows_lie_as_recorded(name):
    case = CASES[name]
    windows, (h, w) = windows_of(case), case['inputs']['latent_hw']
    rows, columns = windows.shape(h, w)
    boxes = [[left, left + columns, top, top + rows] for top, left in windows.offsets(h, w).tolist()]
    assert boxes == case['boxes']
    assert windows.needed(h, w) == case['inputs']['used_when'].endswith('True')


@pytest.mark.parametrize('name', FUSED)
def test_answers_are_fused_as_recorded(name):
    """The recorded network's k-th answer is x (0.5 + 0.25 k) + 0.1 k."""
    case = CASES[name]
    windows, (h, w) = windows_of(case), case['inputs']['latent_hw']
    x = golden.to_nhwc(pictures.normal('tile.x', (1, 4, h, w)))
    offsets = jnp.asarray(windows.offsets(h, w))

    def network(window, offset):
        k = 1 + jnp.argmax((offsets == offset).all(axis=1))
        return window * (0.5 + 0.25 * k) + 0.1 * k

    fused = over_windows(windows, jnp.asarray(x), network)
    pictures.check('tiling', name, 'noise_pred', golden.to_nchw(fused))


def test_a_network_that_says_its_window_gives_the_picture_back():
    x = np.random.default_rng(0).normal(size=(2, 21, 33, 4)).astype(np.float32)
    np.testing.assert_allclose(over_windows(Windows(16, 4), jnp.asarray(x), lambda z, _: z), x, atol=1e-6)


@pytest.mark.parametrize('overlap', [8, 16, 31])
@pytest.mark.parametrize('size', [(16, 200), (200, 16), (5, 90), (1, 40)], ids=str)
def test_windows_cover_a_picture_whose_short_side_has_fewer_latents_than_they_share(size, overlap):
    windows = Windows(32, overlap)
    (side, _), covered = windows.shape(*size), np.zeros(size, int)
    offsets = windows.offsets(*size)
    assert len(offsets) <= 2 * max(size) / side + 1 or side == 1
    for top, left in offsets:
        covered[top : top + side, left : left + side] += 1
    assert covered.min() >= 1
