"""addsr evaluate: PSNR, SSIM, NIQE, LPIPS and DISTS of methods, or of finished pictures, on pairs of images.

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
from addsr_jax.installation import with_extra
from addsr_jax.options import Options, option
from addsr_jax.restoration.settings import OF_FINISH, Settings, parse_method

if TYPE_CHECKING:
    import numpy as np

    from addsr_jax.evaluation import report
    from addsr_jax.restoration import comparison

SHOWN = 8  # rows of the picture
# settings that hold for all methods
TAKEN = ('guidance_scale', *OF_FINISH, 'seed', 'int8', 'tiny_decoder')


@dataclass(frozen=True, kw_only=True)
class Command(Options):
    """What `evaluate` takes beside settings."""

    hr: Path = option('folder of the true pictures')
    lq: Path | None = option(
        'folder of low-quality pictures of the same names: run the methods and score', default=None
    )
    pred: Path | None = option('folder of finished pictures: score them only', default=None)
    weights: str = option("'nano', a folder that training or convert wrote, or ORG/NAME on a hub", default='nano')
    methods: str = option(
        'METHOD, METHOD-STEPS or addsr-STEPS[x2][@PSR_WEIGHT], with commas; x2: antithetic',
        default='bicubic,seesr-50,addsr-4,addsr-1',
    )
    limit: int | None = option('only so many pairs, spread evenly', default=None, unset='all', low=1, high=10**9)
    metrics: str | None = option(
        'figures, with commas: psnr, ssim, niqe, and from the extra metrics lpips (AlexNet), lpips_vgg, dists',
        default=None,
        unset='all that are installed',
    )
    with_pyiqa: bool = option(
        'add MUSIQ, MANIQA and CLIPIQA, and FID of kept results, by pyiqa, which is not for commerce', default=False
    )
    against: str | None = option(
        'a method: the others are compared with it picture by picture', default=None, unset='none'
    )
    output: Path | None = option(
        'folder for scores.json, scores.csv, the picture and all results', default=None, unset='none kept'
    )
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
    from addsr_jax.evaluation import figures, report, with_pyiqa
    from addsr_jax.restoration import comparison, files

    for text in () if command.pred else command.methods.split(','):
        parse_method(text, settings)  # a wrong one is said before pictures are looked at
    scored = ['pred'] if command.pred else [name.strip() for name in command.methods.split(',')]
    if command.against not in (None, report.TRUTH, *scored):
        raise UserError(f'--against {command.against} has no scores here: choose one of {", ".join(scored)}')
    if command.output:
        files.check_folder(command.output)
    names = figures.chosen(command.metrics) if command.metrics else figures.there()
    if command.with_pyiqa:
        say(with_pyiqa.introduced())
    pairs = comparison.find_pairs(
        command.pictures,
        command.hr,
        command.limit,
        factor=1 if command.pred else 4,
        tell=say if command.pred else None,  # what an evaluation of some pairs has written is scored as it is
        without=command.output,
    )
    if command.output and (command.output / 'scores.json').exists() and not command.overwrite:
        raise UserError(f'{command.output} holds scores already: add --overwrite, or choose another --output')
    if command.metrics is None and names == figures.BASIC:
        say(f'LPIPS and DISTS are left out: {with_extra("metrics")} brings their weights')
    names += with_pyiqa.NAMES if command.with_pyiqa else ()
    if command.pred:
        scores, rows = score_finished(pairs, names), []
    else:
        scores, rows = run_methods(pairs, command, settings, names)
    if command.output:
        report.write_json(command.output / 'scores.json', scores)
        report.write_csv(command.output / 'scores.csv', scores)
        if rows:
            files.write_image(command.output / 'side_by_side.png', report.side_by_side(rows))
    say(report.table(scores, comparison.slowest(scores)))
    if command.with_pyiqa:
        for method, folder in kept(command).items():
            say(f'FID of {method}: {with_pyiqa.fid(folder, command.hr):.2f}')
    if command.against:
        say('\n' + report.differences_table(scores, command.against))


def kept(command: Command) -> dict[str, Path]:
    """Folders of results by method."""
    if command.pred:
        return {'pred': command.pred}
    names = [name.strip() for name in command.methods.split(',')]
    return {name: command.output / name for name in names} if command.output else {}


def score_finished(pairs: 'Sequence[comparison.Pair]', names: Sequence[str]) -> 'list[report.Score]':
    """Scores of finished pictures, and of the true ones by themselves."""
    from addsr_jax.evaluation import figures, report
    from addsr_jax.restoration import comparison
    from addsr_jax.runtime import prepare

    prepare()
    scores = []
    for pair, image, high in comparison.read_pairs(pairs, factor=1):
        scores.append(report.score(pair.name, 'pred', image, high, None, names))
        scores.append(report.Score(pair.name, report.TRUTH, figures.of_truth(names, high), None))
    return scores


def run_methods(
    pairs: 'Sequence[comparison.Pair]', command: Command, defaults: Settings, names: Sequence[str]
) -> 'tuple[list[report.Score], list[dict[str, np.ndarray]]]':
    """Scores of every method on every pair, and rows of pictures to look at."""
    import numpy as np
    from PIL import Image

    from addsr_jax.evaluation import figures, report
    from addsr_jax.restoration import comparison, files, pipeline
    from addsr_jax.runtime import prepare

    prepare()
    methods = comparison.make_methods(command.methods.split(','), defaults, partial(pipeline.load, command.weights))
    scores, rows = [], []
    for number_, trial in enumerate(comparison.compare(pairs, methods, names), 1):
        scores += trial.scores
        scores.append(report.Score(trial.pair.name, report.TRUTH, figures.of_truth(names, trial.high), None))
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
