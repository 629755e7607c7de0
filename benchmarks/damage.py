"""Every file of a checkpoint, of weights and of exported files damaged in every way: the same numbers, or said.

    python -m benchmarks.damage

Prints a table. A line of its right half that is not 0 is a fault: numbers that changed in silence, or an exception.
"""

import argparse
import dataclasses
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import numpy as np

from addsr_jax import hashes
from addsr_jax.errors import Momentary, UserError
from addsr_jax.flags import say
from addsr_jax.training.checkpoints import Checkpoints
from addsr_jax.weights import adapters, pytorch_folder, reader
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights.beside import load_beside

FLIPS = (0.0, 0.25, 0.6, 1.0)  # where a bit is flipped, as a share of the file
DAMAGES = ('deleted', 'emptied', 'halved', *(f'flipped at {share}' for share in FLIPS), 'rubbish')
SAME, OLDER, REFUSED, SILENT, FAULT = 'same', 'older, said', 'refused', 'SILENT', 'EXCEPTION'
OUTCOMES = (SAME, OLDER, REFUSED, SILENT, FAULT)


@dataclass(frozen=True)
class Target:
    """A folder of files, and how it is read back: a hash of its numbers and whether older ones were taken, and said."""

    name: str
    folder: Path
    damaged: Path  # the part of `folder` whose files are damaged
    read: Callable[[Path], tuple[str, bool]]


def damage(path: Path, kind: str) -> None:
    content = path.read_bytes()
    if kind == 'deleted':
        path.unlink()
    elif kind == 'emptied':
        path.write_bytes(b'')
    elif kind == 'halved':
        path.write_bytes(content[: len(content) // 2])
    elif kind == 'rubbish':
        path.write_bytes(np.random.default_rng(len(content)).bytes(max(len(content), 16)))
    elif content:
        place = int(float(kind.rpartition(' ')[2]) * (len(content) - 1))
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])


def cases(target: Target) -> Iterator[tuple[Path, str]]:
    """(file relative to the folder, damage)."""
    for path in sorted(path for path in target.damaged.rglob('*') if path.is_file()):
        for kind in DAMAGES:
            yield path.relative_to(target.folder), kind


def outcome(target: Target, file: Path, kind: str, wanted: str) -> str:
    """What comes of one damage."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / target.folder.name
        shutil.copytree(target.folder, copy)
        damage(copy / file, kind)
        try:
            found, said = target.read(copy)
        except UserError as error:
            return REFUSED if '\n' not in str(error) and not isinstance(error, Momentary) else FAULT
        except Exception as error:
            say(f'{target.name} {file} {kind}: {type(error).__name__}: {error}')
            return FAULT
        if said:
            return OLDER
        return SAME if found == wanted else SILENT


def checkpoint(workdir: Path, steps: tuple[int, ...]) -> Target:
    """A state of every kind of leaf, at each of `steps`; the newest is damaged. A run goes on, saves, and is read."""
    params = {'text_encoder': bundles.load('nano').params['text_encoder']}
    kept = Checkpoints.open(workdir, keep=3)
    states = {step: state_at(params, step) for step in steps}
    for step, state in states.items():
        kept.save(step, state)
    kept.close()
    abstract = jax.eval_shape(lambda: states[steps[0]])
    shardings = jax.tree.map(lambda leaf: leaf.sharding, states[steps[0]])
    known = {(step, hashes.of_tree(state)) for step, state in states.items()}

    def read(copy: Path) -> tuple[str, bool]:
        lines: list[str] = []
        opened = Checkpoints.open(copy, keep=3)
        state, step = opened.restore(abstract, shardings, lines.append)
        right = (step, hashes.of_tree(state)) in known
        opened.save(9, state)  # what was damaged stands in nobody's way
        opened.close()
        again, after = Checkpoints.open(copy, keep=3).restore(abstract, shardings, lines.append)
        right = right and after == 9 and hashes.of_tree(again) == hashes.of_tree(state)
        said = len(lines) == 1 and str(max(steps)) in lines[0] and (copy / 'damaged' / str(max(steps))).exists()
        return (hashes.of_tree(state) if right else 'wrong'), right and said and step != max(steps)

    return Target(f'checkpoint, {len(steps)} kept', workdir, workdir / 'checkpoints' / str(max(steps)), read)


def state_at(params: dict, step: int) -> dict:
    moved = jax.tree.map(lambda leaf: jax.numpy.asarray(leaf) * step, params)
    narrow = jax.tree.map(lambda leaf: leaf.astype(jax.numpy.bfloat16), moved)
    return {'step': jax.numpy.int32(step), 'params': moved, 'optimizer': {'mu': narrow, 'count': jax.numpy.int32(step)}}


def weights(folder: Path, form: str) -> Target:
    """Some of the embedded model's parts, with what training keeps beside them and adapters."""
    whole = bundles.load('nano')
    few = dataclasses.replace(whole, params={name: whole.params[name] for name in ('text_encoder', 'autoencoder')})
    beside = {'training': {'count': np.int32(3), 'mu': whole.params['text_encoder']}} if form == 'orbax' else {}
    lora = {'unet': {'conv_in': {'lora_A': np.ones((2, 8), np.float32)}}} if form == 'orbax' else None
    bundles.save(few, folder, form, beside=beside, lora=lora)

    def read(copy: Path) -> tuple[str, bool]:
        found = bundles.load(copy)
        trees = [found.params, *(load_beside(copy, name, tree) for name, tree in beside.items())]
        words = ''.join(hashes.of_file(found.tokenizer / name) for name in ('vocab.json', 'merges.txt'))
        if lora is not None:
            of_adapters(copy / bundles.LORA)
        return f'{hashes.of_tree(trees)} {found.spec} {words}', False

    return Target('final/' if form == 'orbax' else 'weights as safetensors', folder, folder, read)


