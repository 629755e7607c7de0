"""Folders of Orbax that are not what we wrote: each a name, and what is done to a copy of a whole one."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Change = Callable[[Path], object]  # gets the folder of one tree
DESCRIBED, NUMBERS = '.zarray', '0'  # keys of one tensor, a bias, in the database


def changes() -> Iterator[tuple[str, Change]]:
    """What may be done to the folder of any tree."""
    for file in ('_METADATA', 'manifest.ocdbt', 'd/*'):
        yield from damages(file)
    yield 'all of it a link to itself', lambda f: (shutil.rmtree(f), f.symlink_to(f))
    yield 'all of it a link to /', lambda f: (shutil.rmtree(f), f.symlink_to('/'))
    yield 'all of it a pipe', lambda f: (shutil.rmtree(f), os.mkfifo(f))
    yield 'a pipe more', lambda f: os.mkfifo(f / 'd' / 'more')
    yield 'ten thousand files more', lambda f: [(f / f'{i}').touch() for i in range(10_000)]
    yield 'a folder in folders', _deep
    yield 'a record of arrays that is a pipe', lambda f: os.mkfifo(_cleared(f / 'array_metadatas') / 'process_0')
    yield (
        'a record of arrays that is none',
        lambda f: (_cleared(f / 'array_metadatas') / 'process_0').write_bytes(b'[[['),
    )
    yield 'shardings that are a pipe', lambda f: _pipe(f / '_sharding')
    yield 'shardings that are none', lambda f: (f / '_sharding').write_bytes(b'{"a":7}')
    yield from descriptions()
    yield from arrays()


def damages(file: str) -> Iterator[tuple[str, Change]]:
    """What may be done to one file."""
    yield f'{file}: nothing', written(file, b'')
    yield f'{file}: missing', lambda f: found(f, file).unlink()
    yield f'{file}: rubbish', written(file, bytes(range(256)) * 64)
    yield f'{file}: half', written(file, lambda p: os.truncate(p, p.stat().st_size // 2))
    yield f'{file}: a billion zeros', written(file, lambda p: os.truncate(p, 10**9))
    yield f'{file}: a pipe', replaced(file, os.mkfifo)
    yield f'{file}: a folder', replaced(file, os.mkdir)
    yield f'{file}: a link to /dev/zero', replaced(file, lambda p: os.symlink('/dev/zero', p))
    yield f'{file}: a link out of the folder', replaced(file, lambda p: os.symlink('/etc/passwd', p))
    yield f'{file}: a link to itself', replaced(file, lambda p: os.symlink(p, p))


def descriptions() -> Iterator[tuple[str, Change]]:
    """_METADATA."""
    yield 'lists in lists', written('_METADATA', b'[' * 1_000_000)
    yield 'a text of 40 MB', written('_METADATA', b'{"a":"' + b'x' * 40_000_000 + b'"}')
    yield 'a list', written('_METADATA', b'[]')
    yield 'no tree', described(lambda d: d.pop('tree_metadata'))
    yield 'a tree that is a number', described(lambda d: d.update(tree_metadata=7))
    yield 'an empty tree', described(lambda d: d.update(tree_metadata={}))
    yield 'a tensor more', described(lambda d: d['tree_metadata'].update(_entry('more')))
    yield 'a tensor less', described(lambda d: d['tree_metadata'].popitem())
    yield (
        'twenty thousand tensors',
        described(lambda d: [d['tree_metadata'].update(_entry(f'{i}')) for i in range(20_000)]),
    )
    yield 'a tensor deep in dicts', described(lambda d: d['tree_metadata'].update(_entry(*'a' * 5000)))
    yield 'names that climb', described(lambda d: d['tree_metadata'].update(_entry('..', '..', '..', 'etc', 'passwd')))
    yield 'names in escape codes', described(lambda d: d['tree_metadata'].update(_entry('\x1b[2J\n')))
    yield 'keys that are numbers', described(_keys_of(7))
    yield 'keys that are lists', described(_keys_of([]))
    yield 'kinds of keys that there are not', described(_kinds_of(99))
    yield 'places in lists', described(_kinds_of(1))
    for kind in ('jax.Array', 'scalar', 'string', 'None', 'os.system', 7):
        yield f'values of kind {kind}', described(lambda d, kind=kind: _values(d, value_type=kind))
    yield 'values that are left out', described(lambda d: _values(d, skip_deserialize=True))
    yield 'values of a shape that overflows', described(lambda d: _values(d, write_shape=[1 << 62, 1 << 62]))
    yield 'another version of the format', described(lambda d: d.update(use_zarr3=True))
    yield 'files instead of a database', described(lambda d: d.update(use_ocdbt=False))


def arrays() -> Iterator[tuple[str, Change]]:
    """What is said of one tensor, and its numbers."""
    for name, value in (
        ('a shape of nothing', {'shape': [], 'chunks': []}),
        ('a shape of terabytes', {'shape': [1 << 40]}),
        ('a shape of terabytes, in one piece', {'shape': [1 << 40], 'chunks': [1 << 40]}),
        ('a shape that overflows', {'shape': [1 << 62] * 4, 'chunks': [1] * 4}),
        ('a negative shape', {'shape': [-8]}),
        ('a shape of text', {'shape': ['8']}),
        ('a shape of a million axes', {'shape': [1] * 1_000_000, 'chunks': [1] * 1_000_000}),
        ('pieces of nothing', {'chunks': [0]}),
        ('pieces of a terabyte', {'chunks': [1 << 38]}),
        ('pieces of 4 GB', {'chunks': [1 << 30]}),
        ('pieces of one number', {'chunks': [1]}),
        ('numbers of a gigabyte', {'dtype': '|V1000000000'}),
        ('numbers that are objects', {'dtype': '|O'}),
        ('numbers of another kind', {'dtype': '<i4'}),
        ('a compressor nobody knows', {'compressor': {'id': '\x1b[2J'}}),
        ('no compressor', {'compressor': None}),
        ('another compressor', {'compressor': {'id': 'zlib', 'level': 1}}),
        ('filters', {'filters': [{'id': 'x'}]}),
        ('a fill value of text', {'fill_value': 'x' * 1000}),
        ('another version', {'zarr_format': 3}),
    ):
        yield name, array(lambda d, value=value: d.update(value))
    yield 'a description that is no JSON', stored(DESCRIBED, b'{"a"')
    yield 'a description of lists in lists', stored(DESCRIBED, b'[' * 1_000_000)
    yield 'a description of 20 MB', stored(DESCRIBED, b'{"a":"' + b'x' * 20_000_000 + b'"}')
    yield 'no description', stored(DESCRIBED, None)
    yield 'no numbers', stored(NUMBERS, None)
    yield 'numbers that are rubbish', stored(NUMBERS, bytes(range(256)))
    for told in (None, 32, 2 << 30):
        frame = f'numbers that are 2 GB, compressed, in a frame of {told or "unknown"} bytes'
        yield frame, stored(NUMBERS, zstandard(2 << 30, told))
    yield 'a manifest of 2 GB, compressed', written('manifest.ocdbt', manifest(zstandard(2 << 30)))


def beside_weights() -> Iterator[tuple[str, Change]]:
    """Files beside the trees of weights; gets the folder of all."""
    for file in ('model.json', 'tokenizer/vocab.json', 'params/text_encoder/_CHECKPOINT_METADATA'):
        yield from damages(file)
    yield 'params: a link to itself', lambda f: (shutil.rmtree(f / 'params'), (f / 'params').symlink_to('params'))
    yield 'params: another network', lambda f: (f / 'params/text_encoder').rename(f / 'params/autoencoder')


def steps() -> Iterator[tuple[str, Change]]:
    """What may lie where a checkpoint of a run is expected; gets the folder of a step."""
    for file in ('_CHECKPOINT_METADATA', 'data/metadata'):
        yield from damages(file)
    yield 'a file for a step', lambda f: (shutil.rmtree(f), f.write_bytes(b'x'))
    yield 'a pipe for a step', lambda f: (shutil.rmtree(f), os.mkfifo(f))
    yield 'a step that is empty', lambda f: (shutil.rmtree(f), f.mkdir())
    yield 'a step of many digits', lambda f: f.rename(f.with_name('9' * 200))
    yield 'a step that is negative', lambda f: f.rename(f.with_name('-1'))
    yield 'a step of other digits', lambda f: f.rename(f.with_name('٣'))
    yield 'no record', lambda f: shutil.rmtree(f / 'data')
    yield 'a record without batches', written('data/metadata', b'{"batches": null}')
    yield 'no state', lambda f: shutil.rmtree(f / 'state')
    yield 'a step that is a link out of the folder', lambda f: (shutil.rmtree(f), f.symlink_to('/etc'))


def found(folder: Path, pattern: str) -> Path:
    return max(folder.glob(pattern), key=lambda path: path.stat().st_size)


def written(file: str, content: bytes | Callable[[Path], object]) -> Change:
    def change(folder: Path) -> None:
        path = found(folder, file)
        content(path) if callable(content) else path.write_bytes(content)

    return change


def replaced(file: str, make: Callable[[Path], object]) -> Change:
    def change(folder: Path) -> None:
        path = found(folder, file)
        path.unlink()
        make(path)

    return change


def _deep(folder: Path) -> None:
    for _ in range(500):
        folder /= 'd'
        folder.mkdir(exist_ok=True)


def _cleared(folder: Path) -> Path:
    """An empty folder there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def described(how: Callable[[dict[str, Any]], object]) -> Change:
    """`how` gets what _METADATA holds."""

    def change(folder: Path) -> None:
        record = json.loads((folder / '_METADATA').read_text())
        how(record)
        (folder / '_METADATA').write_text(json.dumps(record))

    return change


