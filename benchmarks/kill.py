"""Every write killed (SIGKILL) at every operation on the disk: the old or the new is left, whole, and work goes on.

    python -m benchmarks.kill [--only final] [--sample N]

Linux with gcc. Prints a table; a number under NEITHER or FAULT that is not 0 is a fault. A library that is loaded
before libc (`kill.c`) counts what a process changes on the disk and ends it there; half of a write is written then.
Processes are forked from one that has imported everything and started nothing.
"""

import argparse
import ctypes
import dataclasses
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint  # noqa: F401, for the processes to come
from PIL import Image, PngImagePlugin  # noqa: F401
from safetensors.numpy import save_file  # noqa: F401

from addsr_jax import atomic, hashes, json_file
from addsr_jax.flags import say
from addsr_jax.training.checkpoints import Checkpoints
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights.beside import has_beside, load_beside

OLD, NEW, NEITHER, FAULT = 'old', 'new', 'NEITHER', 'FAULT'
OUTCOMES = (OLD, NEW, NEITHER, FAULT)
LONGEST = 120  # seconds of one process


@dataclass(frozen=True)
class Target:
    """What is written over what: `write(folder, n)` the n-th version; `read` says which one is there, whole."""

    write: Callable[[Path, int], None]
    read: Callable[[Path], int]


def picture(folder: Path, n: int) -> None:
    image = Image.fromarray(np.full((64, 64, 3), 50 * n, np.uint8))
    atomic.write(folder / 'x.png', lambda beside: image.save(beside, format='PNG'))


def read_picture(folder: Path) -> int:
    pixels = np.unique(np.asarray(Image.open(folder / 'x.png'))).tolist()
    return pixels[0] // 50 if len(pixels) == 1 else 0


def document(folder: Path, n: int) -> None:
    atomic.write_json(folder / 'x.json', {'n': n, 'rest': list(range(5000))})


def read_document(folder: Path) -> int:
    return json_file.read(folder / 'x.json', '')['n']


def export(folder: Path, n: int, form: str) -> None:
    whole = bundles.load('nano')
    params = {'text_encoder': jax.tree.map(lambda leaf: leaf * n, whole.params['text_encoder'])}
    beside = {'training': {'count': np.int32(n)}} if form == 'orbax' else None
    bundles.save(dataclasses.replace(whole, params=params, info={'n': n}), folder / 'final', form, beside=beside)


def read_export(folder: Path) -> int:
    if beside := has_beside(folder / 'final', 'training'):
        beside = int(load_beside(folder / 'final', 'training', {'count': np.zeros((), np.int32)})['count'])
    n = bundles.load(folder / 'final').info['n']
    return n if not beside or beside == n else 0


def checkpoint(folder: Path, n: int) -> None:
    opened = Checkpoints.open(folder, keep=1)
    opened.save(n, state(n))
    opened.close()


def read_checkpoint(folder: Path) -> int:
    lines: list[str] = []
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state(1))
    found, step = Checkpoints.open(folder, keep=1).restore(jax.eval_shape(lambda: state(1)), shardings, lines.append)
    return step if not lines and hashes.of_tree(found) == hashes.of_tree(state(step)) else 0


def state(n: int) -> dict:
    kernel = np.full((40, 50), n, np.float32)
    return jax.device_put({'step': np.int32(n), 'params': {'kernel': kernel, 'bias': kernel[0].astype('bfloat16')}})


TARGETS = {
    'picture': Target(picture, read_picture),
    'model file': Target(document, read_document),
    'final': Target(lambda folder, n: export(folder, n, 'orbax'), read_export),
    'weights as safetensors': Target(lambda folder, n: export(folder, n, 'safetensors'), read_export),
    'checkpoint': Target(checkpoint, read_checkpoint),
}


