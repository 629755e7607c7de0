"""Batches from a folder of photographs and from the same photographs packed: are they the same, and how fast is each?

    python -m benchmarks.packed PHOTOS [--hr_size 512] [--rounds 5] [--batches 8]

Packs PHOTOS into a temporary folder. Both sources make the same batches in turns, so that a busy machine slows both;
after them single records are read at random places and not decoded. Medians of all rounds, both kinds of figures.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from addsr_jax.data import sources
from addsr_jax.data.batches import make_batches
from addsr_jax.data.options import DataOptions
from addsr_jax.data.tokens import load_tokenizer
from addsr_jax.pack import main as pack
from addsr_jax.weights.bundle import NANO

BATCH = 8


def in_turns(calls: dict[str, Callable[[int], int]], rounds: int) -> dict[str, float]:
    """Median of what each call makes in a second; each gets the round and returns how much it has made."""
    rates: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        for name, call in list(calls.items())[:: 1 if number % 2 else -1]:
            began = time.monotonic()
            made = call(number)
            rates[name].append(made / (time.monotonic() - began))
    return {name: statistics.median(values) for name, values in rates.items()}


def told(what: str, unit: str, rates: dict[str, float]) -> None:
    ratio = rates['packed'] / rates['folder']
    figures = ', '.join(f'{name} {rate:.1f} {unit}' for name, rate in rates.items())
    sys.stdout.write(f'{what}: {figures}: packed is {ratio:.2f} times as fast\n')
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('photos', type=Path)
    parser.add_argument('--hr_size', type=int, default=512)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--batches', type=int, default=8)
    values = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        target = Path(root) / 'packed'
        pack([str(values.photos), '-o', str(target)])
        found = {'folder': sources.folder(str(values.photos)), 'packed': sources.packed(str(target))}
        if len(found['folder']) != len(found['packed']):
            sys.exit('some photographs are damaged: batches are the same for a folder without such')
        options, tokenizer = DataOptions(hr_size=values.hr_size, threads=2), load_tokenizer(NANO / 'tokenizer')
        made = {
            name: make_batches(options, source, tokenizer, batch_size=BATCH, seed=0, process_index=0, process_count=1)
            for name, source in found.items()
        }
        mine, theirs = (next(made[name](0)) for name in ('packed', 'folder'))
        same = all(np.array_equal(mine[key], theirs[key]) for key in theirs)
        sys.stdout.write(f'the first batch is {"the same" if same else "ANOTHER"}\n')

        def batches(name: str, number: int) -> int:
            iterator = made[name](number * values.batches)
            for _ in range(values.batches):
                next(iterator)
            return values.batches * BATCH

        def reads(name: str, number: int) -> int:
            source, order = found[name], list(range(len(found[name])))
            random.Random(number).shuffle(order)
            for index in order:
                source[index]
            return len(order)

        for what, unit, call in (('batches', 'images/s', batches), ('bytes alone', 'records/s', reads)):
            calls = {name: lambda number, name=name, call=call: call(name, number) for name in found}
            told(what, unit, in_turns(calls, values.rounds))


if __name__ == '__main__':
    main()
