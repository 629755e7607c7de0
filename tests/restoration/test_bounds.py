"""What a result may not leave: the range of the nearest pixels of the small picture, and a little of luma beyond it."""

import numpy as np
import pytest

from addsr_jax.ops.ycbcr import TO_YCBCR
from addsr_jax.restoration.bounds import Bounds

RNG = np.random.default_rng(0)
SMALL = RNG.integers(0, 256, (9, 13, 3)).astype(np.uint8)
WILD = RNG.uniform(-1, 1, (36, 52, 3)).astype(np.float32)
LEVEL = 1 / 127.5


def test_around_one_colour_luma_has_a_level_and_chroma_nothing():
    flat = np.full((8, 8, 3), (200, 90, 30), np.uint8)
    kept = Bounds(flat, 0.5, (32, 32)).clipped(WILD[:32, :32], 0) - (flat[0, 0] / 127.5 - 1)
    luma, chroma = np.split(kept @ TO_YCBCR.T, [1], axis=-1)
    assert 0.9 * LEVEL < np.abs(luma).max() < 1.01 * LEVEL
    assert np.abs(chroma).max() < 1e-5


@pytest.mark.parametrize('kind', [np.uint8, np.uint16])
def test_grey_stays_grey_whatever_the_network_drew(kind):
    grey = RNG.integers(0, np.iinfo(kind).max, (8, 8, 1)).repeat(3, -1).astype(kind)
    kept = Bounds(grey, 0.5, (32, 32)).clipped(WILD[:32, :32], 0)
    assert np.ptp(kept, axis=-1).max() < 1e-5


def test_a_sharp_edge_of_which_the_small_picture_holds_the_means_stays_as_it_is():
    sharp = np.full((32, 32, 3), 1.0, np.float32)
    sharp[:, :14] = -0.8  # ends in the middle of a small pixel
    means = sharp.reshape(8, 4, 8, 4, 3).mean(axis=(1, 3))
    small = np.rint((means + 1) * 127.5).astype(np.uint8)
    np.testing.assert_allclose(Bounds(small, 0.2, (32, 32)).clipped(sharp, 0), sharp, atol=1e-5)


def test_haze_and_rings_two_pixels_beside_ink_go():
    small = np.full((16, 16, 3), 255, np.uint8)
    small[:, 7:9] = 0
    hazy = np.full((64, 64, 3), 0.8, np.float32)  # 229 of 255
    kept = Bounds(small, 0.2, (64, 64)).clipped(hazy, 0)
    assert (1 - kept[:, :20]).max() < 1.1 * LEVEL
    assert (1 - kept[:, 44:]).max() < 1.1 * LEVEL
    np.testing.assert_allclose(kept[:, 27:29], 0.8, atol=1e-5)  # at the ink's border there is room for all


@pytest.mark.parametrize('overshoot', [0.0, 0.2, 2.0])
def test_nothing_goes_further_beyond_the_extremes_of_the_picture_than_the_overshoot(overshoot):
    luma = (SMALL / 127.5 - 1) @ TO_YCBCR[0]
    kept = Bounds(SMALL, overshoot, WILD.shape[:2]).clipped(4 * WILD, 0) @ TO_YCBCR[0]
    room = overshoot * np.ptp(luma) + 1.01 * LEVEL
    assert kept.max() <= luma.max() + room
    assert kept.min() >= luma.min() - room


@pytest.mark.parametrize('size', [(36, 52), (9, 13), (20, 31), (150, 111)], ids=str)
@pytest.mark.parametrize('small', [SMALL, SMALL[:1], SMALL[:1, :1]], ids=['picture', 'row', 'pixel'])
def test_strips_of_rows_are_those_of_the_whole_at_any_size(size, small):
    bounds, picture = Bounds(small, 0.2, size), RNG.uniform(-1, 1, (*size, 3)).astype(np.float32)
    strips = np.concatenate([bounds.clipped(picture[:7], 0), bounds.clipped(picture[7:], 7)])
    np.testing.assert_allclose(strips, bounds.clipped(picture, 0), atol=1e-6)
