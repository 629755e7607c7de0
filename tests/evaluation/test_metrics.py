"""PSNR and SSIM against closed forms, NIQE against recorded values of the published implementation."""

import numpy as np
import pytest

from addsr_jax.data import pictures, sources
from addsr_jax.evaluation.metrics import luma_studio, psnr_y, ssim_y
from addsr_jax.evaluation.niqe import niqe
from addsr_jax.evaluation.report import means, score, side_by_side, table

# Made by pyiqa's formulas on scikit-image's photographs.
NIQE = {'chelsea.png': 2.57208, 'astronaut.png': 3.06239, 'coffee.png': 4.06159}


def photo(name):
    paths = {p.name: p for p in (*sources.sample_photos().paths, *sources.held_out().paths)}
    return pictures.read(paths[name])


def test_black_and_white_are_16_and_235():
    ends = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    np.testing.assert_allclose(luma_studio(ends)[0] * 255, [16, 235], atol=1e-9)


def test_psnr_of_a_constant_difference_has_a_closed_form():
    a = np.full((32, 32, 3), 100, np.uint8)
    wanted = 20 * np.log10(255 / (10 * 219 / 255))
    assert psnr_y(a, a + np.uint8(10)) == pytest.approx(wanted, abs=1e-3)
    assert psnr_y(a, a) == pytest.approx(80)


def test_ssim_is_one_for_equal_images_and_the_luminance_term_for_flat_ones():
    image = photo('chelsea.png')[:64, :64]
    assert ssim_y(image, image) == pytest.approx(1)
    a, b = (np.full((32, 32, 3), v, np.uint8) for v in (50, 120))
    x, y = (np.rint(luma_studio(i) * 255)[0, 0] for i in (a, b))
    c1 = 2.55**2
    assert ssim_y(a, b) == pytest.approx((2 * x * y + c1) / (x * x + y * y + c1))


@pytest.mark.parametrize('name', NIQE)
def test_niqe_is_as_the_published_tool_says(name):
    assert niqe(photo(name)) == pytest.approx(NIQE[name], abs=1e-4)


def test_niqe_of_a_flat_picture_is_no_number_and_of_a_small_one_an_error():
    assert np.isnan(niqe(np.full((96, 96, 3), 7, np.uint8)))
    with pytest.raises(ValueError, match='96 x 96'):
        niqe(np.zeros((90, 200, 3), np.uint8))


def test_images_of_different_sizes_are_not_compared():
    with pytest.raises(ValueError, match='different sizes'):
        psnr_y(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8))


def test_the_report_averages_per_method_and_counts_the_speed_up():
    reference = photo('chelsea.png')[:96, :96]
    worse = (reference // 2).astype(np.uint8)
    scores = [
        score('a', 'slow', reference, reference, 8.0),
        score('b', 'slow', worse, reference, 12.0),
        score('a', 'fast', reference, reference, 1.0),
    ]
    rows = means(scores)
    assert rows['slow']['psnr'] == pytest.approx((80 + psnr_y(worse, reference)) / 2)
    assert rows['slow']['seconds'] == 10
    lines = table(scores, 'slow').splitlines()
    assert lines[1].split()[-1] == '1.0x'
    assert lines[2].split()[-1] == '10.0x'


def test_pictures_stand_side_by_side_under_their_names():
    row = {'a': np.zeros((20, 30, 3), np.uint8), 'b': np.full((20, 30, 3), 200, np.uint8)}
    sheet = side_by_side([row, row])
    assert sheet.shape[1] == 2 * 30 + 8
    assert (sheet[-20:, -30:] == 200).all()
    assert (sheet[-20:, :30] == 0).all()
