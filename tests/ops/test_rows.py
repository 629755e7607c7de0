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


def test_what_is_made_of_pieces_is_joined(monkeypatch):
    monkeypatch.setattr(rows, 'PIXELS', 30)
    picture = np.arange(10 * 9 * 3).reshape(10, 9, 3)
    np.testing.assert_array_equal(rows.joined(picture.shape, lambda part: picture[part].sum(-1)), picture.sum(-1))
