"""Grain: as strong as it is asked for, without blotches, another one for every picture, the same whatever the rows."""

import numpy as np
import pytest

from addsr_jax.restoration.film_grain import SIDE, film_grain_of


def test_grain_has_the_deviation_that_is_asked_for_and_no_mean():
    grain = film_grain_of(0, 'a', 2.0).rows(0, SIDE, SIDE) * 127.5
    assert grain.shape == (SIDE, SIDE, 1)
    assert grain.std() == pytest.approx(2, rel=1e-4)
    assert abs(grain.mean()) < 1e-4


def test_grain_is_the_same_whatever_the_rows_it_is_made_in_and_goes_on_beyond_its_field():
    grain = film_grain_of(3, 'a', 1.0)
    whole = grain.rows(0, SIDE + 40, SIDE + 30)
    parts = [grain.rows(first, min(first + 97, SIDE + 40), SIDE + 30) for first in range(0, SIDE + 40, 97)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(whole[:40, :30], whole[SIDE:, SIDE:])
    steps = np.abs(np.diff(whole[..., 0], axis=0)).mean(axis=1)  # no seam where the field begins again
    assert steps.max() < 1.3 * steps.mean()


def test_black_and_white_get_no_grain_and_what_lies_eight_levels_off_has_all_of_it():
    grain, steps = film_grain_of(0, 'a', 1.0), np.linspace(-1, 1, 256, dtype=np.float32)
    part = np.broadcast_to(steps[:, None, None], (256, 300, 3))
    added = grain.added(part, 5) - part
    whole = grain.rows(5, 261, 300)
    assert not added[[0, -1]].any()
    np.testing.assert_allclose(added[9:-9], np.broadcast_to(whole[9:-9], added[9:-9].shape), atol=1e-6)
    np.testing.assert_allclose(added[4, :, 0], whole[4, :, 0] / 2, atol=1e-4)
    np.testing.assert_allclose(grain.added(part, 5, 0.25) - part, added / 4, atol=1e-6)


def test_pictures_and_seeds_have_grain_of_their_own_which_a_name_and_a_seed_decide():
    ways = [(0, 'a'), (0, 'b'), (1, 'a')]
    grains = [film_grain_of(seed, name, 1.0).rows(0, 200, 200).ravel() for seed, name in ways]
    alike = np.corrcoef(grains)[np.triu_indices(3, 1)]
    assert np.abs(alike).max() < 0.1
    np.testing.assert_array_equal(film_grain_of(0, 'a', 1.0).rows(0, 200, 200).ravel(), grains[0])


def test_grain_is_finer_than_a_blotch_and_coarser_than_single_pixels():
    power = np.abs(np.fft.rfft2(film_grain_of(0, 'a', 1.0).rows(0, SIDE, SIDE)[..., 0])) ** 2
    waves = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.rfftfreq(SIDE), indexing='ij'))
    bands = [power[(waves > 1 / long) & (waves <= 1 / short)].mean() for long, short in ((80, 40), (12, 6), (3, 2))]
    assert bands[1] > 20 * bands[0]
    assert bands[1] > 20 * bands[2]
