"""Rows of an enlargement are those of the whole, whatever rows are asked for."""

import cv2
import numpy as np
import pytest

from addsr_jax.ops.enlarged import Enlarged

RNG = np.random.default_rng(0)


@pytest.mark.parametrize('channels', [1, 3])
def test_rows_do_not_depend_on_what_else_is_asked_for_and_are_opencv_s(channels):
    small = RNG.random((10, 6, channels)).astype(np.float32)
    large = Enlarged(small, 27, 43)
    whole = large.rows(0, 43)
    assert whole.shape == (43, 27, channels)
    np.testing.assert_array_equal(np.concatenate([large.rows(0, 13), large.rows(13, 43)]), whole)
    expected = cv2.resize(small, (27, 43), interpolation=cv2.INTER_LINEAR).reshape(whole.shape)
    np.testing.assert_allclose(whole, expected, atol=1e-5)


def test_one_row_is_repeated():
    row = RNG.random((1, 6, 1)).astype(np.float32)
    np.testing.assert_array_equal(Enlarged(row, 6, 4).rows(0, 4), np.repeat(row, 4, 0))
