"""Folders of photographs -> the files that `data.packed` reads.

All is written beside its place and moved there when it is whole. What a stopped call has finished stays beside it, and
the same call goes on from there: which photograph lies in which file depends on their sizes alone.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

import grain
import msgpack

from addsr_jax import atomic, json_file
from addsr_jax.data import pairs
from addsr_jax.data.batches import pictures_of
from addsr_jax.data.degradation import SCALE
from addsr_jax.data.packed import INDEX, WRITER, Index, check_shard, shard_name
from addsr_jax.data.photographs import photographs, text_of
from addsr_jax.data.sources import FileSource, PairSource
from addsr_jax.errors import UserError, escaped, printable

Report = Callable[[str], None]


@dataclass(frozen=True)
class Listed:
    """Photographs of one or several folders in the order in which they are packed, each with the name that it keeps."""

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    remark: str  # entries of the folders that are no photographs
    low: tuple[Path, ...] = ()  # low-quality pictures, of pairs

    def part(self, indices: Sequence[int]) -> 'Listed':
        paths, names = tuple(self.paths[i] for i in indices), tuple(self.names[i] for i in indices)
        return Listed(paths, names, '', tuple(self.low[i] for i in indices) if self.low else ())

    @property
    def source(self) -> FileSource | PairSource:
        high = FileSource(self.paths)
        return PairSource(high, self.low) if self.low else high

    def stamp(self, index: int) -> tuple[int, ...]:
        """Time and bytes of a photograph's files: one is written again where they have changed."""
        files = (self.paths[index], *self.low[index : index + 1], text_of(self.paths[index]))
        stats = [path.stat() for path in files if path is not None and path.exists()]
        return tuple(number for stat in stats for number in (stat.st_mtime_ns, stat.st_size)) or (0, 0)

    def size(self, index: int) -> int:
        """Bytes of its pictures, at least 1."""
        files = (self.paths[index], *self.low[index : index + 1])
        return max(sum(path.stat().st_size for path in files if path.exists()), 1)


@dataclass(frozen=True)
class Written:
    """One finished file."""

    records: int
    left_out: list[str]  # one line for each photograph that training could not use


def listed(folders: Sequence[Path]) -> Listed:
    """All photographs, folder by folder; a name is the path from the folder on, with what that folder is called."""
    paths: list[Path] = []
    names, remarks = [], []
    for folder, called in zip(folders, told_apart(folders), strict=True):
        found = photographs(folder, recursive=True)
        paths += found.paths
        names += [escaped(f'{called}/{path.relative_to(folder)}') for path in found.paths]
        remarks += [f'{folder}: {found.remark}'] if found.remark else []
    real, seen = {place: place.resolve() for place in {path.parent for path in paths}}, set[Path]()
    for path in paths:
        if (place := real[path.parent] / path.name) in seen:  # whatever the folders were called
            raise UserError(f'{path} lies in two of the folders: name each folder once')
        seen.add(place)
    return Listed(tuple(paths), tuple(names), '; '.join(remarks))


def told_apart(folders: Sequence[Path]) -> list[str]:
    """The last parts of their paths, as few as tell the folders apart: captions are kept by photographs' names."""
    parts = [folder.resolve().parts for folder in folders]
    few = 1
    while len({path[-few:] for path in parts}) < len(set(parts)):
        few += 1
    return ['/'.join(path[-few:]) for path in parts]


def listed_pairs(high: Path, low: Path) -> Listed:
    """All pairs of a folder of true pictures and one of low-quality pictures; a UserError where they do not match."""
    found = pairs.find(low, high)
    pairs.check_sizes(found.pairs, SCALE)
    remarks = [f'{folder}: {of.remark}' for folder, of in ((high, found.high), (low, found.low)) if of.remark]
    paths = tuple(pair.high for pair in found.pairs)
    names = tuple(escaped(f'{high.resolve().name}/{path.relative_to(high)}') for path in paths)
    return Listed(paths, names, '; '.join(remarks), tuple(pair.low for pair in found.pairs))


