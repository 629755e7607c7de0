"""The same work here and in PyTorch, interleaved: equal answers first, then seconds of both.

    python -m benchmarks.compare_torch                        what docs/performance.md shows, on a CPU
    python -m benchmarks.compare_torch --networks sd2 --compile    every network of a size, on the device that jax finds

Both take the device and the number type that this package takes by itself (--dtype: another; without --networks it is
float32). PyTorch runs eagerly, its pictures laid out as it makes them and (`channels_last`) as GPUs like them, its
attention fused; --compile adds torch.compile. Rounds go through all of them in turn; figures and ratios are
medians: above 1 ours is the quicker. Error: the largest difference of the largest value. Needs torch, which
`make test-parity` installs.
"""

import argparse
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from addsr_jax import sharding, sizes
from addsr_jax.errors import UserError, guard
from addsr_jax.flags import say
from addsr_jax.runtime import prepare
from benchmarks.side_by_side import TITLES, Row, told

CLOSE = {'float32': 1e-3, 'bfloat16': 0.1}
STEPS = (1, 4)  # of the sums for AddSR's sampler
SUMMED = ('prompt extractor', 'UNet and ControlNet', 'decoder')  # what each of its steps takes
ONCE = ('encoder', 'text encoder')


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--networks', choices=tuple(sizes.MODELS), help='every network of a size, and their sums')
    parser.add_argument('--side', type=int, default=512, help='of the pictures of --networks, in pixels')
    parser.add_argument('--dtype', default='auto', choices=('auto', *CLOSE), help='of --networks')
    parser.add_argument('--compile', action='store_true', help='torch.compile as well, which takes minutes')
    parser.add_argument('--rounds', type=int, default=7)
    values = parser.parse_args(arguments)
    check_torch()
    prepare()
    from benchmarks import compare_torch_cases as cases

    mesh = sharding.make_mesh('data:1', jax.devices()[:1])
    setting = cases.Setting(
        mesh, sharding.compute_dtype(mesh, values.dtype if values.networks else 'float32'), values.compile
    )
    say(f'{setting.described()}, {values.rounds} rounds\n')
    say(f'| {" | ".join(TITLES)} |\n| {" | ".join(["---"] * len(TITLES))} |')
    chosen = cases.of_size(setting, values.networks, values.side) if values.networks else cases.of_documents(setting)
    rows = list(told(chosen, CLOSE[np.dtype(setting.dtype).name], values.rounds))
    for row in sums(rows) if values.networks else ():
        say(f'| {" | ".join(row.cells())} |')


def check_torch() -> None:
    """That there is one, for the device that jax has found.

    Its threads shall sleep where they wait: on cores that others use as well they would spin for ten times the work.
    """
    os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
    if importlib.util.find_spec('torch') is None:
        raise UserError('torch is not here: make test-parity installs it for CPUs; on a GPU take its own build')
    import torch

    if jax.default_backend() == 'gpu' and not torch.cuda.is_available():
        raise UserError(f'torch {torch.__version__} sees no GPU: install a build for CUDA')


def sums(rows: list[Row]) -> Iterator[Row]:
    """AddSR's samplers as the sums of their networks."""
    for steps in STEPS:
        for form in dict.fromkeys(row.form for row in rows):
            parts = [(row, steps if row.case in SUMMED else 1) for row in rows if row.form == form]
            wall = summed([(count, row.wall) for row, count in parts])
            cpu = summed([(count, row.cpu) for row, count in parts])
            yield Row(f'AddSR-{steps}, the sum', form, max(row.error for row, _ in parts), wall, cpu)


def summed(parts: list[tuple[int, tuple[float, float, float]]]) -> tuple[float, float, float]:
    ours, theirs = (sum(count * figures[i] for count, figures in parts) for i in (0, 1))
    return ours, theirs, theirs / ours


if __name__ == '__main__':
    sys.exit(guard(main))
