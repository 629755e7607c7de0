"""Scores of methods on pairs of images: a table for people, JSON for programs, a labelled picture for the eye."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from addsr_jax import atomic
from addsr_jax.evaluation.metrics import psnr_y, ssim_y
from addsr_jax.evaluation.niqe import BLOCK, niqe

GAP, BAND = 8, 26  # pixels between pictures, and of a label


@dataclass(frozen=True)
class Score:
    """One image by one method. NIQE is None below 96 pixels, seconds is None where nothing was run."""

    image: str
    method: str
    psnr: float
    ssim: float
    niqe: float | None
    seconds: float | None


def score(name: str, method: str, image: np.ndarray, reference: np.ndarray, seconds: float | None) -> Score:
    """PSNR and SSIM on luma against the reference, NIQE of the image; uint8 [H, W, 3] both."""
    quality = niqe(image) if min(image.shape[:2]) >= BLOCK else None
    return Score(name, method, psnr_y(image, reference), ssim_y(image, reference), quality, seconds)


def means(scores: Sequence[Score]) -> dict[str, dict[str, float | None]]:
    """Per method, in the order of appearance: the mean of every figure over the images that have it."""
    methods = list(dict.fromkeys(s.method for s in scores))
    return {
        m: {
            key: _mean([getattr(s, key) for s in scores if s.method == m])
            for key in ('psnr', 'ssim', 'niqe', 'seconds')
        }
        for m in methods
    }


def _mean(values: Sequence[float | None]) -> float | None:
    there = [v for v in values if v is not None]
    return float(np.nanmean(there)) if there else None


def table(scores: Sequence[Score], baseline: str | None = None) -> str:
    """Aligned text, one row a method; `baseline` adds a column: how many times faster than that method."""
    rows = means(scores)
    header = ['method', 'PSNR', 'SSIM', 'NIQE', 's/image']
    slow = rows[baseline]['seconds'] if baseline in rows else None
    if slow:
        header.append(f'speed-up over {baseline}')
    lines = [header]
    for method, row in rows.items():
        seconds = row['seconds']
        cells = [method, _cell(row['psnr'], 2), _cell(row['ssim'], 4), _cell(row['niqe'], 2), _cell(seconds, 2)]
        if slow:
            cells.append(f'{slow / seconds:.1f}x' if seconds else '-')
        lines.append(cells)
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return '\n'.join(
        '  '.join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _cell(value: float | None, digits: int) -> str:
    return '-' if value is None else f'{value:.{digits}f}'


def write_json(path: Path, scores: Sequence[Score]) -> None:
    """{'means': ..., 'images': [...]}, whole or not at all."""
    atomic.write_json(path, {'means': means(scores), 'images': [asdict(s) for s in scores]})


def read_json(path: Path) -> list[Score]:
    """The scores that `write_json` wrote."""
    return [Score(**row) for row in json.loads(path.read_text(encoding='utf-8'))['images']]


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
