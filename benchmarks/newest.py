"""The averaged weights of a run's newest checkpoint, as weights to load: of a run that nobody waits for to end.

    python -m benchmarks.newest WORKDIR --start nano -o DIR

--start: the weights that the run began with, whose other parts stay but for the teacher, which upscaling does not need.
Written as safetensors in float16.
"""

import argparse
import dataclasses
from pathlib import Path

import orbax.checkpoint as ocp

from addsr_jax import trees
from addsr_jax.flags import say
from addsr_jax.training.checkpoints import Checkpoints
from addsr_jax.weights import bundle as bundles


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('workdir', type=Path, metavar='WORKDIR')
    parser.add_argument('--start', default='nano')
    parser.add_argument('-o', '--output', type=Path, required=True)
    values = parser.parse_args()
    checkpoints = Checkpoints.open(values.workdir.absolute(), keep=1)
    step = checkpoints.latest
    if step is None:
        raise SystemExit(f'{values.workdir} holds no checkpoint')
    with ocp.StandardCheckpointer() as reader:
        averaged = reader.restore(checkpoints.folder / str(step) / 'state')['ema']
    start = bundles.load(values.start)
    params = {part: tree for part, tree in start.params.items() if part != 'teacher'}
    params |= {part: trees.overlay(params[part], tree) for part, tree in averaged.items()}
    made = dataclasses.replace(start, params=params)
    bundles.save(made, values.output, 'safetensors', dtype='float16')
    say(f'{values.output} holds the weights of step {step}')


if __name__ == '__main__':
    main()
