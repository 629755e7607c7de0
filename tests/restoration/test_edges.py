"""What is drawn along clear edges is averaged along them, and nothing else is touched."""

import cv2
import numpy as np
import pytest

from addsr_jax.ops import rows
from addsr_jax.ops.ycbcr import FROM_YCBCR
from addsr_jax.restoration import edges
from addsr_jax.restoration.edges import directions, edges_of

RNG = np.random.default_rng(0)
SIDE = 160


def bar(degrees, side=SIDE):
    """[side, side] in [-1, 1]: a soft edge through the middle, across that angle to the right."""
    y, x = np.mgrid[0:side, 0:side] - (side - 1) / 2
    angle = np.deg2rad(degrees)
    return np.tanh((x * np.cos(angle) + y * np.sin(angle)) / 6).astype(np.float32)


def small_and_drawn(degrees, wobble=0.3):
    """A small picture of the edge, as bytes, and its enlargement with a texture of its own."""
    clean = np.repeat(bar(degrees)[..., None], 3, 2)
    small = cv2.resize(clean, (SIDE // 4, SIDE // 4), interpolation=cv2.INTER_AREA)
    drawn = clean + RNG.normal(0, wobble, clean.shape).astype(np.float32)
    return np.rint((small + 1) * 127.5).astype(np.uint8), clean, drawn


@pytest.mark.parametrize('degrees', [0, 20, 45, 90, 135, 170])
def test_an_edge_of_any_direction_loses_its_wobble_and_stays_as_sharp(degrees):
    small, clean, drawn = small_and_drawn(degrees)
    found = edges_of(small, 2.0, SIDE, SIDE)
    assert found is not None
    places = slice(20, SIDE - 20)
    shares, _ = directions(found.tensor.rows(0, SIDE))
    clear = shares[places, places] > 0.8
    assert clear.any()
    made = drawn + found.change(drawn, 0, slice(0, SIDE))
    before, after = ((x - clean)[places, places][clear].std() for x in (drawn, made))
    assert after < 0.55 * before
    alone = clean + found.change(clean, 0, slice(0, SIDE))
    assert np.abs(alone - clean)[places, places].max() < 0.02


def test_directions_are_those_of_the_tensor_s_eigenvectors():
    gradients = RNG.normal(0, 30, (2, 5, 7, 2)).astype(np.float32)  # of two places that were averaged
    xx, yy, xy = ((gradients[..., i] * gradients[..., j]).mean(0) for i, j in ((0, 0), (1, 1), (0, 1)))
    shares, along = directions(np.stack([xx, yy, xy], -1))
    for place in np.ndindex(5, 7):
        low, high = np.linalg.eigvalsh(matrix := np.array([[xx[place], xy[place]], [xy[place], yy[place]]]))
        np.testing.assert_allclose(shares[place], ((high - low) / (high + low + edges.CLEAR)) ** 2, rtol=1e-3)
        np.testing.assert_allclose(matrix @ along[place], low * along[place], atol=1e-3 * high)


@pytest.mark.parametrize('kind', [np.uint8, np.uint16])
def test_pictures_without_a_clear_edge_have_nothing_to_change(kind):
    white = np.iinfo(kind).max
    flat = np.full((20, 30, 3), 0.4 * white, kind)
    assert edges_of(flat, 2.0, 120, 80) is None
    faint = np.rint(flat + np.linspace(0, 0.004 * white, 30)[:, None]).astype(kind)
    assert edges_of(faint, 2.0, 120, 80) is None


def test_a_mean_over_next_to_nothing_changes_nothing():
    assert edges_of(small_and_drawn(30)[0], 1e-200, SIDE, SIDE) is None


@pytest.mark.parametrize('shape', [(1, 1), (1, 9), (3, 2), (70, 5)])
def test_pictures_of_any_shape_keep_it(shape):
    small = np.zeros((*shape, 3), np.uint8)
    small.reshape(-1, 3)[: shape[0] * shape[1] // 2] = 200  # an edge somewhere, but in a picture of one pixel
    height, width = (4 * side for side in shape)
    drawn = RNG.normal(0, 0.3, (height, width, 3)).astype(np.float32)
    found = edges_of(small, 2.0, width, height)
    assert (found is None) == (shape == (1, 1))
    if found is not None:
        change = found.change(drawn, 0, slice(0, height))
        assert change.shape == drawn.shape
        assert np.isfinite(change).all()


def test_rows_and_columns_of_any_cut_are_those_of_the_whole(monkeypatch):
    small, _, drawn = small_and_drawn(35)
    whole = edges_of(small, 2.0, SIDE, SIDE)
    assert whole is not None
    change = whole.change(drawn, 0, slice(0, SIDE))
    monkeypatch.setattr(edges, 'COLUMNS', 37)
    monkeypatch.setattr(rows, 'PIXELS', 7 * len(small))
    cut = edges_of(small, 2.0, SIDE, SIDE)
    assert cut is not None
    np.testing.assert_allclose(cut.tensor.small, whole.tensor.small, rtol=2e-3, atol=1e-2)
    part = cut.change(drawn[30:120], 30, slice(25, 60))
    np.testing.assert_allclose(part, change[55:90], atol=2e-3)


def test_sixteen_bits_of_the_same_picture_say_the_same():
    small = small_and_drawn(20)[0]
    eight, sixteen = (edges_of(image, 2.0, SIDE, SIDE) for image in (small, small.astype(np.uint16) * 257))
    assert eight is not None
    assert sixteen is not None
    np.testing.assert_allclose(eight.tensor.small, sixteen.tensor.small, rtol=2e-3, atol=1e-2)


def test_colours_without_luma_s_change_are_no_edge():
    colours = np.zeros((20, 20, 3), np.float32)
    colours[:, 10:] = FROM_YCBCR[:, 1] * 60
    small = np.rint(colours + 128).astype(np.uint8)
    assert np.ptp(small[..., 2]) > 50
    assert edges_of(small, 2.0, 80, 80) is None
