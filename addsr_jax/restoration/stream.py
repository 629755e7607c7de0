"""Many pictures through one model: read ahead, and restored in calls of one size whatever picture a tile is of.

No result depends on its neighbours: a tile has its own noise and words, and a call treats each by itself.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Protocol

import jax
import numpy as np

from addsr_jax.errors import Cancelled, UserError
from addsr_jax.ops.tiling import Canvas
from addsr_jax.restoration.cut import Cut
from addsr_jax.runtime import is_out_of_memory

AHEAD = 4  # pictures at most that are read and cut before their turn
FLYING = 2  # calls that the devices have in hand
PATIENCE = 16  # pictures that may pass one whose last tiles wait for a full call


class Model(Protocol):
    """What of `Pipeline` is used here."""

    def call(self, tiles: Any, size: int) -> Any: ...

    def whole_calls(self, tiles: int) -> int: ...

    def smaller(self, cut: Any, tile: int | None = None) -> Any: ...


Kind = tuple[tuple[int, int], tuple[int, int, int, int]]  # shape of a tile, and `Settings.pieces`


@dataclass(eq=False)
class Work:
    """One picture on its way: whose it is, and its restored tiles."""

    item: Any  # the caller's
    cut: Cut
    canvas: Canvas
    passed: int = 0  # pictures that came after it
    again: bool = False  # it is done in another way: what comes of this one is for nobody

    @classmethod
    def of(cls, item: Any, cut: Cut, passed: int = 0) -> 'Work':
        return cls(item, cut, cut.canvas(), passed)

    @property
    def kind(self) -> Kind:
        """Of its tiles: those of one kind share a call."""
        return self.cut.plan.shape, self.cut.settings.pieces

    def taken(self) -> tuple[Cut, Canvas]:
        """What a result is made of, held here no more: it takes more memory than the result."""
        cut, canvas = self.cut, self.canvas
        del self.cut, self.canvas
        return cut, canvas


@dataclass(frozen=True)
class Failed:
    """An item without a result, and why."""

    item: Any
    error: UserError


@dataclass
class Clock:
    """Where the time goes: seconds in all, and those in which the devices had nothing in hand."""

    started: float = field(default_factory=time.monotonic)
    idle: float = 0.0
    tiles: int = 0  # that are restored
    tell: Callable[[int], None] = lambda tiles: None  # is called with how many more are

    def count(self, tiles: int) -> None:
        self.tiles += tiles
        self.tell(tiles)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


Progress = Callable[[int, int | None], bool | None]  # of tiles done and in all


@dataclass
class Counted:
    """Tiles as they are restored, told to the caller, who may end it."""

    tell: Progress | None
    total: int | None
    done: int = 0

    def more(self, tiles: int) -> None:
        self.done += tiles
        if self.tell is not None and self.tell(self.done, self.total) is False:
            raise Cancelled(f'stopped after {self.done} tiles')


def restored(
    model: Model,
    items: Iterable[Any],
    read: Callable[[Any], Cut],
    batch: int,
    *,
    pixels: Callable[[Any], int] = lambda item: 0,
    most: int = 1,
    clock: Clock | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Iterator[Work | Failed]:
    """Tiles through the model: every item comes out once, with all its tiles on its canvas, or the UserError why not.

    read: of an item, in threads of its own. batch: tiles in one call; where the devices have no room for so many, half
    of them, then smaller tiles, which is told. pixels: of an item's result; no more than `most` are read ahead. Order:
    as they are done.
    """
    clock = clock or Clock()
    queue = Queue(model, model.whole_calls(batch), clock, tell)
    with ThreadPoolExecutor(AHEAD, 'read') as pool:
        for work in ahead(pool, read, items, lambda item: pixels(item) / most, clock, queue.is_idle):
            yield from queue.add(work)
        yield from queue.finish()


def opened(item: Any, read: Callable[[Any], Cut]) -> Work | Failed:
    try:
        return Work.of(item, read(item))
    except UserError as error:
        return Failed(item, error)


def ahead(
    pool: ThreadPoolExecutor,
    read: Callable[[Any], Cut],
    items: Iterable[Any],
    share: Callable[[Any], float],
    clock: Clock,
    idle: Callable[[], bool],
) -> Iterator[Work | Failed]:
    """`opened` of every item, begun before it is asked for, and the time that the devices wait for it.

    share: of the memory for pictures that an item takes; one of more than is free waits for those before it.
    """
    waiting: deque[tuple[Future[Work | Failed], float]] = deque()
    source, following = iter(items), deque[Any]()

    def fill() -> None:
        while len(waiting) < AHEAD:
            following.extend(islice(source, 1 - len(following)))
            if not following or (waiting and sum(taken for _, taken in waiting) + share(following[0]) > 1):
                return
            item = following.popleft()
            waiting.append((pool.submit(opened, item, read), share(item)))

    try:
        fill()
        while waiting:
            start, nothing = time.monotonic(), idle()
            work = waiting[0][0].result()
            clock.idle += time.monotonic() - start if nothing else 0.0
            waiting.popleft()
            fill()
            yield work
    finally:
        for future, _ in waiting:
            future.cancel()


class Queue:
    """Tiles that wait for a call, by kind, and calls that are on the devices."""

    def __init__(self, model: Model, size: int, clock: Clock, tell: Callable[[str], None]) -> None:
        self.model, self.size, self.clock, self.tell = model, size, clock, tell
        self.tile: int | None = None  # the largest that there is room for, once that is known
        # of pictures that are restored whole: pixels from which on there is no room, and pieces for which there is
        self.large, self.pieces = math.inf, (0, 0, 0, 0)
        self.waiting: dict[Kind, deque[tuple[Work, int]]] = {}
        self.flying: deque[tuple[list[tuple[Work, int]], int, Any]] = deque()  # tiles, how many at once, their result

    def is_idle(self) -> bool:
        return all(result.is_ready() for *_, result in self.flying)

    def add(self, work: Work | Failed) -> Iterator[Work | Failed]:
        """Takes a picture; yields those that are done."""
        if isinstance(work, Failed):
            yield work
            return
        self._enqueue(work)
        for other in {id(w): w for tiles in self.waiting.values() for w, _ in tiles}.values():
            other.passed += 1
        for kind in list(self.waiting):
            while (tiles := self.waiting[kind]) and (len(tiles) >= self.size or tiles[0][0].passed > PATIENCE):
                yield from self._send(kind)

    def finish(self) -> Iterator[Work | Failed]:
        """Sends what is left, in calls that are not full."""
        while any(self.waiting.values()) or self.flying:
            for kind in list(self.waiting):
                while self.waiting[kind]:
                    yield from self._send(kind)
            if self.flying:
                yield from self._land()

    def _enqueue(self, work: Work) -> None:
        settings = work.cut.settings
        if self.tile is not None and settings.tile > self.tile:
            work = Work.of(work.item, self.model.smaller(work.cut, self.tile), work.passed)
        elif not settings.tile and work.cut.plan.computed >= self.large and settings.pieces != self.pieces:
            cut = replace(work.cut, settings=settings.in_pieces(self.pieces))
            work = Work.of(work.item, cut, work.passed)
        tiles = self.waiting.setdefault(work.kind, deque())
        tiles.extend((work, i) for i in range(work.cut.count))

    def _send(self, kind: Kind) -> Iterator[Work | Failed]:
        """One call of the tiles of a kind; lands the oldest where enough are flying."""
        tiles = self.waiting[kind]
        size = self.size
        chosen = [tiles.popleft() for _ in range(min(size, len(tiles)))]
        try:
            self.flying.append((chosen, size, self.model.call([(work.cut, i) for work, i in chosen], size)))
        except jax.errors.JaxRuntimeError as error:
            yield from self._again_in_less_room(chosen, size, error)
        while len(self.flying) > FLYING:
            yield from self._land()

    def _land(self) -> Iterator[Work | Failed]:
        """The oldest call's tiles, each given to its picture."""
        chosen, size, result = self.flying.popleft()
        try:
            images = np.asarray(result)[: len(chosen)]
        except jax.errors.JaxRuntimeError as error:
            yield from self._again_in_less_room(chosen, size, error)
            return
        wanted = [(work, i, image) for (work, i), image in zip(chosen, images, strict=True) if not work.again]
        self.clock.count(len(wanted))
        for work, i, image in wanted:
            work.canvas.add(i, image)
        yield from [work for work in dict.fromkeys(work for work, *_ in wanted) if not work.canvas.missing]

    def _again_in_less_room(
        self, chosen: list[tuple[Work, int]], size: int, error: Exception
    ) -> Iterator[Work | Failed]:
        """After a call of `size` tiles found no room: its tiles in smaller calls, or their pictures in smaller tiles.

        Others of the same size may be on the devices: what they find is known by then.
        """
        if not is_out_of_memory(error):
            raise error
        chosen = [(work, i) for work, i in chosen if not work.again]
        if size > (least := self.model.whole_calls(1)):
            if size == self.size:
                self.size = max(self.model.whole_calls(size // 2), least)
                self.tell(f'no room for so many tiles at once: {self.size} from now on')
            for work, i in reversed(chosen):
                self.waiting[work.kind].appendleft((work, i))
            return
        for work in dict.fromkeys(work for work, _ in chosen):
            yield from self._in_smaller_tiles(work)

    def _in_smaller_tiles(self, work: Work) -> Iterator[Work | Failed]:
        """All of a picture again; what of it is restored or on its way does not fit together with other tiles."""
        for kind, tiles in self.waiting.items():
            self.waiting[kind] = deque((other, i) for other, i in tiles if other is not work)
        work.again = True
        try:
            again = Work.of(work.item, self.model.smaller(work.cut), work.passed)
        except UserError as error:
            yield Failed(work.item, error)
            return
        settings = again.cut.settings
        if settings.tile and self.tile != settings.tile:
            self.tile = settings.tile
            self.tell(f'no room for a tile: they are {self.tile} pixels a side from now on')
        if not settings.tile:
            self.large, self.pieces = min(self.large, again.cut.plan.computed), settings.pieces
            self.tell('no room for a picture of this size at once: the networks work on it in pieces')
        self._enqueue(again)


def in_order(works: Iterable[Work | Failed], number: Callable[[Any], int]) -> Iterator[Work | Failed]:
    """Works by the number of their items, 0, 1, 2 ..., each as soon as those before it have come."""
    early: dict[int, Work | Failed] = {}
    following = 0
    for work in works:
        early[number(work.item)] = work
        while following in early:
            yield early.pop(following)
            following += 1