def shards(sizes: Sequence[int], limit: int) -> list[list[int]]:
    """Indices of the photographs of each file, cut where the sum of their bytes passes a multiple of `limit`."""
    ends = accumulate(sizes)
    by_file = groupby(enumerate(ends), key=lambda item: (item[1] - 1) // limit)
    return [[index for index, _ in group] for _, group in by_file]


@dataclass(frozen=True)
class Examples:
    """Records as they are written, each checked as training will: bytes, or the line that says why it is left out."""

    source: FileSource | PairSource
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: Any) -> bytes | str:
        try:
            record = self.source[index]
            pictures_of(record)
        except Exception as error:  # whatever a file or a decoder raises
            return str(error) or f'{self.source.name_of(index)}: {type(error).__name__}'
        whole: Any = msgpack.packb({**record, 'name': self.names[index]})  # None for a stream alone
        return whole


def pack(found: Listed, folder: Path, *, shard_bytes: int, threads: int, report: Report, complain: Report) -> Index:
    """Writes `folder`, which must not be there; what is written already beside it is kept where it still fits."""
    unfinished = unfinished_beside(folder)
    try:
        stamps = [found.stamp(i) for i in range(len(found.paths))]
        parts = shards([found.size(i) for i in range(len(found.paths))], shard_bytes)
        names = [shard_name(i, len(parts)) for i in range(len(parts))]
        done = []
        for name, part in zip(names, parts, strict=True):
            digest = hashlib.sha256(repr([(found.names[i], stamps[i]) for i in part]).encode()).hexdigest()
            written = _finished(unfinished / name, digest)
            before = written is not None
            if written is None:
                written = _write(found.part(part), unfinished / name, digest, threads)
            done.append(written)
            report(
                f'[{len(done)}/{len(parts)}] {name}  {written.records} photographs'
                f'{", from an earlier call" if before else ""}'
            )
            for line in written.left_out:
                complain(f'left out: {line}')
        return _complete(folder, unfinished, names, done, pairs=bool(found.low))
    except OSError as error:
        raise UserError(f'{folder} cannot be written: {error}') from error


def unfinished_beside(folder: Path) -> Path:
    """Where the files lie until all are there."""
    return folder.with_name(f'.{folder.name}.writing')


def _finished(path: Path, digest: str) -> Written | None:
    """What an earlier call wrote there from the same photographs, or None."""
    try:
        note = json_file.read(_note(path), '')
        if note['from'] != digest:
            return None
        check_shard(path, note['bytes'], note['records'])
        return Written(note['records'], note['left_out'])
    except (UserError, KeyError):
        return None


def _note(path: Path) -> Path:
    return path.with_suffix('.json')


def _write(found: Listed, path: Path, digest: str, threads: int) -> Written:
    left_out: list[str] = []
    records = 0

    def usable() -> Iterator[bytes]:
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
        examples = Examples(found.source, found.names)
        for example in grain.MapDataset.source(examples).to_iter_dataset(options):
            if isinstance(example, str):
                left_out.append(example)
            else:
                yield example

    def write(temporary: Path) -> None:
        nonlocal records
        from array_record.python.array_record_module import ArrayRecordWriter

        try:
            writer = ArrayRecordWriter(str(temporary), WRITER)
            for records, record in enumerate(usable(), 1):  # noqa: B007, counted for the note
                writer.write(record)
            writer.close()
        except RuntimeError as error:
            raise OSError(printable(str(error))) from error

    atomic.write(path, write)
    note = {'from': digest, 'records': records, 'bytes': path.stat().st_size, 'left_out': left_out}
    atomic.write_json(_note(path), note)
    return Written(records, left_out)


def _complete(folder: Path, unfinished: Path, names: list[str], done: list[Written], *, pairs: bool) -> Index:
    """The files with their index, and nothing else, in their place."""
    if not any(written.records for written in done):
        shutil.rmtree(unfinished, ignore_errors=True)  # no call could go on from there
        raise UserError(f'none of the photographs can be used, the first is {done[0].left_out[0]}')
    sizes = tuple((unfinished / name).stat().st_size for name in names)
    index = Index(tuple(w.records for w in done), sizes, pairs)
    for path in unfinished.iterdir():
        if path.name not in names:
            path.unlink()
    atomic.write_json(unfinished / INDEX, index.to_json())
    unfinished.rename(folder)
    return index
