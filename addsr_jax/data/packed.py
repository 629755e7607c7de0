"""Photographs in a few large files, for data sets too large for a folder of pictures; `data.packing` writes them.

A folder with `packed.json` and files of ArrayRecord, which Grain reads at random places. A record is a map in msgpack:
'image' (the bytes of a picture's file as they were), 'caption' and 'name', both text, and in sets of pairs 'lq', the
bytes of the low-quality picture. Other keys are passed over.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsIndex

from addsr_jax import json_file, places
from addsr_jax.errors import UserError, printable

INDEX = 'packed.json'
VERSION, OF_PAIRS = 1, 2  # versions: a program that knows no pairs must not take their true pictures alone
# Grain reads single records, for which each has to be a group of its own; pictures are compressed already.
WRITER = 'group_size:1,uncompressed'
TOGETHER = 16  # files that are looked at together, for a bucket answers late
AGAIN = 'copy the folder again, or pack it again'


def shard_name(number: int, count: int) -> str:
    return f'photographs-{number:05d}-of-{count:05d}.array_record'


@dataclass(frozen=True)
class Index:
    """What `packed.json` says: records and bytes of every file; one of damaged pictures alone has no records."""

    records: tuple[int, ...]
    sizes: tuple[int, ...]
    pairs: bool = False

    @property
    def names(self) -> list[str]:
        return [shard_name(i, len(self.records)) for i in range(len(self.records))]

    def to_json(self) -> dict[str, Any]:
        return {
            'version': OF_PAIRS if self.pairs else VERSION,
            'records': list(self.records),
            'bytes': list(self.sizes),
        }


def read_index(folder: Path) -> Index:
    """The index of a folder; UserError where it has none that can be read here."""
    path = folder / INDEX
    if not path.exists():
        raise UserError(
            f'{printable(str(folder), 4096)} holds no {INDEX}: set --config.data.path to a folder that `addsr pack` '
            'wrote, or --config.data.source to folder'
        )
    found: dict[str, Any] = json_file.read(path, AGAIN)
    if found.get('version') not in (VERSION, OF_PAIRS):
        version = printable(repr(found.get('version')))
        raise UserError(f'{path} is of version {version}, neither {VERSION} nor {OF_PAIRS}: pack the photographs again')
    records, sizes = _counts(found.get('records')), _counts(found.get('bytes'))
    if records is None or sizes is None or len(records) != len(sizes):
        raise UserError(f'{path} is damaged (records and bytes are no lists of equally many counts): {AGAIN}')
    if not sum(records):
        raise UserError(f'{path} names no photographs: pack a folder that holds some')
    return Index(records, sizes, found['version'] == OF_PAIRS)


def _counts(value: Any) -> tuple[int, ...] | None:
    right = isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)
    return tuple(value) if right else None


@dataclass(frozen=True)
class PackedSource:
    """Record i is the i-th photograph that was packed; the checksums of ArrayRecord are looked at as it is read."""

    records: Any  # grain's ArrayRecordDataSource, which processes that decode open anew
    folder: str
    left_out: str = ''
    pairs: bool = False

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        import msgpack

        try:
            record = msgpack.unpackb(self.records[index])
            return {key: record[key] for key in ('image', 'caption', 'name', *(('lq',) if self.pairs else ()))}
        except Exception as error:  # RuntimeError of the reader, and all that msgpack has
            raise UserError(f'{self._place(index)} cannot be read: {printable(str(error))}') from error

    def name_of(self, index: SupportsIndex) -> str:
        try:
            return self[index]['name']
        except UserError:
            return self._place(index)

    def captioned(self) -> None:
        return None

    def _place(self, index: SupportsIndex) -> str:
        return f'{self.folder}[{int(index)}]'


def packed(path: str) -> PackedSource:
    """The photographs of a folder that `addsr pack` wrote; every file is opened, so that none is found short later."""
    from grain.sources import ArrayRecordDataSource

    folder = places.place(path)
    if not path or places.kind(folder) != 'folder':
        raise UserError(
            f'there is no folder {printable(repr(path), 4096)}: set --config.data.path to one that `addsr pack` wrote'
        )
    index = read_index(folder)
    with ThreadPoolExecutor(TOGETHER) as pool:
        list(pool.map(check_shard, [folder / name for name in index.names], index.sizes, index.records))
    records = ArrayRecordDataSource([str(folder / name) for name in index.names])
    return PackedSource(records, printable(path, 4096), pairs=index.pairs)


def check_shard(path: Path, size: int, records: int) -> None:
    """A UserError where a file is not the one that was packed, as far as its size and its end say."""
    from array_record.python.array_record_module import ArrayRecordReader

    if places.kind(path) != 'file':
        raise UserError(f'{path} is gone: {AGAIN}')
    if (have := places.size(path)) != size:
        raise UserError(f'{path} has {have} bytes and not {size}, it is truncated or another file: {AGAIN}')
    try:
        reader = ArrayRecordReader(str(path))
        found = reader.num_records()
        reader.close()
    except RuntimeError as error:
        raise UserError(f'{path} is no ArrayRecord file, or damaged ({printable(str(error))}): {AGAIN}') from error
    if found != records:
        raise UserError(f'{path} holds {found} photographs and not {records}: {AGAIN}')
