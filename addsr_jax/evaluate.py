"""addsr evaluate: PSNR, SSIM and NIQE of methods, or of finished pictures, on pairs of images.

python -m addsr_jax.evaluate --lq DIR --hr DIR --methods bicubic,seesr-50,addsr-4,addsr-1 --output DIR
python -m addsr_jax.evaluate --pred DIR --hr DIR
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from addsr_jax.command_line import Parser, number, say
from addsr_jax.errors import UserError, guard
from addsr_jax.evaluation import report
from addsr_jax.restoration import files, pipeline
from addsr_jax.runtime import prepare

Restore = Callable[[np.ndarray, str], np.ndarray]
SHOWN = 8  # rows of the picture


@dataclass(frozen=True)
class Pair:
    name: str
    low: Path  # low-quality input, or a finished picture
    high: Path


def parser() -> Parser:
    p = Parser(
        'evaluate', 'Scores methods on pairs, or pictures that are already there; whole images, no border cropped.'
    )
    p.add_argument('--hr', required=True, type=Path, help='folder of the true pictures')
    p.add_argument(
        '--lq', type=Path, help='folder of low-quality pictures of the same names: run the methods and score'
    )
    p.add_argument('--pred', type=Path, help='folder of finished pictures: score them only')
    p.add_argument('--weights', default='nano', help="'nano', or a folder that training or convert wrote")
    p.add_argument('--methods', default='bicubic,seesr-50,addsr-4,addsr-1', help='METHOD or METHOD-STEPS, with commas')
    p.add_argument('--limit', type=number(int, 1, 10**9), help='only so many pairs, spread evenly (default: all)')
    p.add_argument('--guidance_scale', type=number(float, 0, 30), help="of seesr; 1: off (default: the model's)")
    p.add_argument('--psr_weight', type=number(float, 0, 1), default=0.4, help='addsr: share of the last prediction')
    p.add_argument('--color', default='wavelet', choices=('adain', 'wavelet', 'none'), help='colour fix')
    p.add_argument('--seed', type=number(int, 0, 2**31 - 1), default=0, help='of all random numbers')
    p.add_argument(
        '--output', type=Path, help='folder for scores.json, the picture and all results (default: none kept)'
    )
    p.add_argument('--overwrite', action='store_true', help='replace an earlier --output')
    return p


def main(arguments: Sequence[str]) -> None:
    values = parser().parse_args(arguments)
    if (values.lq is None) == (values.pred is None):
        raise UserError('give either --lq (run methods) or --pred (score pictures)')
    pairs = find_pairs(values.lq or values.pred, values.hr)
    if values.limit:
        pairs = [pairs[i * len(pairs) // min(values.limit, len(pairs))] for i in range(min(values.limit, len(pairs)))]
    if values.output and (values.output / 'scores.json').exists() and not values.overwrite:
        raise UserError(f'{values.output} holds scores already: add --overwrite, or choose another --output')
    if values.pred:
        scores = [
            report.score(pair.name, 'pred', low, high, None) for pair, low, high in read_pairs(pairs, same_size=True)
        ]
        rows = []
    else:
        scores, rows = run_methods(pairs, values)
    baseline = next((s.method for s in scores if s.method.startswith('seesr')), None)
    say(report.table(scores, baseline))
    if values.output:
        report.write_json(values.output / 'scores.json', scores)
        if rows:
            files.write_image(values.output / 'side_by_side.png', report.side_by_side(rows))


def run_methods(pairs: Sequence[Pair], values) -> tuple[list[report.Score], list[dict[str, np.ndarray]]]:
    """Scores of every method on every pair, and rows of pictures to look at."""
    prepare()
    methods = make_methods(values)
    scores, rows, warm = [], [], set()
    for number_, (pair, low, high) in enumerate(read_pairs(pairs, same_size=False), 1):
        row = {'LQ (nearest)': np.asarray(Image.fromarray(low).resize(high.shape[1::-1], Image.Resampling.NEAREST))}
        for name, restore in methods.items():
            if (name, low.shape) not in warm:  # compilation is not the method's time
                restore(low, pair.name)
                warm.add((name, low.shape))
            start = time.monotonic()
            result = restore(low, pair.name)
            scores.append(report.score(pair.name, name, result, high, time.monotonic() - start))
            row[name] = result
            if values.output:
                files.write_image(values.output / name / f'{pair.name}.png', result)
        if len(rows) < SHOWN and high.shape == (rows[0]['HR'].shape if rows else high.shape):
            rows.append({**row, 'HR': high})
        say(f'[{number_}/{len(pairs)}] {pair.name}')
    return scores, rows


def make_methods(values) -> dict[str, Restore]:
    """'bicubic', 'addsr-4', ... to functions of (image, name); one set of weights for all."""
    methods: dict[str, Restore] = {}
    model = None
    for text in values.methods.split(','):
        name, _, steps = text.strip().partition('-')
        if name == 'bicubic' and not steps:
            methods['bicubic'] = lambda image, _: np.asarray(
                Image.fromarray(image).resize((4 * image.shape[1], 4 * image.shape[0]), Image.Resampling.BICUBIC)
            )
            continue
        if name not in pipeline.STEPS or not (steps.isdigit() or not steps):
            raise UserError(f'--methods has {text!r}: write bicubic, seesr-STEPS or addsr-STEPS, with commas')
        settings = pipeline.Settings(
            method=name,
            steps=int(steps) if steps else None,
            psr_weight=values.psr_weight,
            guidance_scale=values.guidance_scale if name == 'seesr' else None,
            color=values.color,
            seed=values.seed,
        )
        model = model or pipeline.load(values.weights)
        methods[text.strip()] = lambda image, key, m=model, s=settings: m.restore(image, s, key)
    return methods


def find_pairs(low: Path, high: Path) -> list[Pair]:
    """Images of `low` with those of `high`: the same stem, or the stem before _x4."""
    references = {path.stem: path for path in files.find_images(high)}
    pairs = []
    for path in files.find_images(low):
        stem = path.stem if path.stem in references else path.stem.removesuffix('_x4')
        if stem not in references:
            raise UserError(f'{path} has no partner of that name in {high}')
        pairs.append(Pair(stem, path, references[stem]))
    return pairs


def read_pairs(pairs: Sequence[Pair], *, same_size: bool) -> Iterator[tuple[Pair, np.ndarray, np.ndarray]]:
    for pair in pairs:
        low, high = files.read_image(pair.low), files.read_image(pair.high)
        factor = 1 if same_size else 4
        wanted = (low.shape[0] * factor, low.shape[1] * factor, 3)
        if high.shape != wanted:
            raise UserError(
                f'{pair.high} is {high.shape[1]} x {high.shape[0]}, not {wanted[1]} x {wanted[0]} as {pair.low} asks'
            )
        yield pair, low, high


if __name__ == '__main__':
    sys.exit(guard(main))
