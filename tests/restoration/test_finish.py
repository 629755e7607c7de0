"""The last touch: bytes, rounded or cut off; a colour fix and the grain each only where they are asked for."""

import numpy as np
import pytest

from addsr_jax.ops import rows
from addsr_jax.ops.enlarged import Enlarged
from addsr_jax.restoration import finish
from addsr_jax.restoration.bounds import Bounds
from addsr_jax.restoration.edges import Edges
from addsr_jax.restoration.film_grain import film_grain_of
from addsr_jax.restoration.finish import HALO, finished
from addsr_jax.restoration.plainness import Plain
from addsr_jax.specs import COLORS

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
@pytest.mark.parametrize('size', [(4 * HALO + 33, 451), (4 * HALO + 42, 4 * HALO + 43)], ids=str)
def test_a_large_picture_is_finished_in_blocks_as_it_is_whole(monkeypatch, color, size):
    images = [RNG.uniform(-0.6, 0.6, (*size, 3)).astype(np.float32) for _ in range(2)]
    with monkeypatch.context() as exact:
        exact.setattr(finish, '_mirrored', lambda part: part)
        whole = finished(*images, color, 40.0, truncates=False)
    shapes = set()
    side = 4 * HALO + 32
    monkeypatch.setattr(finish, 'BLOCK', side)
    monkeypatch.setattr(finish, 'SIDES', (side,))
    local = finish._without_grain
    monkeypatch.setattr(finish, '_without_grain', lambda x, grain: shapes.add(x.shape) or local(x, grain))
    blocks = finished(*images, color, 40.0, truncates=False)
    assert shapes == {(side, side, 3)}
    assert np.abs(blocks.astype(int) - whole).max() <= 1
    assert (blocks != whole).mean() < 1e-3


def test_bounds_edges_and_what_is_calm_or_plain_are_the_same_whatever_the_strips(monkeypatch):
    small = RNG.integers(0, 255, (10, 12, 3), np.uint8)
    shares = [Enlarged(RNG.random((10, 12, 1)).astype(np.float32), 48, 40) for _ in range(2)]
    tensor = Enlarged(RNG.normal(0, 100, (10, 12, 3)).astype(np.float32) ** 2, 48, 40)
    own = {'bounds': Bounds(small, 0.3, (40, 48)), 'calm': shares[0]}
    own['touches'] = [Plain(shares[1], 30.0), Edges(tensor, 1.0)]
    own['film_grain'] = film_grain_of(0, 'a', 9.0)
    whole = finished(RESTORED, LQ, 'none', 0, truncates=False, **own).astype(int)
    monkeypatch.setattr(rows, 'PIXELS', 7 * 48)
    monkeypatch.setattr(finish, 'BLOCK', 24)
    monkeypatch.setattr(finish, 'HALO', 8)
    strips = finished(RESTORED, LQ, 'none', 0, truncates=False, **own)
    assert np.abs(strips - whole).max() <= 1
    assert (strips != whole).mean() < 1e-3


def test_where_it_is_calm_the_result_stays_within_a_level_of_the_enlarged_picture_and_gets_no_grain():
    places = np.zeros(LQ.shape[:2], np.float32)
    places[:20] = 1
    calm = Enlarged(places[..., None], *places.shape[::-1])
    plain = finished(RESTORED, LQ, 'none', 0, truncates=False)
    kept = finished(RESTORED, LQ, 'none', 0, truncates=False, calm=calm)
    enlarged = finished(LQ, LQ, 'none', 0, truncates=False)
    np.testing.assert_array_equal(kept[20:], plain[20:])
    assert np.abs(kept[:20].astype(int) - enlarged[:20]).max() <= 1
    grainy = finished(RESTORED, LQ, 'none', 0, truncates=False, calm=calm, film_grain=film_grain_of(0, 'a', 9.0))
    np.testing.assert_array_equal(grainy[:20], kept[:20])
    assert (grainy[20:].astype(float) - plain[20:]).std() == pytest.approx(9, rel=0.2)


def test_sixteen_bits_are_not_rounded_to_eight_in_between():
    deep = finished(RESTORED, LQ, 'none', 0, truncates=True, kind=np.uint16)
    assert deep.dtype == np.uint16
    np.testing.assert_allclose(deep / 65535, (RESTORED + 1) / 2, atol=1e-5)


def test_pictures_of_any_small_size_are_finished_by_few_programs_and_nearly_as_by_their_own(monkeypatch):
    shapes, local = set(), finish._fixed
    monkeypatch.setattr(finish, '_fixed', lambda x, y, color: shapes.add(x.shape) or local(x, y, color=color))
    rng = np.random.default_rng(0)
    for size in ((100, 128), (77, 90), (128, 120)):
        restored, lq = (rng.uniform(-1, 1, (*size, 3)).astype(np.float32) for _ in range(2))
        made = finish.finished(restored, lq, 'guided', 0.0, truncates=False).astype(int)
        own = np.asarray(local(restored, lq, color='guided'))
        away = np.abs(made - (np.clip(own, -1, 1) + 1) * 127.5)
        assert away[: -finish.HALO, : -finish.HALO].max() <= 0.51
        assert away.mean() < 4
    assert shapes == {(128, 128, 3)}
