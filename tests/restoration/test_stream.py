"""Many pictures at once: every one comes out once, calls are of one size, and too little memory means smaller calls."""

import threading
from dataclasses import dataclass, replace

import jax
import numpy as np
import pytest

from addsr_jax.errors import UserError
from addsr_jax.ops import tiling
from addsr_jax.restoration import stream
from addsr_jax.restoration.settings import Settings, half_of
from addsr_jax.restoration.stream import Failed, Work, restored


class Model:
    """Gives tiles a tenth of the number of their picture, and counts calls; `room` is what fits: (tiles, side)."""

    def __init__(self, room=(99, 9999), least=1):
        self.calls, self.room, self.least = [], room, least

    def whole_calls(self, tiles):
        return -(-tiles // self.least) * self.least

    def call(self, tiles, size):
        side = tiles[0][0].settings.tile
        assert len({(cut.plan.shape, cut.settings.pieces) for cut, _ in tiles}) == 1
        if not side:  # a whole picture; its denoiser in pieces is what fits
            side = 0 if tiles[0][0].settings.latent_tile else tiles[0][0].side
        if size > self.room[0] or side > self.room[1]:
            raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes')
        self.calls.append((size, [(cut.number, i) for cut, i in tiles]))
        numbers = [cut.number for cut, _ in tiles] + [0] * (size - len(tiles))
        shape = tiles[0][0].plan.shape
        return jax.numpy.stack([jax.numpy.full((*shape, 3), number / 10, jax.numpy.float32) for number in numbers])

    def smaller(self, cut, tile=None):
        if not cut.settings.tile:
            less = cut.settings.in_less_memory()
            if less is None:
                raise UserError('there is no memory for the whole picture')
            return replace(cut, settings=less)
        side = tile or half_of(cut.settings.tile)
        if not side:
            raise UserError('there is no memory for a tile')
        return picture(cut.number, cut.side, side)


def picture(number, side, tile=192):
    plan = tiling.plan(side, side, (tile, tile), 16) if tile else tiling.single(side, side)
    return Picture(number, side, plan, Settings(tile=tile))


@dataclass(frozen=True)
class Picture:
    """What of a `Cut` is looked at."""

    number: int
    side: int
    plan: tiling.Plan
    settings: Settings

    @property
    def count(self):
        return len(self.plan.offsets)

    def canvas(self):
        return tiling.Canvas(self.plan)


def run(model, sides, batch, tile=192, **options):
    """{number of the picture: its work} of pictures of these sides, in the order in which they were done."""

    def read(number):
        if sides[number] is None:
            raise UserError('cannot be read')
        return picture(number, sides[number], tile)

    return {work.item: work for work in restored(model, range(len(sides)), read, batch, **options)}


def check(work, number, side):
    assert isinstance(work, Work)
    np.testing.assert_allclose(work.canvas.image(side, side)[:], number / 10, atol=1 / tiling.STEPS)


def test_tiles_of_many_pictures_fill_calls_of_one_size_and_find_back():
    sides, model = [192, 300, 192, 192, 400, 192], Model()
    works = run(model, sides, 4)
    for number, side in enumerate(sides):
        check(works[number], number, side)
    assert {size for size, _ in model.calls} == {4}
    full = [tiles for _, tiles in model.calls if len(tiles) == 4]
    assert len(full) == len(model.calls) - 1
    assert any(len({number for number, _ in tiles}) > 1 for tiles in full)


def test_a_picture_that_cannot_be_read_comes_out_with_its_error_and_the_others_go_on():
    works = run(Model(), [192, None, 192], 1)
    assert isinstance(works[1], Failed)
    check(works[0], 0, 192)
    check(works[2], 2, 192)


def test_where_there_is_no_room_calls_take_half_as_many_tiles_and_say_so():
    model, told = Model(room=(2, 9999)), []
    works = run(model, [300, 192, 192], 8, tell=told.append)
    for number, side in enumerate((300, 192, 192)):
        check(works[number], number, side)
    assert {size for size, _ in model.calls} == {2}
    assert told == [
        'no room for so many tiles at once: 4 from now on',
        'no room for so many tiles at once: 2 from now on',
    ]


def test_where_there_is_no_room_for_one_tile_tiles_are_smaller_from_then_on():
    model, told = Model(room=(99, 256)), []
    works = run(model, [512, 512], 1, tile=512, tell=told.append)
    assert told == ['no room for a tile: they are 256 pixels a side from now on']
    for number in (0, 1):
        work = works[number]
        assert isinstance(work, Work)
        assert work.cut.settings.tile == 256
        check(work, number, 512)


def test_where_there_is_no_room_for_a_whole_picture_those_as_large_are_worked_on_in_pieces_from_then_on():
    model, told = Model(room=(99, 300)), []
    works = run(model, [512, 192, 512], 1, tile=0, tell=told.append)
    assert told == ['no room for a picture of this size at once: the networks work on it in pieces'] * 2
    for number, side in enumerate((512, 192, 512)):
        check(works[number], number, side)
    whole = Settings(tile=0).pieces
    pieces = [work.cut.settings.pieces for _, work in sorted(works.items()) if isinstance(work, Work)]
    assert pieces[0] == pieces[2] != whole == pieces[1]
    assert len(model.calls) == 3, 'nothing is tried again that has failed before'


class Late(Model):
    """Says that there is no room when a result is fetched, as devices do that work ahead."""

    def call(self, tiles, size):
        try:
            return super().call(tiles, size)
        except jax.errors.JaxRuntimeError as error:
            return Unready(error)


class Unready:
    def __init__(self, error):
        self.error = error

    def is_ready(self):
        return True

    def __array__(self, *args, **kwargs):
        raise self.error


@pytest.mark.parametrize(('room', 'batch', 'tile'), [((2, 9999), 8, 192), ((99, 256), 1, 512), ((1, 200), 8, 512)])
def test_where_a_lack_of_room_shows_late_every_picture_comes_out_once_in_the_largest_calls_that_fit(room, batch, tile):
    model, told, sides = Late(room), [], [800, 512, 700]
    works = list(
        restored(model, range(3), lambda number: picture(number, sides[number], tile), batch, tell=told.append)
    )
    assert sorted(work.item for work in works) == [0, 1, 2]
    for work in works:
        check(work, work.item, sides[work.item])
    assert {size for size, _ in model.calls} == {min(room[0], batch)}
    assert len(told) == len(set(told))


def test_a_picture_for_whose_smallest_tile_there_is_no_room_comes_out_with_its_error():
    works = run(Model(room=(0, 0)), [192, 192], 1)
    assert all(isinstance(work, Failed) and 'no memory for a tile' in str(work.error) for work in works.values())


def test_another_failure_of_the_devices_is_not_taken_for_a_lack_of_memory():
    model = Model()
    model.call = lambda tiles, size: (_ for _ in ()).throw(jax.errors.JaxRuntimeError('INTERNAL: broken'))
    with pytest.raises(jax.errors.JaxRuntimeError, match='broken'):
        run(model, [192], 1)


def test_calls_take_as_many_tiles_as_all_devices_share():
    model = Model(least=4)
    check(run(model, [192], 1)[0], 0, 192)
    assert [size for size, _ in model.calls] == [4]


def test_a_picture_is_not_passed_by_more_than_a_few_while_it_waits_for_a_full_call():
    sides = [300] + [192] * 60  # tiles of 192 fill calls of 7, and 4 tiles of 208 never do
    done = []
    model = Model()

    def read(number):
        return picture(number, sides[number], 208 if number == 0 else 192)

    for work in restored(model, range(len(sides)), read, 7):
        done.append(work.item)
    assert done.index(0) <= stream.PATIENCE + 3 * 7
    assert sorted(done) == list(range(61))


def test_pictures_are_read_ahead_only_as_far_as_memory_allows():
    reading, most = [], []
    lock = threading.Lock()

    def read(number):
        with lock:
            reading.append(number)
            most.append(number)
        return picture(number, 192)

    seen = []
    for work in restored(Model(), range(6), read, 1, pixels=lambda number: 60, most=100):
        seen.append((work.item, max(most)))
    assert [item for item, _ in seen] == list(range(6))
    assert all(ahead <= item + 4 for item, ahead in seen)  # one is read while up to two fly, and one lands
    clock = stream.Clock()
    assert len(list(restored(Model(), range(6), read, 1, pixels=lambda n: 10**9, most=100, clock=clock))) == 6
    assert clock.tiles == 6
