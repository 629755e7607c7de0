"""addsr demo: a few minutes of distillation on sample photographs, then one picture upscaled by all methods.

    python -m addsr_jax.demo --workdir runs/demo

Run it in a checkout of the repository: training reads configs/addsr.py.
"""

import dataclasses
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from addsr_jax.errors import guard
from addsr_jax.flags import Parser, require, say, take
from addsr_jax.options import Options, option
from addsr_jax.restoration.settings import Settings, parse_method

if TYPE_CHECKING:
    import numpy as np

SIDE, SEED = 384, 3  # pixels of the held-out crop; of its degradation


@dataclass(frozen=True, kw_only=True)
class Command(Options):
    """What `demo` takes."""

    workdir: Path = option('for the run, the pictures and the scores', default=Path('runs/demo'))
    config: str = option('what to train', default='configs/addsr.py:nano')
    steps: int = option('updates of the student', default=24, low=1, high=10**6)


def main(arguments: Sequence[str]) -> None:
    parser = Parser('demo', 'Distils a student for a few minutes and upscales a held-out photograph with it.')
    parser.declare(Command)
    command = take(parser.parse_args(arguments), Command)
    require('train', 'clu', 'grain', 'ml_collections', 'tensorflow', 'skimage')
    from addsr_jax.train import run_apart

    start = time.monotonic()
    training = ('log_every=4', 'eval_every=0', 'preview_every=0')
    run_apart(command.config, command.workdir / 'train', (f'steps={command.steps}', *training))
    compare(command.workdir / 'train' / 'final', command.workdir)
    say(f'{time.monotonic() - start:.0f} s in all')


def compare(fresh: Path, output: Path) -> None:
    """Bicubic, teacher, shipped student and fresh student on the held-out photograph: picture and table."""
    from addsr_jax.evaluation import report
    from addsr_jax.restoration import comparison, files, pipeline
    from addsr_jax.runtime import prepare

    prepare()
    high, low = held_out_pair()
    shipped = pipeline.load('nano')
    new = dataclasses.replace(shipped, params=pipeline.load(fresh).params)  # shares the compiled programs
    models = {'seesr-50': shipped, 'addsr-4': shipped, 'addsr-1': shipped, 'fresh addsr-4': new, 'fresh addsr-1': new}
    large = comparison.bicubic(low, 'demo')
    row, scores = {'bicubic': large}, [report.score('held-out', 'bicubic', large, high, None)]
    for name, model in models.items():
        settings = parse_method(name.removeprefix('fresh '), Settings())
        assert settings is not None  # none of them is bicubic
        if not name.startswith('fresh'):
            say(f'compiling {name} ...')
            model.restore(low, settings, 'demo')
        start = time.monotonic()
        row[name] = model.restore(low, settings, 'demo')
        scores.append(report.score('held-out', name, row[name], high, time.monotonic() - start))
    files.write_image(output / 'side_by_side.png', report.side_by_side([{**row, 'HR': high}]))
    report.write_json(output / 'scores.json', scores)
    say('\n' + report.table(scores, comparison.slowest(scores)))
    say(f'\nthe pictures: {output / "side_by_side.png"}')


def held_out_pair() -> 'tuple[np.ndarray, np.ndarray]':
    """A crop of the photograph that training never sees, and its degraded quarter; uint8 [H, W, 3]."""
    import numpy as np

    from addsr_jax.data import pictures, sources
    from addsr_jax.data.batches import degrade_image

    image = pictures.read(sources.held_out().paths[0])
    height, width = image.shape[:2]
    top, left = max(height - SIDE, 0) // 4, (width - SIDE) // 3
    high = np.ascontiguousarray(image[top : top + SIDE, left : left + SIDE])
    side = min(high.shape[:2]) // 16 * 16
    high = np.ascontiguousarray(high[:side, :side])
    return high, degrade_image(high, SEED, 'mild')


if __name__ == '__main__':
    sys.exit(guard(main))
