"""What lies beside a saved state: where in the data it stands, its held-out score, and a hash of each of its leaves.

A leaf may be split over devices and processes, and is saved as it lies. Its hash is the sum, modulo 2**128, of the
hashes of its pieces, each taken with its place in the leaf. So every process hashes what it holds anyway, nothing is
gathered, and 16 bytes of a leaf are exchanged. Into how many pieces each axis was cut is in the record. Where a
checkpoint is restored with other cuts, on another mesh or by another number of processes, leaves are gathered, one at a
time, and cut again as they were.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from addsr_jax import hashes, json_file, processes
from addsr_jax.attempts import kind_of
from addsr_jax.errors import UserError, printable
from addsr_jax.trees import Tree

KEYS = {'batches', 'leaves', hashes.NAME}
SCORE = 'psnr'  # of held-out pictures, where they were restored with this state
OLDER = {'batches'}  # of versions without hashes
PIECES = 2**16  # of a leaf: more than any mesh has devices
Index = tuple[tuple[int, int], ...]  # (start, stop) on each axis


class Damage(Exception):
    """A checkpoint is not what was written. The message says where, in a phrase."""


def made(state: Tree, batches: int, score: float | None = None) -> dict[str, Any]:
    """The record of a state that lies on devices; all processes ask together. Plain data."""
    leaves = hashes.named_leaves(state)
    cuts = {name: cut(leaf) for name, leaf in leaves}
    sums = hashed(leaves, cuts)
    described = {
        name: {'shape': list(leaf.shape), 'dtype': str(leaf.dtype), 'cut': list(cuts[name]), 'hash': sums[name]}
        for name, leaf in leaves
    }
    record = {'batches': batches, 'leaves': described, **({} if score is None else {SCORE: score})}
    return {**record, hashes.NAME: hashes.of_json(record)}


def read(path: Path) -> dict[str, Any]:
    """The record in a file; Damage where it is not what `made` has made, whole. OSError where storage fails."""
    try:
        record = json_file.of_file(path)
    except (OSError, ValueError, UserError) as error:
        if kind_of(error):
            raise
        raise Damage(f'its record {path} cannot be read ({printable(str(error))})') from error
    content = {name: value for name, value in record.items() if name != hashes.NAME}
    hashed = set(record) - {SCORE} == KEYS and record[hashes.NAME] == hashes.of_json(content)
    if not (hashed or set(record) == OLDER) or not _is_record(record):
        raise Damage(f'{path} is not the record that was written')
    return record


def _is_record(found: Mapping[str, Any]) -> bool:
    """Whether values are of the kinds that `made` has made: anybody can write a hash."""
    leaves = found.get('leaves', {})
    return (
        type(found['batches']) is int
        and found['batches'] >= 0
        and isinstance(found.get(SCORE, 0.0), float | int)
        and isinstance(leaves, dict)
        and all(isinstance(leaf, dict) and _is_leaf(leaf) for leaf in leaves.values())
    )


def _is_leaf(leaf: Mapping[str, Any]) -> bool:
    if set(leaf) != {'shape', 'dtype', 'cut', 'hash'} or not isinstance(leaf['shape'], list):
        return False
    axes, cuts = leaf['shape'], leaf['cut']
    return (
        isinstance(cuts, list)
        and len(cuts) == len(axes)
        and all(type(number) is int for number in axes + cuts)
        and all(1 <= pieces <= max(size, 1) for size, pieces in zip(axes, cuts, strict=True))
        and math.prod(cuts) <= PIECES
    )


def score_of(path: Path) -> float | None:
    """The score in a record, if it is whole and has one."""
    try:
        return read(path).get(SCORE)
    except Damage:
        return None


def differences(record: Mapping[str, Any], wanted: Tree) -> list[str]:
    """Leaves that were saved otherwise than `wanted` has them, a phrase each; nothing for an older record."""
    if 'leaves' not in record:
        return []
    saved = {name: f'{leaf["dtype"]}{leaf["shape"]}' for name, leaf in record['leaves'].items()}
    asked = {name: f'{leaf.dtype}{list(leaf.shape)}' for name, leaf in hashes.named_leaves(wanted)}
    both = [name for name in asked if name in saved]
    return [
        *(f'{name} is not in it' for name in asked if name not in saved),
        *(f'{name} is in it and not in this run' for name in saved if name not in asked),
        *(f'{name} is {saved[name]}, not {asked[name]}' for name in both if saved[name] != asked[name]),
    ]


def damaged(record: Mapping[str, Any], state: Tree) -> list[str]:
    """Leaves of a restored state whose bits are not those that were saved; all processes ask together and agree."""
    saved = record.get('leaves', {})
    leaves = [(name, leaf) for name, leaf in hashes.named_leaves(state) if name in saved]
    sums = hashed(leaves, {name: tuple(saved[name]['cut']) for name, _ in leaves})
    return [name for name, _ in leaves if sums[name] != saved[name]['hash']]


def hashed(leaves: list[tuple[str, jax.Array]], cuts: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """The hash of each leaf, cut as `cuts` says."""
    own = [
        sum(hashes.of_array(f'{name} {place}', piece) for place, piece in pieces(leaf, cuts[name])) % 2**128
        for name, leaf in leaves
    ]
    sums = map(sum, zip(*processes.numbers_of_all(own), strict=True))
    return {name: hashes.text(n) for (name, _), n in zip(leaves, sums, strict=True)}


def cut(leaf: jax.Array) -> tuple[int, ...]:
    """Into how many pieces each axis of a leaf is cut over the devices."""
    piece = leaf.sharding.shard_shape(leaf.shape)
    return tuple(-(-n // m) if m else 1 for n, m in zip(leaf.shape, piece, strict=True))


def pieces(leaf: jax.Array, wanted: tuple[int, ...]) -> Iterator[tuple[Index, np.ndarray]]:
    """(place, numbers) of the pieces that are this process's to hash."""
    if cut(leaf) == wanted:
        for shard in leaf.addressable_shards:
            if shard.replica_id == 0:
                yield place_of(shard.index, leaf.shape), np.asarray(shard.data)
        return
    if not leaf.is_fully_addressable:
        assert isinstance(leaf.sharding, NamedSharding)
        leaf = jax.device_put(leaf, NamedSharding(leaf.sharding.mesh, PartitionSpec()))
    if processes.first():
        whole = np.asarray(leaf)
        for place in itertools.product(*(spans(n, k) for n, k in zip(leaf.shape, wanted, strict=True))):
            yield place, whole[tuple(slice(*span) for span in place)]


def place_of(index: tuple[slice, ...], shape: tuple[int, ...]) -> Index:
    return tuple(part.indices(n)[:2] for part, n in zip(index, shape, strict=True))


def spans(size: int, count: int) -> list[tuple[int, int]]:
    """An axis in `count` pieces, all of one size."""
    step = size // count
    return [(i * step, (i + 1) * step) for i in range(count)]
