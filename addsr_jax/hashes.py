"""Hashes that tell numbers that were damaged from those that were written.

xxh3_128 is as quick as memory (`benchmarks/hashes.py` measures it). It guards against disks, cables and half-copied
folders. Whoever alters weights on purpose can alter their hash as well; no hash without a key stops that.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xxhash

from addsr_jax.trees import Tree

NAME = 'xxh3_128'  # in records and metadata
AT_ONCE = 1 << 20  # bytes of a file that are read
LARGE = 1 << 14  # elements from which on `in_pieces` cuts an array
PIECES = 64  # into which it is cut, or as many of them as divide its largest axis


def of_array(name: str, array: np.ndarray) -> int:
    """Of an array's name, shape, dtype and bits."""
    array = np.asarray(array)
    digest = xxhash.xxh3_128(f'{name} {list(array.shape)} {array.dtype}\n'.encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.intdigest()


def cut(shape: tuple[int, ...]) -> tuple[int, int]:
    """(axis, pieces of it) in which `in_pieces` hashes an array of this shape; one piece of a small one."""
    if math.prod(shape) < LARGE:
        return 0, 1
    axis = max(range(len(shape)), key=lambda n: shape[n])
    return axis, math.gcd(shape[axis], PIECES)


def in_pieces(name: str, array: np.ndarray, shape: tuple[int, ...] | None = None, start: int = 0) -> int:
    """The sum of an array's pieces' hashes, modulo 2**128, so that hosts that hold some pieces each find it together.

    array: all of it, or, with the whole's `shape`, what begins at `start` of the axis that is cut, some whole pieces.
    """
    array = np.asarray(array)
    whole = array.shape if shape is None else shape
    axis, pieces = cut(whole)
    if pieces == 1:
        return of_array(name, array)
    size = whole[axis] // pieces
    parts = np.split(array, array.shape[axis] // size, axis)
    made = [of_array(f'{name} {list(whole)} {n}/{pieces}', part) for n, part in enumerate(parts, start // size)]
    return sum(made) % 2**128


def of_tree(tree: Tree) -> str:
    """Of all leaves, whose order does not matter; leaves are arrays on this host."""
    return text(sum(of_leaves(tree).values()))


def of_leaves(tree: Tree, of: Callable[[str, np.ndarray], int] = of_array) -> dict[str, int]:
    """{path: hash} of all leaves; a tree's own hash is their sum. of: `of_array` or `in_pieces`."""
    return {name: of(name, leaf) for name, leaf in named_leaves(tree)}


def of_file(path: Path) -> str:
    """Of a file's bytes."""
    digest = xxhash.xxh3_128()
    with path.open('rb') as file:
        while piece := file.read(AT_ONCE):
            digest.update(piece)
    return digest.hexdigest()


def of_json(value: Mapping[str, Any]) -> str:
    """Of plain data, whatever the order of its keys and the spaces in its file."""
    return xxhash.xxh3_128_hexdigest(json.dumps(value, sort_keys=True, separators=(',', ':')).encode())


def text(number: int) -> str:
    """A sum of hashes, modulo 2**128, as 32 hexadecimal digits."""
    return f'{number % 2**128:032x}'


def named_leaves(tree: Tree) -> list[tuple[str, Any]]:
    """[('params/unet/kernel', leaf)] of any tree."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [(jax.tree_util.keystr(path, simple=True, separator='/'), leaf) for path, leaf in leaves]
