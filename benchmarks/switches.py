"""What a setting of `upscale` costs and brings: figures, and CPU-seconds, with it and without.

    python -m benchmarks.switches int8 --lq LQ --hr HR [--limit 8] [--steps 1,4] [--weights nano]

A row for every number of steps and every way of the switch; means over the pairs, the ways of a switch in turn on each.
CPU-s is the median of `time.process_time`, after one call that compiles and does not count.
"""

import argparse
import statistics
import time
from pathlib import Path

from addsr_jax.evaluation import figures, report
from addsr_jax.evaluation.ablation import markdown
from addsr_jax.flags import say
from addsr_jax.options import from_data
from addsr_jax.restoration import comparison, pipeline
from addsr_jax.restoration.settings import Settings
from addsr_jax.runtime import prepare

SWITCHES = {
    'finish': (
        {},
        {'edges': 0.0},
        {'edges': 4.0},
        {'plain': 0.0},
        {'plain': 3.0},
        {'edges': 0.0, 'plain': 0.0},
        {'overshoot': 10.0},
        {'film_grain': 1.0},
    ),
    'int8': ({}, {'int8': True}),
    'tiny_decoder': ({'tiny_decoder': 'none'}, {'tiny_decoder': 'steps'}, {'tiny_decoder': 'all'}),
}
METRICS = 'psnr,ssim,niqe,lpips,dists'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('switch', choices=SWITCHES)
    parser.add_argument('--lq', type=Path, required=True)
    parser.add_argument('--hr', type=Path, required=True)
    parser.add_argument('--limit', type=int)
    parser.add_argument('--steps', default='1,4', help='with commas')
    parser.add_argument('--weights', default='nano')
    values = parser.parse_args()
    metrics = figures.chosen(METRICS)
    prepare()
    pairs = comparison.find_pairs(values.lq, values.hr, values.limit)
    ways = {
        described(int(steps), changes): from_data(Settings, {**changes, 'steps': int(steps)}, '')
        for steps in values.steps.split(',')
        for changes in SWITCHES[values.switch]
    }
    scores = scored(pipeline.load(values.weights), pairs, ways, metrics)
    means = report.means(scores)
    seconds = {way: statistics.median(s.seconds for s in scores if s.method == way and s.seconds) for way in ways}
    rows = [
        [way, *(f'{means[way][name] or 0:.{figures.FIGURES[name].digits}f}' for name in metrics), f'{seconds[way]:.2f}']
        for way in ways
    ]
    say(markdown([['', *(figures.FIGURES[name].label for name in metrics), 'CPU-s'], *rows]))


def described(steps: int, changes: dict[str, object]) -> str:
    """'4 steps `--plain 3`', as one types it."""
    flags = [f'--{name}' if value is True else f'--{name} {shown(value)}' for name, value in changes.items()]
    said = [f'`{" ".join(flags)}`'] if flags else []
    return ' '.join([f'{steps} step{"s" if steps > 1 else ""}', *said])


def shown(value: object) -> str:
    return f'{value:g}' if isinstance(value, float) else str(value)


def scored(
    model: pipeline.Pipeline, pairs: list[comparison.Pair], ways: dict[str, Settings], metrics: tuple[str, ...]
) -> list[report.Score]:
    """Of every way on every pair, with seconds of CPU."""
    found, warm = [], set()
    for pair, low, high in comparison.read_pairs(pairs, factor=4):
        for way, settings in ways.items():
            if way not in warm:
                model.restore(low, settings, pair.name)
                warm.add(way)
            began = time.process_time()
            result = model.restore(low, settings, pair.name)
            seconds = time.process_time() - began
            found.append(report.score(pair.name, way, result, high, seconds, metrics))
    return found


if __name__ == '__main__':
    main()
