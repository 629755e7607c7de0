"""A network out of an Orbax folder, a few tensors at a time: what is on its way takes little of the host's memory.

Of processes that load together each reads what its own devices hold of the tensors that are split over them all. The
others, which every process needs whole, are read, looked at and cast once: each portion by one process, which gives it
to the rest.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import NamedSharding

from addsr_jax import hashes, sharding, trees
from addsr_jax.runtime import return_freed_memory
from addsr_jax.trees import Tree
from addsr_jax.weights import finite, handing, orbax_folder, shares
from addsr_jax.weights.handing import Looked
from addsr_jax.weights.shares import Share

TOGETHER = 64 * 2**20  # bytes that are read together; a larger tensor is read alone
READERS = 2  # threads, each with a portion
Arrays = dict[str, Any]  # by path: 'down/0/kernel'
Places = Mapping[str, NamedSharding]  # where each tensor lies on a mesh
Found = TypeVar('Found')


def described(path: Path, most: int) -> Tree:
    """Shapes and dtypes as they are stored; ValueError where they are those of more than `most` tensors, or of none."""
    import orbax.checkpoint as ocp

    orbax_folder.check(path, most)
    with ocp.StandardCheckpointer() as reader:
        saved = dict(orbax_folder.described(reader, path))
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), saved)


@dataclass(frozen=True)
class Restorer:
    """How tensors of a folder are read: `places` None leaves them numpy's, `dtype` None as they are stored.

    readers: the processes that load together, this one among them. cut: whether tensors were hashed in pieces, without
    which nobody reads a share alone.
    """

    dtype: Any
    places: Places | None
    readers: Sequence[int]
    cut: bool

    def restored(self, path: Path, flat: Arrays) -> tuple[Tree, dict[str, int]]:
        """The network of tensors of the shapes `flat`, and their hashes; both by path.

        A UserError names a tensor with a number that is not finite.
        """
        split = self._split(flat)
        kept, made = {}, {}
        if split:
            first = {name: share.first for name, share in split.items()}
            made |= handing.together(partial(self._read_shares, path, flat, split, kept), first)
        others = {name: leaf for name, leaf in flat.items() if name not in split}
        for looked in self._read_whole(path, others):
            kept |= looked.arrays if self.places is None else sharding.put_at(looked.arrays, self.places)
            made |= looked.made
            del looked
            return_freed_memory()
        return trees.unflatten({name: kept[name] for name in flat}), made

    def _split(self, flat: Arrays) -> dict[str, Share]:
        """This process's shares of the tensors of which each process needs its share alone."""
        if self.places is None or len(self.readers) == 1 or not self.cut:
            return {}
        on_devices = {  # others would be hashed as what jax makes of them: float64 as float32
            name: leaf for name, leaf in flat.items() if jax.dtypes.canonicalize_dtype(leaf.dtype) == leaf.dtype
        }
        found = {name: shares.own(leaf.shape, self.places[name]) for name, leaf in on_devices.items()}
        return {name: share for name, share in found.items() if share is not None}

    def _read_shares(self, path: Path, flat: Arrays, split: Mapping[str, Share], kept: Arrays) -> dict[str, int]:
        """Puts tensors into `kept`; their hashes, of what this process holds."""
        sizes = {name: shares.bytes_of(share, flat[name]) for name, share in split.items()}
        portions = [{name: flat[name] for name in names} for names in portioned(sizes)]
        made = {}
        for looked in _ahead(partial(self._look_at_shares, path, split), portions):
            kept |= looked.arrays
            made |= looked.made
            del looked
            return_freed_memory()
        return made

    def _look_at_shares(self, path: Path, split: Mapping[str, Share], portion: Arrays) -> Looked:
        assert self.places is not None
        arrays, made = _read(path, portion, self.places), {}
        for name, array in arrays.items():
            share, stored = split[name], shares.on_host(array, split[name])
            finite.check_tensor(name, stored, path)
            made[name] = hashes.in_pieces(name, stored, array.shape, share.start)
            cast = finite.cast({name: stored}, self.dtype, path)[name]
            same = cast.dtype == array.dtype
            kept = shares.without_copy(array) if same else shares.put(cast, share, array.shape, self.places[name])
            arrays[name] = kept
        return Looked(arrays, made)

    def _read_whole(self, path: Path, flat: Arrays) -> Iterator[Looked]:
        """Portions of tensors that every process needs, each read by one of them."""
        sizes = {name: trees.bytes_of(leaf) for name, leaf in flat.items()}
        portions = [{name: flat[name] for name in names} for names in portioned(sizes)]
        me, turns = jax.process_index(), [self.readers[n % len(self.readers)] for n in range(len(portions))]
        mine = [portion for portion, turn in zip(portions, turns, strict=True) if turn == me]
        ahead = _ahead(partial(self._look_at, path), mine)
        for portion, turn in zip(portions, turns, strict=True):
            if len(self.readers) == 1:
                yield next(ahead)
            else:
                look = partial(next, ahead) if turn == me else None
                yield handing.shared(look, trees.retyped(portion, self.dtype), turn)

    def _look_at(self, path: Path, portion: Arrays) -> Looked:
        arrays = _read(path, portion)
        made = hashes.of_leaves(arrays, hashes.in_pieces if self.cut else hashes.of_array)
        finite.check(arrays, path)
        return Looked(finite.cast(arrays, self.dtype, path), made)


def portioned(sizes: Mapping[str, int]) -> Iterator[Sequence[str]]:
    """Names of neighbours that have at most TOGETHER bytes."""
    names, size = [], 0
    for name, bytes_of in sizes.items():
        if names and size + bytes_of > TOGETHER:
            yield names
            names, size = [], 0
        names, size = [*names, name], size + bytes_of
    if names:
        yield names


def _ahead(look: Callable[[Arrays], Found], portions: Sequence[Arrays]) -> Iterator[Found]:
    """What is found of the portions, in their order, while those that come next are read and looked at."""
    with ThreadPoolExecutor(READERS) as readers:
        waiting = deque()
        for portion in portions:
            if len(waiting) > READERS:
                yield waiting.popleft().result()
            waiting.append(readers.submit(look, portion))
        while waiting:
            yield waiting.popleft().result()


def _read(path: Path, flat: Arrays, places: Places | None = None) -> Arrays:
    """Tensors of these names and shapes: numpy's, or of `places` the parts that this process's devices hold."""
    import orbax.checkpoint as ocp

    if places is None:
        how = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in flat}
        wanted = {name: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape) for name, leaf in flat.items()}
    else:
        how = {name: ocp.ArrayRestoreArgs(sharding=places[name]) for name in flat}
        wanted = flat
    me = jax.process_index()  # this process reads its own portions, and waits for no other
    alone = ocp.options.MultiprocessingOptions(me, {me}, 'weights')
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as reader:
        arguments = ocp.args.PyTreeRestore(
            trees.unflatten(wanted), restore_args=trees.unflatten(how), partial_restore=True
        )
        return trees.flatten(reader.restore(path, args=arguments))
