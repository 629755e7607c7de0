"""addsr evaluate: PSNR, SSIM and NIQE of methods, or of finished pictures, on pairs of images.

python -m addsr_jax.evaluate --lq DIR --hr DIR --methods bicubic,seesr-50,addsr-4,addsr-1 --output DIR
python -m addsr_jax.evaluate --pred DIR --hr DIR
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from addsr_jax.errors import UserError, guard
from addsr_jax.evaluation import report
from addsr_jax.flags import Parser, number, say
from addsr_jax.restoration import comparison, files, pipeline
from addsr_jax.restoration.settings import Settings
from addsr_jax.runtime import prepare

SHOWN = 8  # rows of the picture


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
    p.add_argument(
        '--methods',
        default='bicubic,seesr-50,addsr-4,addsr-1',
        help='METHOD, METHOD-STEPS or addsr-STEPS[x2][@PSR_WEIGHT], with commas; x2: antithetic',
    )
    p.add_argument('--limit', type=number(int, 1, 10**9), help='only so many pairs, spread evenly (default: all)')
    p.add_argument('--guidance_scale', type=number(float, 0, 30), help="of seesr; 1: off (default: the model's)")
    p.add_argument(
        '--color', choices=('guided', 'wavelet', 'adain', 'none'), help="colour fix (default: the model's own)"
    )
    p.add_argument('--grain', type=number(float, 0, 20), help="as upscale's (default: the model's own)")
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
    pairs = comparison.find_pairs(values.lq or values.pred, values.hr, values.limit)
    if values.output and (values.output / 'scores.json').exists() and not values.overwrite:
        raise UserError(f'{values.output} holds scores already: add --overwrite, or choose another --output')
    if values.pred:
        finished = comparison.read_pairs(pairs, factor=1)
        scores = [report.score(pair.name, 'pred', low, high, None) for pair, low, high in finished]
        rows = []
    else:
        scores, rows = run_methods(pairs, values)
    baseline = next((s.method for s in scores if s.method.startswith('seesr')), None)
    say(report.table(scores, baseline))
    if values.output:
        report.write_json(values.output / 'scores.json', scores)
        if rows:
            files.write_image(values.output / 'side_by_side.png', report.side_by_side(rows))


def run_methods(pairs: Sequence[comparison.Pair], values) -> tuple[list[report.Score], list[dict[str, np.ndarray]]]:
    """Scores of every method on every pair, and rows of pictures to look at."""
    prepare()
    defaults = Settings(guidance_scale=values.guidance_scale, color=values.color, grain=values.grain, seed=values.seed)
    methods = comparison.make_methods(values.methods.split(','), defaults, partial(pipeline.load, values.weights))
    scores, rows = [], []
    for number_, trial in enumerate(comparison.compare(pairs, methods), 1):
        scores += trial.scores
        size = trial.high.shape[1::-1]
        if len(rows) < SHOWN and (not rows or trial.high.shape == rows[0]['HR'].shape):
            nearest = np.asarray(Image.fromarray(trial.low).resize(size, Image.Resampling.NEAREST))
            rows.append({'LQ (nearest)': nearest, **trial.results, 'HR': trial.high})
        if values.output:
            for name, result in trial.results.items():
                files.write_image(values.output / name / f'{trial.pair.name}.png', result)
        say(f'[{number_}/{len(pairs)}] {trial.pair.name}')
    return scores, rows


if __name__ == '__main__':
    sys.exit(guard(main))