def _entry(*names: str) -> dict[str, Any]:
    keys = [{'key': name, 'key_type': 2} for name in names]
    return {
        str(names): {'key_metadata': keys, 'value_metadata': {'value_type': 'np.ndarray', 'skip_deserialize': False}}
    }


def _keys_of(key: Any) -> Callable[[dict[str, Any]], object]:
    def how(record: dict[str, Any]) -> None:
        for entry in record['tree_metadata'].values():
            entry['key_metadata'] = [{**part, 'key': key} for part in entry['key_metadata']]

    return how


def _kinds_of(kind: int) -> Callable[[dict[str, Any]], object]:
    def how(record: dict[str, Any]) -> None:
        for entry in record['tree_metadata'].values():
            entry['key_metadata'] = [{**part, 'key_type': kind} for part in entry['key_metadata']]

    return how


def _values(record: dict[str, Any], **changes: Any) -> None:
    for entry in record['tree_metadata'].values():
        entry['value_metadata'].update(changes)


def _database(folder: Path) -> Any:
    import tensorstore

    base = {'driver': 'file', 'path': f'{folder}/'}
    return tensorstore.KvStore.open({'driver': 'ocdbt', 'base': base}).result()


def _bias(database: Any) -> str:
    """The last tensor of that name, a vector in one piece."""
    return max(key.decode() for key in database.list().result() if key.endswith(b'bias/.zarray')).removesuffix(
        '.zarray'
    )


