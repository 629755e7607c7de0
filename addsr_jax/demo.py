"""addsr demo: a few minutes of distillation on sample photographs, then one picture upscaled by all methods.

    python -m addsr_jax.demo --workdir runs/demo

Run it in a checkout of the repository: training reads configs/addsr.py.
"""

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from addsr_jax.data import pictures, sources
from addsr_jax.data.batches import degrade_image
from addsr_jax.errors import guard
from addsr_jax.evaluation import report
from addsr_jax.flags import Parser, number, require, say
from addsr_jax.restoration import comparison, files, pipeline
from addsr_jax.restoration.settings import Settings
from addsr_jax.runtime import prepare
from addsr_jax.train import run_apart

SIDE, SEED = 384, 3  # pixels of the held-out crop; of its degradation


def parser() -> Parser:
    p = Parser('demo', 'Distils a student for a few minutes and upscales a held-out photograph with it.')
    p.add_argument('--workdir', type=Path, default=Path('runs/demo'), help='for the run, the pictures and the scores')
    p.add_argument('--config', default='configs/addsr.py:nano', help='what to train')
    p.add_argument('--steps', type=number(int, 1, 10**6), default=24, help='updates of the student')
    return p


def main(arguments: Sequence[str]) -> None:
    values = parser().parse_args(arguments)
    require('train', 'clu', 'grain', 'ml_collections', 'tensorflow', 'skimage')
    start = time.monotonic()
    training = ('log_every=4', 'eval_every=0', 'preview_every=0')
    run_apart(values.config, values.workdir / 'train', (f'steps={values.steps}', *training))
    compare(values.workdir / 'train' / 'final', values.workdir)
    say(f'{time.monotonic() - start:.0f} s in all')


def compare(fresh: Path, output: Path) -> None:
    """Bicubic, teacher, shipped student and fresh student on the held-out photograph: picture and table."""
    prepare()
    high, low = held_out_pair()
    shipped = pipeline.load('nano')
    new = dataclasses.replace(shipped, params=pipeline.load(fresh).params)  # shares the compiled programs
    methods = {
        'seesr-50': (shipped, Settings(method='seesr')),
        'addsr-4': (shipped, Settings()),
        'addsr-1': (shipped, Settings(steps=1)),
        'fresh addsr-4': (new, Settings()),
        'fresh addsr-1': (new, Settings(steps=1)),
    }
    large = comparison.bicubic(low, 'demo')
    row, scores = {'bicubic': large}, [report.score('held-out', 'bicubic', large, high, None)]
    for name, (model, settings) in methods.items():
        if not name.startswith('fresh'):
            say(f'compiling {name} ...')
            model.restore(low, settings, 'demo')
        start = time.monotonic()
        row[name] = model.restore(low, settings, 'demo')
        scores.append(report.score('held-out', name, row[name], high, time.monotonic() - start))
    files.write_image(output / 'side_by_side.png', report.side_by_side([{**row, 'HR': high}]))
    report.write_json(output / 'scores.json', scores)
    say('\n' + report.table(scores, 'seesr-50'))
    say(f'\nthe pictures: {output / "side_by_side.png"}')


def held_out_pair() -> tuple[np.ndarray, np.ndarray]:
    """A crop of the photograph that training never sees, and its degraded quarter; uint8 [H, W, 3]."""
    image = pictures.read(sources.held_out().paths[0])
    height, width = image.shape[:2]
    top, left = max(height - SIDE, 0) // 4, (width - SIDE) // 3
    high = np.ascontiguousarray(image[top : top + SIDE, left : left + SIDE])
    side = min(high.shape[:2]) // 16 * 16
    high = np.ascontiguousarray(high[:side, :side])
    return high, degrade_image(high, SEED, 'mild')


if __name__ == '__main__':
    sys.exit(guard(main))
