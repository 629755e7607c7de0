"""A look at a folder of Orbax before Orbax looks: it opens whatever lies there, and waits for pipes.

`check` before a tree is described, and `described` before its numbers are read.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from addsr_jax import json_file, places
from addsr_jax.errors import printable
from addsr_jax.trees import Tree

DESCRIPTION = '_METADATA'
LARGEST = 32 << 20  # bytes of the description; that of a run of Stable Diffusion 2 takes 4 MB
FILES, DEEPEST = 100_000, 8  # in a folder, and folders inside one another
NAMES = 64  # in the path of a tensor
EMPTY = ('None', 'Dict', 'List', 'Tuple', 'NamedTuple')  # kinds of values that hold no tensor


def check(folder: Path, most: int) -> None:
    """ValueError where this is no plain folder whose description names at most `most` tensors."""
    try:
        found = json_file.of_file(folder / DESCRIPTION, largest=LARGEST).get('tree_metadata')
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else printable(str(error))
        raise ValueError(f'{DESCRIPTION}: {reason}') from error
    if not isinstance(found, dict) or not found:
        raise ValueError(f'{DESCRIPTION} describes no tree')
    for name, entry in found.items():
        if not _is_entry(entry):
            raise ValueError(f'{DESCRIPTION} describes no tensor at {printable(name)}')
    tensors = sum(entry['value_metadata'].get('value_type') not in EMPTY for entry in found.values())
    if tensors > most:
        raise ValueError(f'{DESCRIPTION} names {tensors} tensors, more than {most}')
    if not places.in_bucket(folder):
        _check_files(folder)


def _is_entry(entry: Any) -> bool:
    """Whether a value has a kind, and names that cannot lead out of the folder."""
    if not isinstance(entry, dict) or not isinstance(entry.get('value_metadata'), dict):
        return False
    path = entry.get('key_metadata')
    if not isinstance(path, list) or not 0 < len(path) <= NAMES:
        return False
    keys = [part.get('key') for part in path if isinstance(part, dict)]
    return len(keys) == len(path) and all(isinstance(key, str) and _is_name(key) for key in keys)


def _is_name(key: str) -> bool:
    return key not in ('', '.', '..') and key.isprintable() and '/' not in key


def _check_files(folder: Path) -> None:
    """ValueError where something in the folder is neither a file nor a folder. Links to files are files."""
    for count, (entry, depth) in enumerate(_entries(folder)):
        if count == FILES or depth > DEEPEST:
            raise ValueError(f'it holds more than {FILES} files, or folders more than {DEEPEST} deep')
        if not entry.is_dir(follow_symlinks=False) and places.kind(Path(entry.path)) != 'file':
            raise ValueError(f'{printable(entry.name)} is no regular file')


def _entries(folder: Path) -> Iterator[tuple[os.DirEntry, int]]:
    """All that lies in a folder and below, each with the number of folders that it is in."""
    ahead = [(os.fspath(folder), 1)]
    while ahead:
        place, depth = ahead.pop()
        with os.scandir(place) as entries:
            for entry in entries:
                yield entry, depth
                if entry.is_dir(follow_symlinks=False):
                    ahead.append((entry.path, depth + 1))


def described(reader: Any, folder: Path) -> Tree:
    """What Orbax's `reader` says of the tree in a folder that was checked, every leaf with a shape and a dtype.

    ValueError where it finds no tree, or a tensor that is stored in pieces larger than itself.
    """
    try:
        found = reader.handler.metadata(folder)  # the reader's own `metadata` keeps to itself what is wrong
    except (OSError, ValueError, TypeError) as error:
        raise ValueError('its tensors are not there') from error
    for path, leaf in jax.tree_util.tree_leaves_with_path(found.tree):
        name = printable(jax.tree_util.keystr(path, simple=True, separator='/'))
        if not hasattr(leaf, 'shape'):
            raise ValueError(f'{name} is no tensor')
        pieces = leaf.storage.chunk_shape if leaf.storage else None
        if pieces is not None and math.prod(pieces) > max(math.prod(leaf.shape), 1):
            raise ValueError(f'{name} of shape {list(leaf.shape)} is stored in pieces of {list(pieces)}')
    return found.tree
