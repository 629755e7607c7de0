"""addsr evaluate: PSNR, SSIM and NIQE of methods, or of finished pictures, on pairs of images.

python -m addsr_jax.evaluate --lq DIR --hr DIR --methods bicubic,seesr-50,addsr-4,addsr-1 --output DIR
python -m addsr_jax.evaluate --pred DIR --hr DIR
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from addsr_jax.errors import UserError, guard
from addsr_jax.flags import Parser, say, take
from addsr_jax.options import Options, option
from addsr_jax.restoration.settings import Settings

if TYPE_CHECKING:
    import numpy as np

    from addsr_jax.evaluation import report
    from addsr_jax.restoration import comparison

SHOWN = 8  # rows of the picture
TAKEN = ('guidance_scale', 'color', 'grain', 'seed')  # settings that hold for all methods


@dataclass(frozen=True, kw_only=True)
class Command(Options):
    """What `evaluate` takes beside settings."""

    hr: Path = option('folder of the true pictures')
    lq: Path | None = option(
        'folder of low-quality pictures of the same names: run the methods and score', default=None
    )
    pred: Path | None = option('folder of finished pictures: score them only', default=None)
    weights: str = option("'nano', or a folder that training or convert wrote", default='nano')
    methods: str = option(
        'METHOD, METHOD-STEPS or addsr-STEPS[x2][@PSR_WEIGHT], with commas; x2: antithetic',
        default='bicubic,seesr-50,addsr-4,addsr-1',
    )
    limit: int | None = option('only so many pairs, spread evenly', default=None, unset='all', low=1, high=10**9)
    output: Path | None = option('folder for scores.json, the picture and all results', default=None, unset='none kept')
    overwrite: bool = option('replace an earlier output', default=False)

    def check_together(self) -> None:
        if (self.lq is None) == (self.pred is None):
            raise UserError('give either --lq (run methods) or --pred (score pictures)')

    @property
    def pictures(self) -> Path:
        """What is paired with the true pictures."""
        found = self.lq or self.pred
        assert found is not None  # check_together
        return found


def parser() -> Parser:
    p = Parser(
        'evaluate', 'Scores methods on pairs, or pictures that are already there; whole images, no border cropped.'
    )
    p.declare(Command)
    p.declare(Settings, without=[name for name in Settings.__dataclass_fields__ if name not in TAKEN])
    return p


def main(arguments: Sequence[str]) -> None:
    values = parser().parse_args(arguments)
    command, settings = take(values, Command), take(values, Settings)
    from addsr_jax.evaluation import report
    from addsr_jax.restoration import comparison, files

    pairs = comparison.find_pairs(command.pictures, command.hr, command.limit)
    if command.output and (command.output / 'scores.json').exists() and not command.overwrite:
        raise UserError(f'{command.output} holds scores already: add --overwrite, or choose another --output')
    if command.pred:
        finished = comparison.read_pairs(pairs, factor=1)
        scores = [report.score(pair.name, 'pred', low, high, None) for pair, low, high in finished]
        rows = []
    else:
        scores, rows = run_methods(pairs, command, settings)
    say(report.table(scores, comparison.slowest(scores)))
    if command.output:
        report.write_json(command.output / 'scores.json', scores)
        if rows:
            files.write_image(command.output / 'side_by_side.png', report.side_by_side(rows))


def run_methods(
    pairs: 'Sequence[comparison.Pair]', command: Command, defaults: Settings
) -> 'tuple[list[report.Score], list[dict[str, np.ndarray]]]':
    """Scores of every method on every pair, and rows of pictures to look at."""
    import numpy as np
    from PIL import Image

    from addsr_jax.restoration import comparison, files, pipeline
    from addsr_jax.runtime import prepare

    prepare()
    methods = comparison.make_methods(command.methods.split(','), defaults, partial(pipeline.load, command.weights))
    scores, rows = [], []
    for number_, trial in enumerate(comparison.compare(pairs, methods), 1):
        scores += trial.scores
        size = trial.high.shape[1::-1]
        if len(rows) < SHOWN and (not rows or trial.high.shape == rows[0]['HR'].shape):
            nearest = np.asarray(Image.fromarray(trial.low).resize(size, Image.Resampling.NEAREST))
            rows.append({'LQ (nearest)': nearest, **trial.results, 'HR': trial.high})
        if command.output:
            for name, result in trial.results.items():
                files.write_image(command.output / name / f'{trial.pair.name}.png', result)
        say(f'[{number_}/{len(pairs)}] {trial.pair.name}')
    return scores, rows


if __name__ == '__main__':
    sys.exit(guard(main))
