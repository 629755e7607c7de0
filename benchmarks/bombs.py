"""Files made to take more time or memory than they should: what each costs to be refused or listed.

    python -m benchmarks.bombs [--only WORD ...] [--show]

Every file is made here, looked at by a process of its own, and has a row: its bytes, what came out, seconds of the
processor, and megabytes at the peak beyond an idle process. The exit code is 1 where one was executed, raised no
UserError, sent raw bytes to the terminal, or took more than `benchmarks.limits` allows.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from addsr_jax import convert, spec_json
from addsr_jax.data import heads, pictures
from addsr_jax.errors import UserError, guard
from addsr_jax.sizes import NANO
from addsr_jax.training.checkpoints import Checkpoints
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights import conversion, numpy_pickle  # noqa: F401, the door would import it for the first file
from addsr_jax.weights.bundle import Bundle
from benchmarks import bombs_orbax, bombs_pictures, bombs_weights, limits

Look = Callable[[Path], list[str]]
SPEC = dataclasses.replace(NANO, text_encoder=dataclasses.replace(NANO.text_encoder, layers=1))
STATE = {'params': {'bias': np.ones(8, np.float32), 'kernel': np.ones((8, 8), np.float32)}}


@dataclass(frozen=True)
class Bomb:
    """One file, and what looks at it."""

    kind: str
    name: str
    file: str  # path inside an empty folder
    data: Callable[[], bytes]
    look: Look  # gets the folder

    def write(self, folder: Path) -> int:
        """The bytes that were written."""
        path = folder / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.write_bytes(self.data())


@dataclass(frozen=True)
class Altered:
    """A copy of a folder in which something was changed, and what looks at it."""

    kind: str
    name: str
    whole: Path
    place: str  # inside the folder, what `change` gets
    change: bombs_orbax.Change
    look: Look

    def write(self, folder: Path) -> int:
        """The bytes of its files. A process of its own makes it: what was forked from many threads may hang."""
        shutil.copytree(self.whole, folder, dirs_exist_ok=True)
        made = limits.in_a_child(lambda: [str(self.change(folder / self.place))])
        if made.bad:
            raise RuntimeError(f'{self.name} cannot be made: {made.detail}')
        found = [os.path.join(place, name) for place, _, names in os.walk(folder) for name in names]
        return sum(os.lstat(path).st_size for path in found)


def listed(path: Path) -> list[str]:
    """What `addsr convert inspect` writes; what reaches the net below its guards is raised as LastNet."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = guard(convert.main, ['inspect', str(path)])
    said = err.getvalue().removesuffix('\n')
    if code == 2 and '\n' not in said:
        raise UserError(said)
    if code:
        raise LastNet(said)
    return out.getvalue().removesuffix('\n').split('\n')


class LastNet(Exception):
    """Something that nobody expected came to `errors.guard`."""


def seen(path: Path) -> list[str]:
    """As training and the commands read a picture."""
    return [str(pictures.read(path).shape), str(heads.size_of(path))]


def arrays(path: Path) -> list[str]:
    return [str(len(numpy_pickle.read(path)))]


def resumed(folder: Path) -> list[str]:
    """As a run that goes on."""
    tree = jax.tree.map(jnp.asarray, STATE)
    found, lines = Checkpoints.open(folder, 2), []
    if found.latest is None:
        return ['a new run']
    restored = found.restore(jax.eval_shape(lambda: tree), jax.tree.map(lambda leaf: leaf.sharding, tree), lines.append)
    return [*lines, str(restored[1])]


def save_run(folder: Path) -> list[str]:
    opened = Checkpoints.open(folder, 2)
    opened.save(1, jax.tree.map(jnp.asarray, STATE))
    opened.close()
    return []


def save_weights(folder: Path) -> list[str]:
    """A folder as `final/`, of one small network."""
    params = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), bundles.expected(SPEC, ['text_encoder']))
    bundles.save(Bundle(SPEC, params, bundles.NANO / 'tokenizer', {}), folder, 'orbax')
    return []


def orbax_bombs() -> Iterator[Altered]:
    """Nothing here computes in this process: whoever looks at a bomb is forked from it."""
    bundles.expected(SPEC, ['text_encoder'])  # traced once for all
    with tempfile.TemporaryDirectory() as scratch:
        weights, run = Path(scratch) / 'weights', Path(scratch) / 'run'
        for save, folder in ((save_weights, weights), (save_run, run)):
            if (made := limits.in_a_child(lambda save=save, folder=folder: save(folder))).bad:
                raise RuntimeError(made.detail)
        for name, change in bombs_orbax.changes():
            yield Altered('weights of Orbax', name, weights, 'params/text_encoder', change, listed)
            yield Altered('checkpoint', name, run, 'checkpoints/1/state', change, resumed)
        for name, change in bombs_orbax.beside_weights():
            yield Altered('weights of Orbax', name, weights, '', change, listed)
        for name, change in bombs_orbax.steps():
            yield Altered('checkpoint', name, run, 'checkpoints/1', change, resumed)


