"""Two programs that do the same work: equal answers first, then both timed in turn."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from addsr_jax.errors import UserError
from addsr_jax.flags import say


@dataclass(frozen=True)
class Case:
    """One piece of work: ours and PyTorch's in several forms; all return numbers that are there."""

    name: str
    ours: Callable[[], np.ndarray]
    theirs: dict[str, Callable[[], np.ndarray]]


@dataclass(frozen=True)
class Row:
    """Medians of a case and a form of PyTorch's: seconds and CPU-seconds, ours, PyTorch's, and their ratio."""

    case: str
    form: str
    error: float
    wall: tuple[float, float, float]
    cpu: tuple[float, float, float]

    def cells(self) -> list[str]:
        figures = [f'{x:.4g}' for x in (*self.wall[:2], *self.cpu[:2])]
        return [self.case, self.form, f'{self.error:.0e}', *figures, f'{self.wall[2]:.2f}', f'{self.cpu[2]:.2f}']


TITLES = ('work', 'PyTorch', 'error', 's ours', 's PyTorch', 'CPU-s ours', 'CPU-s PyTorch', 'ratio of s', 'of CPU-s')


def told(cases: Iterator[Case], close: float, rounds: int) -> Iterator[Row]:
    """Rows of one case after the other, each said as soon as it is known."""
    for case in cases:
        for row in measured(case, close, rounds):
            say(f'| {" | ".join(row.cells())} |')
            yield row


def measured(case: Case, close: float, rounds: int) -> list[Row]:
    """Compared first, which compiles and warms up; then timed in turn."""
    wanted = case.ours()
    errors = {form: apart(run(), wanted) for form, run in case.theirs.items()}
    for form, error in errors.items():
        if not error <= close:
            raise UserError(f'{case.name}: {form} differs by {error:.1e} of the largest value: it is other work')
    times = [{form: timed(run) for form, run in {'': case.ours, **case.theirs}.items()} for _ in range(rounds)]
    return [
        Row(case.name, form, error, *(medians([(at[''][i], at[form][i]) for at in times]) for i in (0, 1)))
        for form, error in errors.items()
    ]


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference of the largest value."""
    return float(np.abs(a - b).max() / np.abs(b).max()) if a.shape == b.shape else float('inf')


def timed(run: Callable[[], Any]) -> tuple[float, float]:
    """Seconds, and those of all cores together."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def medians(pairs: list[tuple[float, float]]) -> tuple[float, float, float]:
    """(ours, theirs, theirs by ours)."""
    ours, theirs = zip(*pairs, strict=True)
    return statistics.median(ours), statistics.median(theirs), statistics.median(b / a for a, b in pairs)
