"""Memory and disk are looked at before work starts: what does not fit is made to fit, or refused in one line."""

import shutil
from dataclasses import replace
from pathlib import Path

import jax
import pytest

from addsr_jax.errors import UserError
from addsr_jax.restoration import room
from addsr_jax.restoration.files import Job
from addsr_jax.restoration.settings import Settings
from tests.restoration.nearest import Nearest

SMALL = Job(Path('a.png'), Path('out/a_x4.png'), size=(100, 100), result=(400, 400))
HUGE = Job(Path('b.jpg'), Path('out/b_x4.jpg'), size=(10_000, 8_000), result=(40_000, 32_000))


@pytest.mark.parametrize(
    ('jobs', 'tile', 'count'),
    [([SMALL], 512, 1), ([SMALL] * 3, 512, 3), ([SMALL] * 3, 0, 3), ([HUGE], 512, 8), ([Job(Path(), Path())], 512, 1)],
)
def test_there_are_no_more_devices_than_tiles(jobs, tile, count):
    assert room.devices(jobs, Settings(tile=tile)) == jax.local_devices()[:count]


def test_what_fits_stays_as_asked_for():
    chosen = room.choose(Nearest(needs=10**6), [SMALL, SMALL], Settings(batch=4), limit=1e9)
    assert (chosen.settings, chosen.tiles, chosen.bytes) == (Settings(batch=4), 2, 4 * 10**6)


def test_what_does_not_fit_becomes_fewer_tiles_at_once_and_then_smaller_ones():
    model = Nearest(needs=400 * 10**6)
    assert room.choose(model, [SMALL], Settings(batch=4), limit=1e9).settings == Settings(batch=2)
    assert room.choose(model, [SMALL], Settings(batch=4), limit=2.5e8).settings == Settings(batch=1, tile=256)


def test_where_not_even_the_smallest_tile_fits_it_is_said():
    with pytest.raises(
        UserError, match=r'a call takes 0\.1 GB of memory, and 0\.0 GB may be used: close other programs'
    ):
        room.choose(Nearest(needs=400 * 10**6), [SMALL], Settings(), limit=4e7)
    with pytest.raises(UserError, match='leave out --tile 0'):
        room.choose(type('Whole', (Nearest,), {'need': lambda *a: 10**10})(), [SMALL], Settings(tile=0), limit=1e9)


def test_a_result_larger_than_memory_is_refused_by_name():
    with pytest.raises(UserError, match=r'the result of b\.jpg has 1280 megapixels.* a smaller --scale or --max_side'):
        room.choose(Nearest(), [SMALL, HUGE], Settings(), limit=4e9)


def test_of_kinds_whose_encoders_take_more_memory_results_are_smaller():
    limit = HUGE.pixels * 30
    room.choose(Nearest(), [HUGE], Settings(), limit=limit)
    with pytest.raises(UserError, match=r'or --format png'):
        room.choose(Nearest(), [replace(HUGE, target=Path('out/b_x4.avif'))], Settings(), limit=limit)


def test_pictures_of_more_than_eight_bits_and_of_few_long_rows_take_more():
    deep, wide = replace(HUGE, bits=16), replace(HUGE, result=(HUGE.pixels // 500, 500))
    assert room.held(deep) > 1.9 * room.held(HUGE)
    assert room.held(wide) > 2 * room.held(HUGE)


def test_a_picture_that_is_made_smaller_takes_the_memory_of_what_it_is_restored_at():
    small = replace(HUGE, result=(100, 80), restored=(10_000, 8_000))
    assert room.held(small) == room.held(replace(HUGE, result=(10_000, 8_000)))
    with pytest.raises(UserError, match=r'80 megapixels before it is made smaller.*raise --memory'):
        room.choose(Nearest(), [small], Settings(), limit=3e8)
    assert Settings(max_side=100).restored(10_000, 8_000) == (10_000, 8_000)
    assert Settings(width=300, height=300, fit='crop').restored(200, 100) == (300, 300)


def test_pictures_under_way_share_what_is_left():
    assert room.choose(Nearest(), [SMALL], Settings(), limit=1e8).pixels == int(1e8 / room.HELD / 2)
    assert room.choose(Nearest(), [SMALL], Settings(), limit=1e12).pixels == room.UNDER_WAY


def test_results_that_do_not_fit_on_the_disk_are_refused_before_the_first(tmp_path, monkeypatch):
    jobs = [Job(Path('a.png'), tmp_path / 'new' / f'{i}.png', result=(1000, 1000)) for i in range(10)]
    room.check_disk(jobs)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: shutil._ntuple_diskusage(10**8, 10**8 - 10**7, 10**7))
    with pytest.raises(UserError, match=r'the results need about 0\.0 GB, and the disk of .* has 0\.0 GB left'):
        room.check_disk(jobs)
    room.check_disk(jobs[:3])
