"""What a user names as input: files, folders with all that is below them, patterns, and lists on stdin."""

import glob
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from addsr_jax.data.photographs import photographs
from addsr_jax.errors import UserError, printable

STDIN = '-'


@dataclass(frozen=True)
class Source:
    """A picture file, and the folders below the output that its result goes into."""

    path: Path
    below: Path = Path()
    named: bool = True  # False: found in a folder


def find(inputs: Sequence[str], output: Path) -> tuple[list[Source], str]:
    """Every file once, in the order named; and what of the folders was left out, in words.

    A folder's tree is kept; of several folders each keeps its own name above it. The output folder is not searched.
    UserError where something named is not there, or holds no pictures.
    """
    texts = [text for given in inputs for text in (_listed() if given == STDIN else _matching(given))]
    folders = [Path(text) for text in texts if os.path.isdir(text)]
    found: dict[Path, Source] = {}
    remarks: list[str] = []
    for text in texts:
        path = Path(text)
        if path in folders:
            sources, remark = _below(path, output, several=len(folders) > 1)
            remarks += [f'{printable(text, 4096)}: left out {remark}'] if remark else []
        else:
            sources = [Source(_file(path))]
        for source in sources:
            found.setdefault(source.path.absolute(), source)
    if not found:
        raise UserError('no images are named: the list on stdin is empty')
    return list(found.values()), '; '.join(remarks)


def _listed() -> Iterable[str]:
    """Lines of stdin, each a file or a folder; names may be in any encoding."""
    lines = sys.stdin.buffer.read().splitlines()
    return [os.path.expanduser(os.fsdecode(line)) for line in lines if line.strip()]


def _matching(text: str) -> Sequence[str]:
    """The text itself where that is there; else what it matches as a pattern, for shells that do not expand it."""
    path = os.path.expanduser(text)
    if os.path.lexists(path) or not glob.has_magic(path):
        return (path,)
    matches = sorted(glob.glob(path, recursive=True))
    if not matches:
        raise UserError(f'{printable(text, 4096)} matches no file')
    return matches


def _below(folder: Path, output: Path, *, several: bool) -> tuple[list[Source], str]:
    found = photographs(folder, recursive=True, without=output)
    top = Path(folder.resolve().name) if several else Path()
    sources = [Source(path, top / path.parent.relative_to(folder), named=False) for path in found.paths]
    return sources, found.remark


def _file(path: Path) -> Path:
    if not os.path.exists(path):
        raise UserError(f'there is no file or folder {printable(str(path), 4096)}')
    if not os.path.isfile(path):
        raise UserError(f'{printable(str(path), 4096)} is no regular file: give image files or folders')
    return path
