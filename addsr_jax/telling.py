"""What `upscale` tells while it works: lines, a bar on a terminal, JSON for programs, or nothing but complaints."""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from addsr_jax.errors import complain, printable
from addsr_jax.flags import say

FEW = 20  # pictures; of more a terminal shows the bar, not a line each


@dataclass
class Telling:
    """Lines on stdout: what happens, every picture as it is done, and a summary."""

    total: int = 0  # pictures
    done: int = 0
    left_out: list[str] = field(default_factory=list)
    tiles: int = 0  # of all pictures
    restored: int = 0  # tiles
    started: float = field(default_factory=time.monotonic)
    first: int = 0  # tiles that came first: their time is also that of what is done once, before them
    since: float = 0.0  # when they came
    told_minutes: bool = False
    there: int = 0  # results of earlier starts

    def note(self, line: str) -> None:
        say(line)

    def begin(self, pictures: int, tiles: int) -> None:
        self.total, self.tiles, self.started = pictures, tiles, time.monotonic()

    def more_tiles(self, count: int) -> None:
        """So many more are restored. After a few seconds it says how long the whole will take, if that is long."""
        if not self.restored:
            self.first, self.since = count, time.monotonic()
        self.restored += count
        seconds = time.monotonic() - self.since
        if not self.told_minutes and seconds > 5 and self.restored > self.first:
            self.told_minutes = True
            rest = seconds / (self.restored - self.first) * (self.tiles - self.restored)
            if rest > 60:
                self.note(f'about {duration(rest)} more')

    def picture(self, event: Any) -> None:
        """A result is written."""
        self.done += 1
        took = f'  {event.seconds:.1f} s' if self.total == 1 else ''  # of several, one waits for others
        self.line(f'{self.number()} {described(event)}{took}')

    def no_picture(self, event: Any) -> None:
        """A picture is left out, for a reason that is said at once and named again at the end."""
        self.done += 1
        self.left_out.append(str(event.job.source))
        self.complaint(f'{self.number()} left out: {event.error}')

    def only_picture(self, event: Any) -> None:
        """The one that was named is left out: its error ends the command, and says so."""

    def number(self) -> str:
        return f'[{self.done}/{self.total}]'

    def line(self, text: str) -> None:
        say(text)

    def complaint(self, text: str) -> None:
        complain(text)

    def end(self, idle: float) -> None:
        """A summary of several pictures. idle: share of the time in which the devices had nothing to do."""
        seconds, well = time.monotonic() - self.started, self.done - len(self.left_out)
        if self.total > 1:
            rate = f'{well / seconds:.2f} images/s' if seconds else ''
            self.note(
                f'{well} of {self.total} in {duration(seconds)}, {rate}; the devices waited {idle:.0%} of the time'
            )
        for name in self.left_out if self.total > 1 else ():
            complain(f'left out: {printable(name, 4096)}')

    def nothing(self) -> None:
        """All results are there already."""

    def close(self) -> None:
        """No more is told."""


class Quiet(Telling):
    def note(self, line: str) -> None:
        pass

    def line(self, text: str) -> None:
        pass


class Json(Quiet):
    """One object a line on stdout: of every picture, and of the whole."""

    def picture(self, event: Any) -> None:
        self.done += 1
        width, height = event.size
        self._write(
            source=str(event.job.source),
            result=str(event.job.target),
            width=width,
            height=height,
            seconds=round(event.seconds, 3),
            remarks=list(event.remarks),
        )

    def no_picture(self, event: Any) -> None:
        self.done += 1
        self.left_out.append(str(event.job.source))
        self._write(source=str(event.job.source), error=str(event.error))

    def only_picture(self, event: Any) -> None:
        self.no_picture(event)
        self.end(0.0)

    def nothing(self) -> None:
        self.end(0.0)

    def end(self, idle: float) -> None:
        seconds = round(time.monotonic() - self.started, 3)
        self._write(
            pictures=self.total,
            there=self.there,
            left_out=len(self.left_out),
            tiles=self.restored,
            seconds=seconds,
            waited=round(idle, 4),
        )

    def _write(self, **fields: Any) -> None:
        say(json.dumps(fields))  # ASCII, whatever bytes a name has


class Bar(Telling):
    """A bar of tiles on stderr, with pictures, images/s and the time that is left."""

    bar: Any = None

    def begin(self, pictures: int, tiles: int) -> None:
        from tqdm import tqdm

        super().begin(pictures, tiles)
        self.told_minutes = True
        self.bar = tqdm(total=tiles, unit='tile', file=sys.stderr, dynamic_ncols=True, desc=f'0/{pictures}')

    def more_tiles(self, count: int) -> None:
        super().more_tiles(count)
        self.bar.update(count)

    def number(self) -> str:
        self.bar.set_description(f'{self.done}/{self.total}', refresh=False)
        self.bar.set_postfix_str(f'{self.done / (time.monotonic() - self.started):.2f} images/s')
        return super().number()

    def line(self, text: str) -> None:
        if self.total <= FEW:
            self._beside(super().line, text)

    def complaint(self, text: str) -> None:
        self._beside(super().complaint, text)

    def _beside(self, tell: Callable[[str], None], text: str) -> None:
        """By what the other lines go through, which knows the letters that a terminal lacks."""
        self.bar.clear()
        tell(text)
        self.bar.refresh()

    def end(self, idle: float) -> None:
        self.close()
        super().end(idle)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def telling(*, quiet: bool, as_json: bool) -> Telling:
    if as_json:
        return Json()
    if quiet:
        return Quiet()
    return Bar() if sys.stderr is not None and sys.stderr.isatty() and os.environ.get('TERM') != 'dumb' else Telling()


def described(event: Any) -> str:
    """A result in one line."""
    width, height = event.size
    told = ''.join(f'  ({remark})' for remark in event.remarks)
    return f'{printable(str(event.job.target), 4096)}  {width} x {height}{told}'


def memory_of(size: float) -> str:
    """'90 MB', '1.4 GB', of bytes."""
    return f'{size / 1e9:.1f} GB' if size >= 1e9 else f'{size / 1e6:.0f} MB'


def duration(seconds: float) -> str:
    """'42 s', '12 min', '3 h 20 min'."""
    if seconds < 90:
        return f'{seconds:.0f} s'
    minutes = round(seconds / 60)
    return f'{minutes} min' if minutes < 90 else f'{minutes // 60} h {minutes % 60} min'
