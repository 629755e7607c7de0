"""What an ablation shows: figures of every run, and differences held against what the seed alone changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

DIGITS = {'psnr': 2, 'ssim': 4, 'niqe': 2}
BETTER = {'psnr': 1, 'ssim': 1, 'niqe': -1}  # sign of an improvement
Figures = Mapping[str, float | None]  # psnr, ssim, niqe, seconds: means over the pairs
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
        return 'better' if self.value * BETTER[self.metric] > 0 else 'worse'


def differences(table: Table, seeds: Sequence[str], methods: Sequence[str]) -> list[Difference]:
    """Every run that is no seed against the seeds, by method and metric."""
    found = []
    for run in (name for name in table if name not in seeds):
        for method in methods:
            for metric in DIGITS:
                of_seeds = [number(table[seed][method][metric]) for seed in seeds]
                value = number(table[run][method][metric]) - float(np.mean(of_seeds))
                found.append(Difference(run, method, metric, value, max(of_seeds) - min(of_seeds)))
    return found


def number(value: float | None) -> float:
    if value is None:
        raise ValueError('an ablation needs pictures of at least 96 pixels: smaller ones have no NIQE')
    return value


def figures_table(table: Table, methods: Sequence[str]) -> str:
    """Markdown: PSNR, SSIM and NIQE of every run by every method."""
    header = ['run', *(f'{method} PSNR / SSIM / NIQE' for method in methods)]
    rows = [[run, *(_cells(by_method[m]) for m in methods)] for run, by_method in table.items()]
    return markdown([header, *rows])


def _cells(figures: Figures) -> str:
    return ' / '.join(f'{number(figures[metric]):.{digits}f}' for metric, digits in DIGITS.items())


def differences_table(found: Sequence[Difference]) -> str:
    """Markdown: one row a run and method; a difference that the seeds explain is 'none'."""
    rows: dict[tuple[str, str], list[str]] = {}
    for d in found:
        text = 'none' if d.verdict == 'none' else f'{d.value:+.{DIGITS[d.metric]}f} {d.verdict}'
        rows.setdefault((d.run, d.method), []).append(f'{text} (seeds: {d.spread:.{DIGITS[d.metric]}f})')
    return markdown([['run', 'method', 'PSNR', 'SSIM', 'NIQE'], *([*key, *cells] for key, cells in rows.items())])


def curve_table(curve: Mapping[str, Figures]) -> str:
    """Markdown: figures and seconds of one run by every method of the curve."""
    rows = [[m, *_cells(f).split(' / '), f'{number(f["seconds"]):.2f}'] for m, f in curve.items()]
    return markdown([['method', 'PSNR', 'SSIM', 'NIQE', 's/image'], *rows])


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table, the first row its header."""
    lines = ['| ' + ' | '.join(row) + ' |' for row in rows]
    return '\n'.join([lines[0], '| ' + ' | '.join('---' for _ in rows[0]) + ' |', *lines[1:]])
