"""The last touch: bytes, rounded or cut off; a colour fix and the grain each only where they are asked for."""

import numpy as np
import pytest

from addsr_jax.restoration import finish
from addsr_jax.restoration.finish import HALO, finished
from addsr_jax.restoration.settings import COLORS

RNG = np.random.default_rng(0)
RESTORED = RNG.uniform(-0.6, 0.6, (40, 48, 3)).astype(np.float32)
LQ = RNG.uniform(-0.6, 0.6, (40, 48, 3)).astype(np.float32)


def test_without_a_fix_and_grain_the_picture_is_only_rounded_and_clipped():
    wild = RESTORED * 3
    expected = np.rint((np.clip(wild, -1, 1) + 1) * 127.5)
    for truncates in (False, True):
        np.testing.assert_array_equal(finished(wild, LQ, 'none', 0, truncates=truncates), expected)


@pytest.mark.parametrize('color', [c for c in COLORS if c != 'none'])
def test_every_fix_takes_the_input_s_colours_and_bytes_are_cut_off_where_the_original_cuts(color):
    rounded, cut = (finished(RESTORED, LQ, color, 0, truncates=t) for t in (False, True))
    assert rounded.dtype == cut.dtype == np.uint8
    away = rounded.astype(float).mean(axis=(0, 1)) - (LQ.mean(axis=(0, 1)) + 1) * 127.5
    assert np.abs(away).max() < 1
    assert (rounded.astype(float) - cut).mean() == pytest.approx(0.5, abs=0.1)


def test_grain_is_smoothed_whatever_the_colour_fix():
    grainy = 0.1 + (RESTORED[..., :1] * 0.06).repeat(3, -1)  # 2.6 levels of deviation
    for color in COLORS:
        before, after = (finished(grainy, grainy, color, g, truncates=False).std() for g in (0, 6))
        assert after < 0.5 * before


@pytest.mark.parametrize('color', COLORS)
@pytest.mark.parametrize('size', [(2 * HALO + 33, 301), (170, 171)], ids=str)
def test_a_large_picture_is_finished_in_blocks_as_it_is_whole(monkeypatch, color, size):
    images = [RNG.uniform(-0.6, 0.6, (*size, 3)).astype(np.float32) for _ in range(2)]
    whole = finished(*images, color, 40.0, truncates=False)
    shapes = set()
    monkeypatch.setattr(finish, 'BLOCK', 2 * HALO + 32)
    local = finish._without_grain
    monkeypatch.setattr(finish, '_without_grain', lambda x, grain: shapes.add(x.shape) or local(x, grain))
    blocks = finished(*images, color, 40.0, truncates=False)
    assert shapes == {(2 * HALO + 32, 2 * HALO + 32, 3)}
    assert np.abs(blocks.astype(int) - whole).max() <= 1
    assert (blocks != whole).mean() < 1e-3