def of_adapters(folder: Path) -> str:
    return of_file(folder / 'unet' / adapters.FILE)


def of_file(path: Path) -> str:
    try:
        return hashes.of_tree({name: stored.read() for name, stored in reader.open_file(path).items()})
    except ValueError as error:  # `convert` makes the same line of it
        raise UserError(f'{path} cannot be read ({error})') from error


def exported(folder: Path) -> Target:
    """What `convert to_pytorch` writes of the embedded model, files of tensors alone."""
    pytorch_folder.to_pytorch('nano', folder, 'student', lambda line: None)
    files = sorted(path.relative_to(folder) for path in folder.rglob('*') if path.suffix in ('.safetensors', '.pth'))
    for path in folder.rglob('*'):
        if path.is_file() and path.relative_to(folder) not in files:
            path.unlink()

    def read(copy: Path) -> tuple[str, bool]:
        return ' '.join(of_file(copy / name) for name in files), False

    return Target('convert to_pytorch', folder, folder, read)


TARGETS: dict[str, Callable[[Path], Target]] = {
    'two': partial(checkpoint, steps=(1, 2)),
    'one': partial(checkpoint, steps=(2,)),
    'final': partial(weights, form='orbax'),
    'safetensors': partial(weights, form='safetensors'),
    'exported': exported,
}


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    jax.config.update('jax_platforms', 'cpu')
    faults = 0
    say(f'| damaged | files | damages | {" | ".join(OUTCOMES)} |')
    say(f'| --- {"| --- " * (len(OUTCOMES) + 2)}|')
    with tempfile.TemporaryDirectory() as place:
        for name, make in TARGETS.items():
            target = make(Path(place) / name)
            wanted, _ = target.read(shutil.copytree(target.folder, Path(place) / 'whole'))
            shutil.rmtree(Path(place) / 'whole')
            found = {case: outcome(target, *case, wanted) for case in cases(target)}
            counts = Counter(found.values())
            faults += counts[SILENT] + counts[FAULT]
            numbers = ' | '.join(str(counts[kind]) for kind in OUTCOMES)
            say(f'| {target.name} | {len({file for file, _ in found})} | {len(found)} | {numbers} |')
            for (file, kind), result in found.items():
                if result in (SILENT, FAULT):
                    say(f'{result}: {file} {kind}')
    sys.exit(bool(faults))


if __name__ == '__main__':
    main()