def all_bombs() -> Iterator[Bomb | Altered]:
    for name, data in bombs_weights.pickles():
        yield Bomb(
            'pickle', name, 'x.pth', lambda data=data: bombs_weights.archive(data()), lambda f: listed(f / 'x.pth')
        )
        packed = lambda data=data: bombs_weights.archive(data(), packed=True)  # noqa: E731
        yield Bomb('pickle, deflated', name, 'x.pth', packed, lambda f: listed(f / 'x.pth'))
    for name, data in bombs_weights.archives():
        yield Bomb('archive', name, 'x.bin', data, lambda f: listed(f / 'x.bin'))
    for name, data in bombs_weights.headers():
        yield Bomb('safetensors', name, 'x.safetensors', data, lambda f: listed(f / 'x.safetensors'))
    for name, data in bombs_weights.objects():
        yield Bomb('index', name, 'model.safetensors.index.json', data, listed)
        yield Bomb('model.json', name, 'model.json', data, listed)
    for name, data in spec_bombs():
        yield Bomb('spec', name, 'model.json', data, listed)
    for name, data in bombs_weights.numpy_pickles():
        yield Bomb('numpy', name, 'x.ckpt', data, lambda f: arrays(f / 'x.ckpt'))
    for makers, kind in (
        (bombs_pictures.portable, 'png'),
        (bombs_pictures.directories, 'tiff'),
        (bombs_pictures.others, 'picture'),
    ):
        for name, data in makers():
            yield Bomb(kind, name, 'x.tga', data, lambda f: seen(f / 'x.tga'))
    yield from orbax_bombs()


def spec_bombs() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """model.json whose networks could not be built by anybody."""

    def record(change: Callable[[dict], None]) -> bytes:
        spec = json.loads(json.dumps(spec_json.to_json(NANO)))
        change(spec)
        return json.dumps(
            {'form': 'safetensors', 'parts': ['teacher', 'autoencoder'], 'spec': spec, 'info': {}}
        ).encode()

    def field(group: str, name: str, value: object) -> Callable[[], bytes]:
        return lambda: record(lambda spec: spec[group].update({name: value}))

    yield 'a billion layers', field('text_encoder', 'layers', 10**9)
    yield 'a size of 1e12', field('text_encoder', 'width', 10**12)
    yield 'no heads', field('text_encoder', 'heads', 0)
    yield 'a thousand layers', field('text_encoder', 'layers', 1000)
    yield 'a thousand blocks of a level', field('unet', 'layers_per_block', 1000)
    yield (
        'a hundred thousand levels',
        lambda: record(
            lambda spec: spec['unet'].update(
                block_out_channels=[8] * 100_000, attention=[True] * 100_000, heads=[1] * 100_000
            )
        ),
    )
    yield 'a thousand levels', lambda: record(lambda spec: spec['autoencoder'].update(block_out_channels=[48] * 1000))
    yield 'a number of 4000 digits', field('unet', 'in_channels', 10**4000)
    yield (
        'parts twice, a million times',
        lambda: json.dumps(
            {'form': 'safetensors', 'parts': ['teacher'] * 1_000_000, 'spec': spec_json.to_json(NANO), 'info': {}}
        ).encode(),
    )
    yield (
        'parts that are numbers',
        lambda: json.dumps(
            {'form': 'safetensors', 'parts': [1, None], 'spec': spec_json.to_json(NANO), 'info': {}}
        ).encode(),
    )
    yield (
        'parts that are one text',
        lambda: json.dumps(
            {'form': 'safetensors', 'parts': 'teacher', 'spec': spec_json.to_json(NANO), 'info': {}}
        ).encode(),
    )
    yield (
        'parts that climb',
        lambda: json.dumps(
            {'form': 'safetensors', 'parts': ['../../x'], 'spec': spec_json.to_json(NANO), 'info': {}}
        ).encode(),
    )
    yield (
        'a form nobody knows',
        lambda: json.dumps({'form': [], 'parts': ['teacher'], 'spec': spec_json.to_json(NANO), 'info': {}}).encode(),
    )
    yield (
        'a name in escape codes',
        lambda: json.dumps(
            {'form': 'safetensors', 'parts': [], 'spec': {**spec_json.to_json(NANO), 'name': '\x1b[2J\n'}, 'info': {}}
        ).encode(),
    )


def warm_up() -> None:
    """What is imported and made on first use must not count as a file's."""
    with contextlib.suppress(UserError):
        pictures.decode(b'', 'nothing')


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--only', nargs='+', default=[''], help='rows that hold one of these words')
    parser.add_argument('--show', action='store_true', help='what each refusal says')
    values = parser.parse_args()
    warm_up()
    tried: dict[str, list[tuple[limits.Measured, str]]] = {}
    write('| kind | file | bytes | outcome | s | MB | breaks the rule |', '| --- | --- | --- | --- | --- | --- | --- |')
    for bomb in all_bombs():
        if not any(word in f'{bomb.kind} | {bomb.name} |' for word in values.only):
            continue
        with tempfile.TemporaryDirectory() as folder:
            size = bomb.write(Path(folder))
            found = limits.in_a_child(lambda bomb=bomb, folder=folder: bomb.look(Path(folder)))
        wrong = found.breaks(size)
        cost = f'{found.seconds:.2f} | {found.memory / 1e6:.0f}'
        write(f'| {bomb.kind} | {bomb.name} | {size} | {found.outcome} | {cost} | {wrong} |')
        if values.show:
            write(f'    {found.detail[:300]}')
        tried.setdefault(bomb.kind, []).append((found, wrong))
    write('', '| kind | files | refused | listed | break the rule | slowest, s | peak, MB |', f'|{" --- |" * 7}')
    for kind, rows in tried.items():
        outcomes = Counter(found.outcome for found, _ in rows)
        counts = [len(rows), outcomes['refused'], outcomes['listed'], sum(bool(wrong) for _, wrong in rows)]
        worst = f'{max(found.seconds for found, _ in rows):.2f} | {max(found.memory for found, _ in rows) / 1e6:.0f}'
        write(f'| {kind} | {" | ".join(map(str, counts))} | {worst} |')
    broken = sum(bool(wrong) for rows in tried.values() for _, wrong in rows)
    write('', f'{sum(map(len, tried.values()))} files, {broken} break the rule')
    return int(broken > 0)


def write(*lines: str) -> None:
    sys.stdout.writelines(f'{line}\n' for line in lines)
    sys.stdout.flush()


if __name__ == '__main__':
    sys.exit(main())
