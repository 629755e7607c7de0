"""Scores of methods on pairs of images: a table for people, JSON and CSV for programs, a picture for the eye."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from addsr_jax import atomic, json_file
from addsr_jax.errors import UserError
from addsr_jax.evaluation import figures, statistics
from addsr_jax.evaluation.figures import FIGURES

GAP, BAND = 8, 26  # pixels between pictures, and of a label
TRUTH = 'HR'  # the true pictures' own figures stand under this name


@dataclass(frozen=True)
class Score:
    """One image by one method: figures by name, None where the image is too small; seconds None if nothing was run."""

    image: str
    method: str
    figures: Mapping[str, float | None]
    seconds: float | None

    @property
    def row(self) -> dict[str, Any]:
        return {'image': self.image, 'method': self.method, **self.figures, 'seconds': self.seconds}

    @property
    def numbers(self) -> dict[str, float | None]:
        return {**self.figures, 'seconds': self.seconds}


def score(
    name: str,
    method: str,
    image: np.ndarray,
    reference: np.ndarray,
    seconds: float | None,
    names: Sequence[str] = figures.BASIC,
) -> Score:
    """The named figures of an image against the reference; uint8 [H, W, 3] both."""
    return Score(name, method, figures.measure(names, image, reference), seconds)


def means(scores: Sequence[Score]) -> dict[str, dict[str, float | None]]:
    """Per method, in the order of appearance: the mean of every figure over the images that have it."""
    return {
        method: {key: _mean(values) for key, values in columns.items()} for method, columns in _columns(scores).items()
    }


def intervals(scores: Sequence[Score]) -> dict[str, dict[str, tuple[float, float] | None]]:
    """Per method and figure: where 95 % of the means over redrawn images lie."""
    return {
        method: {key: statistics.interval(_there(values)) for key, values in columns.items() if key in FIGURES}
        for method, columns in _columns(scores).items()
    }


def differences(
    scores: Sequence[Score], against: str
) -> dict[str, dict[str, tuple[float, tuple[float, float] | None]]]:
    """Per other method and figure: the mean difference on the same images, and its 95 % interval."""
    by_method: dict[str, dict[str, Score]] = {}
    for s in scores:
        by_method.setdefault(s.method, {})[s.image] = s
    if against not in by_method:
        raise UserError(f'there are no scores of {against}: compare with one of {", ".join(by_method)}')
    base = by_method.pop(against)
    found: dict[str, dict[str, tuple[float, tuple[float, float] | None]]] = {}
    for method, own in by_method.items():
        for key in FIGURES:
            pairs = [(own[image].figures.get(key), base[image].figures.get(key)) for image in own if image in base]
            apart = [a - b for a, b in pairs if a is not None and b is not None]
            if apart:
                found.setdefault(method, {})[key] = (float(np.nanmean(apart)), statistics.interval(apart))
    return found


def _columns(scores: Sequence[Score]) -> dict[str, dict[str, list[float | None]]]:
    methods = list(dict.fromkeys(s.method for s in scores))
    rows = {m: [s.numbers for s in scores if s.method == m] for m in methods}
    return {m: {key: [row.get(key) for row in of] for key in _keys(of)} for m, of in rows.items()}


def _keys(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Figures in the order of the table, then seconds."""
    return [key for key in (*FIGURES, 'seconds') if any(key in row for row in rows)]


def _there(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _mean(values: Sequence[float | None]) -> float | None:
    there = _there(values)
    return float(np.nanmean(there)) if there else None


def table(scores: Sequence[Score], baseline: str | None = None) -> str:
    """Aligned text, one row a method: means, of several images with half the width of their 95 % intervals.

    `baseline` adds a column: how many times faster than that method.
    """
    rows, sure = means(scores), intervals(scores)
    keys = [key for key in FIGURES if any(key in row for row in rows.values())]
    header = ['method', *(FIGURES[key].label for key in keys), 's/image']
    slow = rows[baseline]['seconds'] if baseline in rows else None
    if slow:
        header.append(f'speed-up over {baseline}')
    lines = [header]
    for method, row in rows.items():
        seconds = row['seconds']
        cells = [_cell(row.get(key), FIGURES[key].digits, sure[method].get(key)) for key in keys]
        lines.append([method, *cells, _cell(seconds, 2)])
        if slow:
            lines[-1].append(f'{slow / seconds:.1f}x' if seconds else '-')
    return _aligned(lines)


def differences_table(scores: Sequence[Score], against: str) -> str:
    """Aligned text, one row a method: what it has more than `against`, and the 95 % interval of that."""
    found = differences(scores, against)
    keys = [key for key in FIGURES if any(key in row for row in found.values())]
    lines = [[f'less {against}', *(FIGURES[key].label for key in keys)]]
    for method, row in found.items():
        cells = []
        for key in keys:
            value, ends = row.get(key, (None, None))
            digits = FIGURES[key].digits
            between = f' [{ends[0]:+.{digits}f}, {ends[1]:+.{digits}f}]' if ends else ''
            cells.append('-' if value is None else f'{value:+.{digits}f}{between}')
        lines.append([method, *cells])
    return _aligned(lines)


def _cell(value: float | None, digits: int, ends: tuple[float, float] | None = None) -> str:
    if value is None:
        return '-'
    return f'{value:.{digits}f}' + (f' ± {(ends[1] - ends[0]) / 2:.{digits}f}' if ends else '')


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return '\n'.join(
        '  '.join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def write_json(path: Path, scores: Sequence[Score]) -> None:
    """{'means': ..., 'intervals': ..., 'images': [...]}, whole or not at all."""
    content = {'means': means(scores), 'intervals': intervals(scores), 'images': [s.row for s in scores]}
    atomic.write_json(path, content)


def read_json(path: Path, advice: str = 'delete it, and it is made anew') -> list[Score]:
    """The scores that `write_json` wrote; a UserError, which ends in `advice`, where the file is another or damaged."""
    rows = json_file.read(path, advice, finite=False).get('images')  # a flat picture may have no NIQE
    try:
        return [_score(dict(row)) for row in rows or ()]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f'{path} holds no scores: {advice}') from error


def _score(row: dict[str, Any]) -> Score:
    image, method, seconds = row.pop('image'), row.pop('method'), row.pop('seconds')
    numbers = {key: None if value is None else float(value) for key, value in row.items() if key in FIGURES}
    return Score(str(image), str(method), numbers, None if seconds is None else float(seconds))


def write_csv(path: Path, scores: Sequence[Score]) -> None:
    """One line an image and method, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ['image', 'method', *_keys([s.numbers for s in scores])], lineterminator='\n')
    writer.writeheader()
    writer.writerows(s.row for s in scores)
    atomic.write_text(path, text.getvalue())


def side_by_side(rows: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
    """A sheet: one row of equally large pictures uint8 [H, W, 3] each, the names above the columns."""
    names = list(rows[0])
    height, width = rows[0][names[0]].shape[:2]
    sheet = Image.new('RGB', (len(names) * (width + GAP) - GAP, BAND + len(rows) * (height + GAP) - GAP), 'white')
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=15)
    for column, name in enumerate(names):
        draw.text((column * (width + GAP) + 4, 4), name, fill='black', font=font)
        for line, row in enumerate(rows):
            sheet.paste(Image.fromarray(row[name]), (column * (width + GAP), BAND + line * (height + GAP)))
    return np.asarray(sheet)
