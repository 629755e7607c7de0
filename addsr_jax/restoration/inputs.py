"""What a user names as input: files, folders with all that is below them, patterns, and lists on stdin."""

import glob
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from addsr_jax import places
from addsr_jax.data.photographs import photographs
from addsr_jax.errors import UserError, printable
from addsr_jax.restoration import results

STDIN = '-'


@dataclass(frozen=True)
class Source:
    """A picture file, and the folders below the output that its result goes into."""

    path: Path
    below: Path = Path()
    named: bool = True  # False: found in a folder


def find(inputs: Sequence[str], output: Path) -> tuple[list[Source], str]:
    """Every file once, in the order named; and what of the folders was left out, in words.

    A folder's tree is kept; of several folders each keeps its own name above it, and of those with one name as much of
    their paths as tells them apart. The output folder is not searched:
    what lies there and is no result is left out. UserError where something named is not there, or holds no pictures.
    """
    paths = [path for text in inputs for path in (_listed() if text == STDIN else _matching(text))]
    folders = [path for path in paths if places.kind(path) == 'folder']
    tops = _tops(folders)
    found: dict[Path, Source] = {}
    remarks: list[str] = []
    for path in paths:
        if path in folders:
            sources, remark = _below(path, output, tops[path])
            remarks += [f'{printable(str(path), 4096)}: left out {remark}'] if remark else []
        else:
            sources = [Source(_file(path))]
        for source in sources:
            found.setdefault(real(source.path), source)
    if not found:
        raise UserError('no images are named: the list on stdin is empty')
    return list(found.values()), '; '.join(remarks)


def real(path: Path) -> Path:
    """Of all names of its folder the one without links and dots, so that a file has one place."""
    return path if places.in_bucket(path) else Path(os.path.realpath(path.parent)) / path.name


def _listed() -> Iterable[Path]:
    """Lines of stdin, each a file or a folder; names may be in any encoding."""
    if sys.stdin is None:
        raise UserError(f'{STDIN} is a list on stdin, which is closed: give image files or folders')
    lines = sys.stdin.buffer.read().splitlines()
    return [places.place(os.fsdecode(line)) for line in lines if line.strip()]


def _matching(text: str) -> Sequence[Path]:
    """The place itself where something is there; else what it matches as a pattern, for shells that expand none."""
    path = places.place(text)
    if places.in_bucket(path) or not glob.has_magic(text) or os.path.lexists(path):
        return (path,)
    matches = sorted(glob.glob(str(path), recursive=True))
    if not matches:
        raise UserError(f'{printable(text, 4096)} matches no file')
    return [Path(match) for match in matches]


def _tops(folders: Sequence[Path]) -> dict[Path, Path]:
    """For each folder the folders below the output that its tree goes into."""
    whole = {folder: folder if places.in_bucket(folder) else folder.resolve() for folder in folders}
    if len(set(whole.values())) <= 1:
        return dict.fromkeys(folders, Path())
    found = {}
    for folder, path in whole.items():
        namesakes = {other for other in whole.values() if other.name == path.name}
        above = common_parts([other.parent for other in namesakes]) if len(namesakes) > 1 else len(path.parts) - 1
        found[folder] = Path(*path.parts[max(above, 1) :])  # of the root nothing
    return found


def common_parts(folders: Sequence[Path]) -> int:
    """With how many of the same parts all of them begin; one at least, the disk's or the bucket's root."""
    same = 0
    for parts in zip(*(folder.parts for folder in folders), strict=False):
        if len(set(parts)) > 1:
            break
        same += 1
    return max(same, 1)


def _below(folder: Path, output: Path, top: Path) -> tuple[list[Source], str]:
    found = photographs(folder, recursive=True, without=output)
    if originals := sum(results.made_by(path) is None for path in found.within):
        found = replace(found, left_out={**found.left_out, 'in the folder of results': originals})
    sources = [Source(path, top / path.parent.relative_to(folder), named=False) for path in found.paths]
    return sources, found.remark


def _file(path: Path) -> Path:
    kind = places.kind(path)
    if not kind:
        raise UserError(f'there is no file or folder {printable(str(path), 4096)}')
    if kind == 'other':
        raise UserError(f'{printable(str(path), 4096)} is no regular file: give image files or folders')
    return path