def stored(key: str, content: bytes | None) -> Change:
    """The database holds this content under a key of a bias; None: nothing."""

    def change(folder: Path) -> None:
        database = _database(folder)
        database.write(_bias(database) + key, content).result()

    return change


def array(how: Callable[[dict[str, Any]], object]) -> Change:
    """`how` gets what the database says of a bias."""

    def change(folder: Path) -> None:
        database = _database(folder)
        key = _bias(database) + DESCRIBED
        record = json.loads(database.read(key).result().value)
        how(record)
        database.write(key, json.dumps(record).encode()).result()

    return change


def zstandard(size: int, told: int | None = None) -> bytes:
    """So many zeros as a frame of Zstandard, in blocks of one repeated byte; `told`: the size that the frame tells."""
    window = bytes([(23 - 10) << 3])  # 8 MB
    frame = b'\x28\xb5\x2f\xfd' + (b'\0' + window if told is None else b'\xc0' + window + told.to_bytes(8, 'little'))
    block = 128 << 10  # the largest there is
    repeated, last = ((end | 1 << 1 | block << 3).to_bytes(3, 'little') + b'\0' for end in (0, 1))
    return frame + repeated * (size // block - 1) + last


def manifest(data: bytes) -> bytes:
    """A manifest of the database with this content, said to be compressed."""
    import google_crc32c

    head = b'\x0c\xdb\x3a\x2a' + (len(data) + 18).to_bytes(8, 'little') + b'\0\1'
    return head + data + google_crc32c.value(head + data).to_bytes(4, 'little')
