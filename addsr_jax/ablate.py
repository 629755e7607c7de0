"""addsr ablate: many training runs from one teacher, and what taking each idea out of the method changes.

    python -m addsr_jax.ablate --config configs/ablation.py --workdir DIR --lq DIR --hr DIR [--config.photos=DIR]

The same command again goes on where it stopped. DIR/ablation.md, DIR/ablation.json and DIR/curve.png are the result.
"""

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from addsr_jax.errors import UserError, guard
from addsr_jax.flags import Parser, require, say, take
from addsr_jax.options import Options, from_data, option, to_data
from addsr_jax.restoration.settings import BICUBIC, FREE, PSR_WEIGHT, Settings, parse_method
from addsr_jax.train import run_apart, split_overrides

if TYPE_CHECKING:
    from addsr_jax.evaluation import report
    from addsr_jax.restoration import comparison

RESERVED = ('curve', 'teacher')  # names of rows in the results


@dataclass(frozen=True, kw_only=True)
class Command(Options):
    """What `ablate` takes beside its config."""

    config: str = option('configs/ablation.py')
    workdir: Path = option('a folder for every run, and the tables')
    lq: Path = option('folder of low-quality pictures to score on')
    hr: Path = option('folder of the true pictures, of the same names')


@dataclass(frozen=True, kw_only=True)
class Plan(Options):
    """configs/ablation.py: which runs, and what they are scored with."""

    config: str = option('what every run trains')
    photos: str = option("folder of training photographs; '': the sample photos")
    steps: int = option('updates of every run', low=1, high=10**9)
    pairs: int = option('of --lq and --hr, spread evenly', low=1, high=10**9)
    seeds: tuple[str, ...] = option('runs that differ in the seed alone: their spread is the yardstick', least_items=2)
    runs: dict[str, tuple[str, ...]] = option('name: overrides KEY=VALUE', least_items=2)
    methods: tuple[str, ...] = option('every run is scored with these', least_items=1)
    metrics: tuple[str, ...] = option('the figures to score with', least_items=1)
    without_psr: tuple[str, ...] = option('runs that restore with PSR weight 0')
    curve: tuple[str, ...] = option('the first seed is scored with these as well')
    teacher: str = option('scored once, from the weights that the runs start from')

    def check_together(self) -> None:
        unknown = sorted({*self.seeds, *self.without_psr} - set(self.runs))
        if unknown:
            raise UserError(f'seeds or without_psr name {", ".join(unknown)}, which runs lacks')
        if len(set(self.seeds)) < len(self.seeds):
            raise UserError(f'seeds names one run twice: {", ".join(self.seeds)}')
        if set(RESERVED) & set(self.runs):
            raise UserError(f'runs has one named {" or ".join(RESERVED)}: the results use these names, choose another')
        for method in (*self.methods, *self.curve, self.teacher):
            if parse_method(method, Settings()) is None:
                raise UserError(f'{BICUBIC} needs no training and is scored once anyway: leave it out')
        for override in (text for run in self.runs.values() for text in run):
            if '=' not in override:
                raise UserError(f'runs has {override!r}: write KEY=VALUE')


def main(arguments: Sequence[str]) -> None:
    parser = Parser('ablate', 'Trains the runs of a config and tabulates what each of them changes; resumes.')
    parser.declare(Command)
    own, overrides = split_overrides(arguments)
    command = take(parser.parse_args(own), Command)
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    require('train', 'clu', 'grain', 'matplotlib', 'ml_collections', 'tensorflow')
    from addsr_jax.evaluation import figures
    from addsr_jax.restoration import comparison
    from addsr_jax.runtime import prepare
    from addsr_jax.training import config

    plan = read_plan(config.read(command.config, overrides, Plan).to_dict())
    figures.chosen(','.join(plan.metrics))
    if 'psnr' not in plan.metrics or not {'lpips', 'niqe'} & set(plan.metrics):
        raise UserError('metrics lacks psnr, or both of lpips and niqe, which the plot shows: add them')
    pairs = comparison.find_pairs(command.lq, command.hr, plan.pairs)
    check_large_enough(pairs, plan.metrics)
    trained = {name: train(plan, name, command.workdir / name) for name in plan.runs}
    prepare()
    scored = score_all(plan, trained, pairs, command.workdir)
    write_results(plan, scored, command.workdir)


def check_large_enough(pairs: 'Sequence[comparison.Pair]', metrics: Sequence[str]) -> None:
    """A UserError where no true picture has a figure that is asked for, before hours of training."""
    from addsr_jax.data.heads import size_of
    from addsr_jax.evaluation.figures import FIGURES

    largest = max(min(size_of(pair.high) or (0, 0)) for pair in pairs)
    for metric in metrics:
        if largest < FIGURES[metric].smallest:
            raise UserError(
                f'{metric} needs pictures of at least {FIGURES[metric].smallest} pixels a side, and the largest of '
                f'--hr has {largest}: choose other pictures, or leave {metric} out of metrics'
            )


