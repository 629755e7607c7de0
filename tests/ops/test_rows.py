"""Rows in pieces are all rows, once; what is made of them is what would be made of the whole."""

import numpy as np
import pytest

from addsr_jax.ops import rows


@pytest.mark.parametrize('width', [1, 7, 100, 5000])
def test_pieces_cover_the_rows_once_and_are_of_so_many_pixels_or_of_one_row(monkeypatch, width):
    monkeypatch.setattr(rows, 'PIXELS', 300)
    pieces = list(rows.few(3, 45, width))
    assert np.concatenate([np.arange(100)[piece] for piece in pieces]).tolist() == list(range(3, 45))
    assert all(width * (piece.stop - piece.start) <= max(300, width) for piece in pieces)


@pytest.mark.parametrize('kind', [np.uint8, np.uint16])
def test_a_measure_of_pieces_sees_its_reach_in_levels_of_255_whatever_the_depth(monkeypatch, kind):
    levels = np.random.default_rng(0).integers(0, 256, (23, 9, 3))
    picture = (levels * (np.iinfo(kind).max // 255)).astype(kind)

    def steps(x):  # to the second row above, of the picture's first rows to themselves
        return x[..., 0] - np.concatenate([x[:2], x[:-2]])[..., 0]

    whole = rows.measured(picture, steps, 2)
    np.testing.assert_allclose(whole, steps(levels), atol=1e-4)
    monkeypatch.setattr(rows, 'PIXELS', 30)
    np.testing.assert_array_equal(rows.measured(picture, steps, 2), whole)


def test_what_is_made_of_pieces_is_joined(monkeypatch):
    monkeypatch.setattr(rows, 'PIXELS', 30)
    picture = np.arange(10 * 9 * 3).reshape(10, 9, 3)
    np.testing.assert_array_equal(rows.joined(picture.shape, lambda part: picture[part].sum(-1)), picture.sum(-1))
