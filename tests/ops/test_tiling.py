"""Tiles cover any size, are all alike, and sum to the picture without seams."""

import itertools

import numpy as np
import pytest

from addsr_jax.ops import tiling

HELD = 0.51 / tiling.STEPS  # by which 16 bits round
SIZES = [(32, 32), (192, 192), (200, 700), (1000, 193), (512, 513)]


@pytest.mark.parametrize('size', SIZES)
def test_every_pixel_is_covered_on_the_grid_with_enough_overlap(size):
    plan = tiling.plan(*size, sides=(192, 192), grid=16)
    assert all(n % 16 == 0 for n in plan.padded)
    covered = np.zeros(plan.padded, int)
    for top, left in plan.offsets:
        assert top % 16 == left % 16 == 0
        covered[top : top + 192, left : left + 192] += 1
    assert covered.min() >= 1
    tops = sorted({top for top, _ in plan.offsets})
    assert all(b - a <= 192 - tiling.OVERLAP + 16 for a, b in itertools.pairwise(tops))


@pytest.mark.parametrize('size', SIZES)
def test_cutting_and_blending_changes_nothing(size):
    image = np.random.default_rng(0).uniform(-1, 1, (*size, 3)).astype(np.float32)
    plan = tiling.plan(*size, sides=(192, 192), grid=16)
    padded, canvas = tiling.pad(image, plan), tiling.Canvas(plan)
    for number in reversed(range(len(plan.offsets))):
        assert canvas.missing
        tile = tiling.tile(padded, plan, number)
        assert tile.shape == (192, 192, 3)
        canvas.add(number, tile)
    assert not canvas.missing
    np.testing.assert_allclose(canvas.image(*size)[:], image, atol=HELD)


def test_where_tiles_differ_the_sum_goes_from_one_to_the_other_over_what_they_share():
    plan = tiling.plan(192, 320, sides=(192, 192), grid=16)
    canvas = tiling.Canvas(plan, channels=1)
    for number in range(2):
        canvas.add(number, np.full((192, 192, 1), number, np.float32))
    row = canvas.image(192, 320)[96:97][0, :, 0]
    assert (row[:128] == 0).all()
    assert (row[192:] == 1).all()
    assert (np.diff(row) >= 0).all()
    assert 0 < np.diff(row).max() < 0.05


def test_latents_are_cut_at_the_same_places():
    plan = tiling.plan(300, 400, sides=(192, 192), grid=16)
    rows = np.arange(plan.padded[0] // 4)[:, None, None] * np.ones((1, plan.padded[1] // 4, 1))
    tiles = [tiling.tile(rows[None], plan, number, 4) for number in range(len(plan.offsets))]
    assert {t.shape for t in tiles} == {(1, 48, 48, 1)}
    assert [t[0, 0, 0, 0] * 4 for t in tiles] == [top for top, _ in plan.offsets]


@pytest.mark.parametrize('side', [100, 2 * tiling.OVERLAP])
def test_tiles_that_are_off_the_grid_or_all_overlap_are_refused(side):
    with pytest.raises(ValueError, match='multiple of 16'):
        tiling.plan(300, 300, sides=(192, side), grid=16)


def test_the_whole_picture_is_a_plan_of_one_tile():
    image = np.random.default_rng(0).uniform(-1, 1, (56, 72, 3)).astype(np.float32)
    plan = tiling.single(56, 72)
    tile = tiling.tile(tiling.pad(image, plan), plan, 0)
    np.testing.assert_array_equal(tile, image)
    canvas = tiling.Canvas(plan)
    canvas.add(0, tile)
    np.testing.assert_allclose(canvas.image(56, 72)[:], image, atol=HELD)


def test_rows_are_read_whatever_pieces_they_came_in_and_let_go_when_they_are_not_read_again():
    plan = tiling.plan(600, 200, sides=(192, 192), grid=16)
    image = np.random.default_rng(0).uniform(-1, 1, (600, 200, 3)).astype(np.float32)
    canvas = tiling.Canvas(plan)
    for number in range(len(plan.offsets)):
        canvas.add(number, tiling.tile(tiling.pad(image, plan), plan, number))
    rows = canvas.image(600, 200)
    for part in (slice(0, 10), slice(100, 500), slice(590, 700)):
        np.testing.assert_allclose(rows[part], image[part], atol=HELD)
    held = sum(piece.nbytes for piece in rows.pieces.values())
    assert held == 2 * np.prod((*plan.padded, 3))
    rows.let_go(300)
    assert sum(piece.nbytes for piece in rows.pieces.values()) < 0.7 * held
    np.testing.assert_allclose(rows[300:], image[300:], atol=HELD)


def test_what_lies_far_outside_the_range_stays_at_its_end():
    canvas = tiling.Canvas(tiling.single(8, 8))
    canvas.add(0, np.stack([np.full((8, 8), value, np.float32) for value in (-5, 1, 5)], -1))
    np.testing.assert_allclose(canvas.image(8, 8)[:1][0, 0], (-1, 1, 1))