def apart(work: Callable[[], int]) -> int | None:
    """The number, below 256, that `work` returns in a process of its own; None where that was killed."""
    child = os.fork()
    if not child:
        code = 255
        try:
            code = work()
        finally:
            os._exit(code)
    until = time.monotonic() + LONGEST
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return None if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL else os.WEXITSTATUS(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGABRT)
    os.waitpid(child, 0)
    return 255


def killed(shim: ctypes.CDLL, target: Target, before: Path, at: int) -> str:
    """What is left of writing version 2 over version 1 by a process that ends at operation number `at`."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / 'x'
        shutil.copytree(before, folder)

        def write() -> int:
            shim.arm(os.fsencode(folder), ctypes.c_long(at))
            target.write(folder, 2)
            return 0

        def again() -> int:
            left = target.read(folder)
            target.write(folder, 3)
            return left if target.read(folder) == 3 else 0

        if apart(write):  # neither killed nor at its end: Orbax needs a few operations more or less each time
            return FAULT
        left = apart(again)
        if any(atomic.TEMPORARY.fullmatch(path.name) and path.is_dir() for path in folder.iterdir()):
            return FAULT  # gigabytes that nobody removes
        return {1: OLD, 2: NEW}.get(left or 0, NEITHER)


def operations(shim: ctypes.CDLL, target: Target, before: Path) -> int:
    """How many there are, of a process that is not killed."""
    with tempfile.TemporaryDirectory() as place:
        folder, told = Path(place) / 'x', Path(place) / 'told'
        shutil.copytree(before, folder)

        def write() -> int:
            shim.arm(os.fsencode(folder), ctypes.c_long(-1))
            target.write(folder, 2)
            told.write_text(str(shim.counted()))
            return 0

        if apart(write) != 0:
            raise RuntimeError('a write that nobody kills does not end well')
        return int(told.read_text())


def preloaded(arguments: list[str]) -> int:
    """This command once more, with the library loaded first."""
    with tempfile.TemporaryDirectory() as place:
        shim = Path(place) / 'kill.so'
        source = Path(__file__).with_suffix('.c')
        subprocess.run(['gcc', '-O1', '-shared', '-fPIC', str(source), '-o', str(shim), '-ldl'], check=True)
        paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get('PYTHONPATH')])]
        environment = {
            **os.environ, 'LD_PRELOAD': str(shim), 'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': os.pathsep.join(paths),
            'PYTHONWARNINGS': 'ignore',
        }  # fmt: skip
        command = [sys.executable, '-m', 'benchmarks.kill', *arguments]
        return subprocess.run(command, env=environment, check=False).returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--only', choices=tuple(TARGETS), nargs='+', default=tuple(TARGETS))
    parser.add_argument('--sample', type=int, default=0, help='so many operations of each, not all')
    given = parser.parse_args()
    if 'LD_PRELOAD' not in os.environ:
        sys.exit(preloaded(sys.argv[1:]))
    shim = ctypes.CDLL(os.environ['LD_PRELOAD'])
    bundles.load('nano')  # networks are traced once, which starts no device
    faults, rng = 0, random.Random(0)
    say(f'| killed while writing | operations | tried | {" | ".join(OUTCOMES)} |')
    say(f'| --- {"| --- " * (len(OUTCOMES) + 2)}|')
    for name in given.only:
        target = TARGETS[name]
        with tempfile.TemporaryDirectory() as place:
            before = Path(place) / 'before'
            before.mkdir()
            apart(lambda target=target, before=before: target.write(before, 1) or 0)
            count = operations(shim, target, before)
            tried = sorted(rng.sample(range(count), min(given.sample or count, count)))
            found = {at: killed(shim, target, before, at) for at in tried}
        counts = Counter(found.values())
        faults += counts[NEITHER] + counts[FAULT]
        say(f'| {name} | {count} | {len(tried)} | {" | ".join(str(counts[kind]) for kind in OUTCOMES)} |')
        if bad := [at for at, result in found.items() if result in (NEITHER, FAULT)]:
            say(f'NEITHER or FAULT at operations {bad}')
    sys.exit(bool(faults))


if __name__ == '__main__':
    main()
