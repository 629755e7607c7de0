"""addsr ablate: many training runs from one teacher, and what taking each idea out of the method changes.

    python -m addsr_jax.ablate --config configs/ablation.py --workdir DIR --lq DIR --hr DIR [--config.photos=DIR]

The same command again goes on where it stopped. DIR/ablation.md, DIR/ablation.json and DIR/curve.png are the result.
"""

import dataclasses
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from addsr_jax import atomic
from addsr_jax.errors import UserError, guard
from addsr_jax.evaluation import ablation, report
from addsr_jax.flags import Parser, require, say
from addsr_jax.restoration import comparison, pipeline
from addsr_jax.restoration.settings import PSR_WEIGHT, Settings
from addsr_jax.runtime import prepare
from addsr_jax.train import run_apart, split_overrides

DEFAULTS = Settings(color='wavelet', grain=0.0)  # the students are compared, with the grain that they leave


@dataclass(frozen=True)
class Plan:
    """configs/ablation.py, checked."""

    config: str
    photos: str
    steps: int
    pairs: int
    seeds: tuple[str, ...]
    runs: dict[str, tuple[str, ...]]
    methods: tuple[str, ...]
    without_psr: tuple[str, ...]
    curve: tuple[str, ...]
    teacher: str

    def __post_init__(self):
        unknown = sorted({*self.seeds, *self.without_psr} - set(self.runs))
        if unknown:
            raise UserError(f'config.seeds or config.without_psr name {", ".join(unknown)}, which config.runs lacks')
        if {'curve', 'teacher'} & set(self.runs):
            raise UserError('config.runs has a run named curve or teacher: the results use these names, choose another')
        if len(self.seeds) < 2:
            raise UserError('config.seeds needs at least two runs: their spread is what a difference is held against')
        if min(self.steps, self.pairs) < 1:
            raise UserError('config.steps and config.pairs are at least 1')
        for method in (*self.methods, *self.curve, self.teacher):
            comparison.parse_method(method, DEFAULTS)
        for override in (text for run in self.runs.values() for text in run):
            if '=' not in override:
                raise UserError(f'config.runs has {override!r}: write KEY=VALUE')


def main(arguments: Sequence[str]) -> None:
    p = Parser('ablate', 'Trains the runs of a config and tabulates what each of them changes; resumes.')
    p.add_argument('--config', required=True, help='configs/ablation.py')
    p.add_argument('--workdir', required=True, type=Path, help='a folder for every run, and the tables')
    p.add_argument('--lq', required=True, type=Path, help='folder of low-quality pictures to score on')
    p.add_argument('--hr', required=True, type=Path, help='folder of the true pictures, of the same names')
    own, overrides = split_overrides(arguments)
    values = p.parse_args(own)
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    require('train', 'clu', 'grain', 'matplotlib', 'ml_collections', 'tensorflow')
    from addsr_jax.training import config as config_file

    plan = read_plan(config_file.read(values.config, overrides).to_dict())
    pairs = comparison.find_pairs(values.lq, values.hr, plan.pairs)
    trained = {name: train(plan, name, values.workdir / name) for name in plan.runs}
    prepare()
    scored = score_all(plan, trained, pairs, values.workdir)
    write_results(plan, scored, values.workdir)


def read_plan(config: dict) -> Plan:
    known = {field.name for field in dataclasses.fields(Plan)}
    if set(config) != known:
        raise UserError(f'an ablation has the keys {", ".join(sorted(known))}: see configs/ablation.py')
    return Plan(**config)


def train(plan: Plan, name: str, workdir: Path) -> Path:
    """The run's weights; the training command resumes, finds itself done, or refuses a folder of another run."""
    data = (f'data.source={"folder" if plan.photos else "sample_photos"}', f'data.path={plan.photos}')
    common = (f'steps={plan.steps}', 'log_every=20', 'eval_every=0', 'preview_every=0', *data)
    run_apart(plan.config, workdir, (*common, *plan.runs[name]))
    return workdir / 'final'


def score_all(
    plan: Plan, trained: dict[str, Path], pairs: Sequence[comparison.Pair], workdir: Path
) -> dict[str, list[report.Score]]:
    """Scores of every run, of the first seed's curve, and of the teacher with bicubic."""
    first = plan.seeds[0]
    shared = cache(lambda: pipeline.load(trained[first]))  # every run has these networks: programs are compiled once

    def score(name: str, weights: Path, methods: Sequence[str], settings: Settings) -> list[report.Score]:
        def make(left: Sequence[str]) -> dict[str, comparison.Restore]:
            model = dataclasses.replace(shared(), params=pipeline.load(weights).params)
            return comparison.make_methods(left, settings, lambda: model)

        record = workdir / name / f'scores_{plan.steps}.json'
        return comparison.scored(record, pairs, methods, make, lambda line: say(f'{name} {line}'))

    blind = dataclasses.replace(DEFAULTS, psr_weight=0.0)
    scored = {
        name: score(name, weights, plan.methods, blind if name in plan.without_psr else DEFAULTS)
        for name, weights in trained.items()
    }
    scored['curve'] = score(first, trained[first], plan.curve, DEFAULTS)
    scored['teacher'] = score('teacher', trained[first], ('bicubic', plan.teacher), DEFAULTS)
    return scored


def write_results(plan: Plan, scored: dict[str, list[report.Score]], workdir: Path) -> None:
    from addsr_jax.evaluation.plot import perception_distortion

    order = (*plan.seeds, *(name for name in plan.runs if name not in plan.seeds))
    table = {name: report.means(scored[name]) for name in order}
    others = report.means(scored['teacher'])
    curve = dict(sorted({**table[plan.seeds[0]], **report.means(scored['curve'])}.items()))
    found = ablation.differences(table, plan.seeds, plan.methods)
    count = len({s.image for s in scored['curve']})
    text = '\n\n'.join(
        [
            f'Every run: `{plan.config}`, {plan.steps} updates, scored on {count} pairs.',
            ablation.figures_table(table, plan.methods),
            'Less the mean of the seeds; `none`: not more than the seeds differ among themselves.',
            ablation.differences_table(found),
            f'The run `{plan.seeds[0]}` by steps and PSR weight (after the @; 0.4 where none stands).',
            ablation.curve_table({**others, **curve}),
        ]
    )
    atomic.write_text(workdir / 'ablation.md', text + '\n')
    verdicts = [{**dataclasses.asdict(d), 'verdict': d.verdict} for d in found]
    record = {'runs': table, 'curve': curve, 'others': others, 'differences': verdicts}
    atomic.write_json(workdir / 'ablation.json', record)
    perception_distortion(workdir / 'curve.png', curve, others, PSR_WEIGHT)
    say(text)
    say(f'\n{workdir / "ablation.md"}, ablation.json and curve.png hold the result')


if __name__ == '__main__':
    sys.exit(guard(main))