def read_plan(data: dict) -> Plan:
    """The plan in a config's data; a UserError names what is missing, unknown or wrong."""
    return from_data(Plan, data, 'config.', complete=True)


def train(plan: Plan, name: str, workdir: Path) -> Path:
    """The run's weights; the training command resumes, finds itself done, or refuses a folder of another run."""
    data = (f'data.source={"folder" if plan.photos else "sample_photos"}', f'data.path={plan.photos}')
    common = (f'steps={plan.steps}', 'log_every=20', 'eval_every=0', 'preview_every=0', *data)
    run_apart(plan.config, workdir, (*common, *plan.runs[name]))
    return workdir / 'final'


def score_all(
    plan: Plan, trained: dict[str, Path], pairs: 'Sequence[comparison.Pair]', workdir: Path
) -> 'dict[str, list[report.Score]]':
    """Scores of every run, of the first seed's curve, and of the teacher with bicubic."""
    from addsr_jax import hashes
    from addsr_jax.restoration import comparison, pipeline

    # the students are compared, with the grain that they leave
    defaults = Settings(color='wavelet', grain=0.0, overshoot=FREE, calm=0.0, plain=0.0, edges=0.0, film_grain=0.0)
    first = plan.seeds[0]
    pictures = {pair.name: [hashes.of_file(path) for path in (pair.low, pair.high)] for pair in pairs}
    shared = cache(lambda: pipeline.load(trained[first]))  # every run has these networks: programs are compiled once

    def score(name: str, weights: Path, methods: Sequence[str], settings: Settings) -> 'list[report.Score]':
        def make(left: Sequence[str]) -> 'dict[str, comparison.Restore]':
            model = dataclasses.replace(shared(), params=pipeline.load(weights).params)
            return comparison.make_methods(left, settings, lambda: model)

        record = workdir / name / f'scores_{told_apart(weights, settings, pictures)}.json'
        return comparison.scored(record, pairs, methods, make, lambda line: say(f'{name} {line}'), plan.metrics)

    blind = dataclasses.replace(defaults, psr_weight=0.0)
    scored = {
        name: score(name, weights, plan.methods, blind if name in plan.without_psr else defaults)
        for name, weights in trained.items()
    }
    scored['curve'] = score(first, trained[first], plan.curve, defaults)
    scored['teacher'] = score('teacher', trained[first], (BICUBIC, plan.teacher), defaults)
    return scored


def told_apart(weights: Path, settings: Settings, pictures: Mapping[str, list[str]]) -> str:
    """What scores are of: tensors, settings and hashes of pictures. Those of others lie in files of their own."""
    from addsr_jax import hashes
    from addsr_jax.weights import bundle

    content = bundle.described(weights).content
    return hashes.of_json({'weights': content, 'settings': to_data(settings), 'pictures': pictures})[:12]


def write_results(plan: Plan, scored: 'dict[str, list[report.Score]]', workdir: Path) -> None:
    from addsr_jax import atomic
    from addsr_jax.evaluation import ablation, report
    from addsr_jax.evaluation.plot import perception_distortion

    order = (*plan.seeds, *(name for name in plan.runs if name not in plan.seeds))
    table = {name: report.means(scored[name]) for name in order}
    others = report.means(scored['teacher'])
    curve = dict(sorted({**table[plan.seeds[0]], **report.means(scored['curve'])}.items()))
    found = ablation.differences(table, plan.seeds, plan.methods, plan.metrics)
    count = len({s.image for s in scored[plan.seeds[0]]})
    text = '\n\n'.join(
        [
            f'Every run: `{plan.config}`, {plan.steps} updates where its name says nothing else, '
            f'scored on {count} pairs.',
            ablation.figures_table(table, plan.methods, plan.metrics),
            'Less the mean of the seeds; `none`: not more than the seeds differ among themselves.',
            ablation.differences_table(found),
            f'The run `{plan.seeds[0]}` by steps and PSR weight (after the @; 0.4 where none stands).',
            ablation.curve_table({**others, **curve}, plan.metrics),
        ]
    )
    atomic.write_text(workdir / 'ablation.md', text + '\n')
    verdicts = [{**dataclasses.asdict(d), 'verdict': d.verdict} for d in found]
    record = {'runs': table, 'curve': curve, 'others': others, 'differences': verdicts}
    atomic.write_json(workdir / 'ablation.json', record)
    seen = next(metric for metric in ('lpips', 'niqe') if metric in plan.metrics)
    perception_distortion(workdir / 'curve.png', curve, others, PSR_WEIGHT, seen)
    say(text)
    say(f'\n{workdir / "ablation.md"}, ablation.json and curve.png hold the result')


if __name__ == '__main__':
    sys.exit(guard(main))
