"""Changed files of weights and pictures, as many as time allows: each has to be accepted, or refused in one line.

    python -m benchmarks.fuzz weights pictures --minutes 30 [--seed 0] [--keep FOLDER]

`benchmarks.mutations` says what is changed. A failure is an exception that is no UserError, a process that dies,
anything executed or raw for the terminal, and more time or memory than `benchmarks.limits` allows; its file is kept.
Rounds run in processes of their own, so that one that dies takes nothing with it.
"""

import argparse
import contextlib
import gc
import os
import pickle
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from addsr_jax.data import heads, pictures
from addsr_jax.weights import conversion
from addsr_jax.weights.reader import open_file, read_tensor
from benchmarks import limits, mutations

ROUND = 400  # files of one process
PATIENCE = 30  # seconds for one file


@dataclass(frozen=True)
class Target:
    """One kind of file: how it is made, its name in an empty folder, and what looks at the folder."""

    made: st.SearchStrategy[bytes]
    file: str
    look: Callable[[Path], list[str]]


def tensors(path: Path) -> list[str]:
    """What `addsr convert` lists, and reads."""
    lines = conversion.inspect(path, {})
    for name, stored in open_file(path).items():
        read_tensor(path, name, stored)
    return lines


def inspected(path: Path) -> list[str]:
    """What `addsr convert inspect` says of a folder."""
    return conversion.inspect(path, {})


def picture(path: Path) -> list[str]:
    return [str(pictures.read(path).shape), str(heads.size_of(path))]


TARGETS = {
    'weights': (
        Target(mutations.torch_files(), 'x.pth', lambda folder: tensors(folder / 'x.pth')),
        Target(mutations.safetensors(), 'x.safetensors', lambda folder: tensors(folder / 'x.safetensors')),
        Target(mutations.json_files(), 'model.json', inspected),
        Target(mutations.json_files(), 'model.safetensors.index.json', inspected),
    ),
    'pictures': (Target(mutations.changed_pictures(), 'x.img', lambda folder: picture(folder / 'x.img')),),
}


@dataclass
class Tally:
    """What became of the files of one kind."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str, bytes]] = field(default_factory=list)  # what, where, the file
    slowest: float = 0.0
    largest: int = 0

    def add(self, file: str, data: bytes, found: limits.Measured) -> None:
        wrong = found.breaks(len(data))
        self.outcomes['failed' if wrong else found.outcome] += 1
        self.slowest, self.largest = max(self.slowest, found.seconds), max(self.largest, found.memory)
        if wrong:
            self.failures.append((f'{file}: {wrong} {found.detail}', file, data))

    def merge(self, other: 'Tally') -> None:
        self.outcomes += other.outcomes
        self.failures += other.failures
        self.slowest, self.largest = max(self.slowest, other.slowest), max(self.largest, other.largest)


def warm_up(target: Target) -> None:
    """What is imported and made on first use must not count as a file's."""
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Exception):
        (Path(folder) / target.file).write_bytes(b'{}')
        target.look(Path(folder))


def round_of(
    target: Target, number: int, count: int, folder: Path, each: Callable[[bytes], object] = lambda data: None
) -> Tally:
    """`count` files, the same for the same number; `each` is called with a file before it is looked at."""
    tally, watch = Tally(), limits.Watch()
    warm_up(target)

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
    @given(target.made)
    def look_at(data: bytes) -> None:
        each(data)
        (folder / target.file).write_bytes(data)
        tally.add(target.file, data, limits.called(lambda: target.look(folder), watch))

    look_at()
    return tally


def in_a_child(target: Target, number: int) -> Tally:
    """A round in a process of its own; one that dies has failed at the file that lies in the folder."""
    with tempfile.TemporaryDirectory() as name:
        folder, result = Path(name), Path(name) / 'result'
        child = os.fork()
        if not child:
            try:
                resource.setrlimit(resource.RLIMIT_AS, (limits.ROOM, limits.ROOM))
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                (folder / 'files').mkdir()
                tally = round_of(target, number, ROUND, folder / 'files', lambda data: signal.alarm(PATIENCE))
                signal.alarm(0)
                result.write_bytes(pickle.dumps(tally))
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        status = os.waitpid(child, 0)[1]
        if result.exists():
            return pickle.loads(result.read_bytes())
        data = (folder / 'files' / target.file).read_bytes()
        return Tally(Counter(failed=1), [(f'{target.file}: the process ended by {status}', target.file, data)])


def fuzzed(kind: str, minutes: float, first: int) -> Tally:
    """Rounds until the time is over."""
    tally, number, end = Tally(), first, time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        for target in TARGETS[kind]:
            tally.merge(in_a_child(target, number))
        number += 1
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('kinds', nargs='+', choices=sorted(TARGETS))
    parser.add_argument('--minutes', type=float, default=1.0, help='for each kind')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--keep', type=Path, default=Path('runs/fuzz'), help='folder of files that failed')
    values = parser.parse_args()
    warnings.simplefilter('ignore')  # zipfile's of names that occur twice
    gc.freeze()
    sys.stdout.write('| files of | tried | accepted | refused | failed | slowest, s | peak, MB | minutes |\n')
    sys.stdout.write('| --- | --- | --- | --- | --- | --- | --- | --- |\n')
    failed = 0
    for kind in values.kinds:
        tally = fuzzed(kind, values.minutes, values.seed)
        counts = [tally.outcomes.total(), *(tally.outcomes[name] for name in ('listed', 'refused', 'failed'))]
        cells = [kind, *counts, f'{tally.slowest:.2f}', f'{tally.largest / 1e6:.0f}', f'{values.minutes:g}']
        sys.stdout.write(f'| {" | ".join(map(str, cells))} |\n')
        for i, (what, file, data) in enumerate(tally.failures):
            values.keep.mkdir(parents=True, exist_ok=True)
            (values.keep / f'{kind}_{i}_{file}').write_bytes(data)
            sys.stdout.write(f'    {kind}_{i}_{file}: {what[:300]}\n')
        failed += len(tally.failures)
        sys.stdout.flush()
    return int(failed > 0)


if __name__ == '__main__':
    sys.exit(main())
