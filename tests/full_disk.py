"""Writes of every kind to a disk that is nearly full, in a process of its own: python -m tests.full_disk FOLDER.

Prints a line of JSON: what each write said, and what was found afterwards.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from addsr_jax import atomic
from addsr_jax.errors import UserError
from addsr_jax.training.checkpoints import Checkpoints
from addsr_jax.training.writers import Writers
from addsr_jax.weights import bundle as bundles

ROOM = 16 << 10  # bytes that are left
SIDE = 100  # float32 of a state's kernel: 40 kB


def said(work: Callable[[], object]) -> str:
    try:
        work()
    except UserError as error:
        return str(error)
    return 'nothing'


def fill(folder: Path) -> Path:
    """Takes all but ROOM bytes, in a file."""
    filler, piece = folder / 'filler', bytes(4096)
    with filler.open('wb', buffering=0) as file:
        try:
            while True:
                file.write(piece)
        except OSError:
            file.truncate(file.tell() - ROOM)
    return filler


def saved(folder: Path, step: int) -> None:
    opened = Checkpoints.open(folder, keep=5)
    try:
        opened.save(step, state(step))
    finally:
        opened.close()


def state(n: int) -> dict:
    numbers = np.random.default_rng(n).standard_normal((SIDE, SIDE)).astype(np.float32)
    return {'step': jax.numpy.int32(n), 'params': {'kernel': jax.numpy.asarray(numbers)}}


def restored(folder: Path) -> list:
    lines: list[str] = []
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state(0))
    found, step = Checkpoints.open(folder, keep=5).restore(jax.eval_shape(lambda: state(0)), shardings, lines.append)
    return [step, lines, bool(np.array_equal(found['params']['kernel'], state(step)['params']['kernel']))]


def logged(folder: Path) -> None:
    writers = Writers.open(folder, 4, 1, 1, lambda line: None)
    try:
        writers.images(1, {'HR': np.random.default_rng(0).uniform(-1, 1, (1, SIDE, SIDE, 3))})
        writers.scalars(1, {'loss': 1.0})
    finally:
        writers.close()


def picture(path: Path, seed: int) -> None:
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 255, (SIDE, SIDE, 3), np.uint8))
    atomic.write(path, lambda beside: image.save(beside, format='PNG'))


def exported(folder: Path, n: int, form: str) -> None:
    few = {'text_encoder': bundles.load('nano').params['text_encoder']}
    whole = bundles.load('nano')
    bundles.save(bundles.merged(bundles.empty(whole.spec, whole.tokenizer), few, whole.spec, {'n': n}), folder, form)


def main(folder: Path) -> None:
    saved(folder, 1)
    picture(folder / 'x.png', 1)
    before = (folder / 'x.png').read_bytes()
    exported(folder / 'final', 1, 'orbax')
    filler, told = fill(folder), {}
    told['checkpoint'] = said(lambda: saved(folder, 2))
    filler.unlink()
    fill(folder)
    told['tensorboard'] = said(lambda: logged(folder))
    told['picture'] = said(lambda: picture(folder / 'x.png', 2))
    told['final'] = said(lambda: exported(folder / 'final', 2, 'orbax'))
    told['safetensors'] = said(lambda: exported(folder / 'final', 2, 'safetensors'))
    kept = {'picture': (folder / 'x.png').read_bytes() == before, 'final': bundles.load(folder / 'final').info['n']}
    filler.unlink()
    after = restored(folder)
    saved(folder, 2)
    exported(folder / 'final', 2, 'orbax')
    names = sorted(path.name for path in folder.iterdir())
    sys.stdout.write(json.dumps({'told': told, 'kept': kept, 'after': after, 'again': restored(folder), 'left': names}))


if __name__ == '__main__':
    main(Path(sys.argv[1]))
