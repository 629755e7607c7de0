"""Which network it is, by a hash of its tensors: the same for every mirror, kind of file, shards and older names.

A list of known ones is a text file: a hash, a space and a name on each line; '#' begins a remark. `known.txt` beside
this module is one, of what the package itself has; users give more of their own.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from addsr_jax import places
from addsr_jax.errors import UserError, printable
from addsr_jax.trees import Tree
from addsr_jax.weights import layout

SHIPPED = Path(__file__).with_name('known.txt')
LARGEST = 1 << 20  # bytes of a list
UNKNOWN = 'unknown'


def of_tensors(entries: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256 of a network: name, shape, dtype and sha256 of every tensor, in the order of names."""
    digest = hashlib.sha256()
    for entry in sorted(entries, key=lambda entry: entry['name']):
        digest.update(f'{entry["name"]} {entry["shape"]} {entry["dtype"]} {entry["sha256"]}\n'.encode())
    return digest.hexdigest()


def of_tree(kind: str, tree: Tree) -> str:
    """The same of a network in our layout."""
    return of_tensors(entry(name, value) for name, value in layout.to_state_dict(kind, tree).items())


def entry(name: str, value: np.ndarray) -> dict[str, Any]:
    """What a hash is made of, of one tensor in PyTorch's layout."""
    content = np.ascontiguousarray(value).reshape(-1).view(np.uint8).data
    return {
        'name': name,
        'shape': list(value.shape),
        'dtype': str(value.dtype),
        'sha256': hashlib.sha256(content).hexdigest(),
    }


def read(more: Iterable[Path] = ()) -> dict[str, list[str]]:
    """{hash: names} of the shipped list and of others."""
    found: dict[str, list[str]] = {}
    for path in (SHIPPED, *more):
        for number, line in enumerate(_text(path).splitlines(), 1):
            line = line.partition('#')[0].strip()
            if not line:
                continue
            hash_, _, name = line.partition(' ')
            if not re.fullmatch('[0-9a-f]{64}', hash_) or not name.strip():
                raise UserError(f'{path}, line {number}: expected 64 hexadecimal digits, a space and a name')
            names = found.setdefault(hash_, [])
            names += [name.strip()] * (name.strip() not in names)
    return found


def _text(path: Path) -> str:
    try:
        return places.read_text(path, LARGEST)
    except (OSError, ValueError) as error:
        raise UserError(f'{path} cannot be read ({printable(str(error))}): give a list of known networks') from error


def told(hash_: str, known: Mapping[str, list[str]]) -> str:
    """'same tensors as ...', or 'unknown'."""
    names = known.get(hash_)
    return f'same tensors as {printable(" and ".join(names))}' if names else UNKNOWN
