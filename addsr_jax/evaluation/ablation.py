"""What an ablation shows: figures of every run, and differences held against what the seed alone changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from addsr_jax.evaluation.figures import FIGURES

Figures = Mapping[str, float | None]  # of `evaluation.figures`, and seconds: means over the pairs
Table = Mapping[str, Mapping[str, Figures]]  # of run, of method


@dataclass(frozen=True)
class Difference:
    """One figure of a run less the mean over the seeds of the whole method; `spread` is max - min of those."""

    run: str
    method: str
    metric: str
    value: float
    spread: float

    @property
    def verdict(self) -> str:
        """'none' where the seed changes as much, else 'better' or 'worse'."""
        if abs(self.value) <= self.spread:
            return 'none'
        return 'better' if self.value * FIGURES[self.metric].better > 0 else 'worse'


def differences(table: Table, seeds: Sequence[str], methods: Sequence[str], metrics: Sequence[str]) -> list[Difference]:
    """Every run that is no seed against the seeds, by method and metric."""
    found = []
    for run in (name for name in table if name not in seeds):
        for method in methods:
            for metric in metrics:
                of_seeds = [number(table[seed][method][metric]) for seed in seeds]
                value = number(table[run][method][metric]) - float(np.mean(of_seeds))
                found.append(Difference(run, method, metric, value, max(of_seeds) - min(of_seeds)))
    return found


def number(value: float | None) -> float:
    if value is None:
        raise ValueError('an ablation needs pictures of at least 96 pixels: smaller ones have no NIQE')
    return value


def figures_table(table: Table, methods: Sequence[str], metrics: Sequence[str]) -> str:
    """Markdown: a row for every run and method."""
    rows = [[run, m, *_cells(by_method[m], metrics)] for run, by_method in table.items() for m in methods]
    return markdown([['run', 'method', *_labels(metrics)], *rows])


def _labels(metrics: Sequence[str]) -> list[str]:
    return [FIGURES[metric].label for metric in metrics]


def _cells(figures: Figures, metrics: Sequence[str]) -> list[str]:
    return [f'{number(figures[metric]):.{FIGURES[metric].digits}f}' for metric in metrics]


def differences_table(found: Sequence[Difference]) -> str:
    """Markdown: one row a run and method; a difference that the seeds explain is 'none'."""
    rows: dict[tuple[str, str], list[str]] = {}
    for d in found:
        digits = FIGURES[d.metric].digits
        text = 'none' if d.verdict == 'none' else f'{d.value:+.{digits}f} {d.verdict}'
        rows.setdefault((d.run, d.method), []).append(f'{text} (seeds: {d.spread:.{digits}f})')
    metrics = list(dict.fromkeys(d.metric for d in found))
    return markdown([['run', 'method', *_labels(metrics)], *([*key, *cells] for key, cells in rows.items())])


def curve_table(curve: Mapping[str, Figures], metrics: Sequence[str]) -> str:
    """Markdown: figures and seconds of one run by every method of the curve."""
    rows = [[m, *_cells(f, metrics), f'{number(f["seconds"]):.2f}'] for m, f in curve.items()]
    return markdown([['method', *_labels(metrics), 's/image'], *rows])


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table, the first row its header."""
    lines = ['| ' + ' | '.join(row) + ' |' for row in rows]
    return '\n'.join([lines[0], '| ' + ' | '.join('---' for _ in rows[0]) + ' |', *lines[1:]])
