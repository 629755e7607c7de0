"""Hashes that tell numbers that were damaged from those that were written.

xxh3_128 is as quick as memory (`benchmarks/hashes.py` measures it). It guards against disks, cables and half-copied
folders. Whoever alters weights on purpose can alter their hash as well; no hash without a key stops that.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xxhash

from addsr_jax.trees import Tree

NAME = 'xxh3_128'  # in records and metadata
PIECE = 1 << 20  # bytes of a file that are read at a time


def of_array(name: str, array: np.ndarray) -> int:
    """Of an array's name, shape, dtype and bits."""
    array = np.asarray(array)
    digest = xxhash.xxh3_128(f'{name} {list(array.shape)} {array.dtype}\n'.encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.intdigest()


def of_tree(tree: Tree) -> str:
    """Of all leaves, whose order does not matter; leaves are arrays on this host."""
    return text(sum(of_leaves(tree).values()))


def of_leaves(tree: Tree) -> dict[str, int]:
    """{path: hash} of all leaves; a tree's own hash is their sum."""
    return {name: of_array(name, leaf) for name, leaf in named_leaves(tree)}


def of_file(path: Path) -> str:
    """Of a file's bytes."""
    digest = xxhash.xxh3_128()
    with path.open('rb') as file:
        while piece := file.read(PIECE):
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
