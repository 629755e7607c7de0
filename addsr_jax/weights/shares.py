"""What each of several processes holds of a tensor that is split over their devices."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding

from addsr_jax import hashes


@dataclass(frozen=True)
class Share:
    """Indices `start` to `stop` of the axis that `hashes.in_pieces` cuts: whole pieces of it.

    first: for every process the first one that holds the same.
    """

    axis: int
    start: int
    stop: int
    first: tuple[int, ...]


def own(shape: tuple[int, ...], place: NamedSharding) -> Share | None:
    """This process's share; None everywhere where a process needs all of the tensor, or holds parts of pieces."""
    axis, pieces = hashes.cut(shape)
    if pieces == 1:
        return None
    size = shape[axis]
    spans: dict[int, set[tuple[int, int]]] = defaultdict(set)  # those of each process's devices
    for device, index in place.devices_indices_map(shape).items():
        start, stop, _ = index[axis].indices(size)
        spans[device.process_index].add((start, stop))
    held = {process: (min(found)[0], max(found)[1]) for process, found in sorted(spans.items())}
    if not all(_follow(sorted(spans[process]), *held[process]) for process in held):
        return None
    if len(set(held.values())) == 1 or not _follow(sorted(set(held.values())), 0, size):
        return None
    if any(end % (size // pieces) for span in held.values() for end in span):
        return None
    first = tuple(min(other for other in held if held[other] == span) for span in held.values())
    return Share(axis, *held[jax.process_index()], first)


def _follow(spans: Iterable[tuple[int, int]], start: int, stop: int) -> bool:
    """Whether spans, in their order, lead from start to stop without gap or overlap."""
    for first, last in spans:
        if first != start:
            return False
        start = last
    return start == stop


def on_host(array: jax.Array, share: Share) -> np.ndarray:
    """What this process's devices hold of an array, in one piece."""
    found = {shard.index[share.axis].indices(array.shape[share.axis])[0]: shard for shard in array.addressable_shards}
    parts = [np.asarray(found[start].data) for start in sorted(found)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, share.axis)


def without_copy(array: jax.Array) -> jax.Array:
    """The same on its devices, without what jax keeps on the host of shards that `on_host` has fetched."""
    shards = [shard.data for shard in array.addressable_shards]
    return jax.make_array_from_single_device_arrays(array.shape, array.sharding, shards)


def put(part: np.ndarray, share: Share, shape: tuple[int, ...], place: NamedSharding) -> jax.Array:
    """The array of this shape, of which this process gives its own share."""

    def of_device(index: Any) -> np.ndarray:
        start, stop, _ = index[share.axis].indices(shape[share.axis])
        there = slice(start - share.start, stop - share.start)
        return part[tuple(there if axis == share.axis else whole for axis, whole in enumerate(index))]

    return jax.make_array_from_callback(shape, place, of_device)


def bytes_of(share: Share, leaf: jax.ShapeDtypeStruct) -> int:
    return leaf.size // leaf.shape[share.axis] * (share.stop - share.start) * leaf.dtype.itemsize
