"""A network out of an Orbax folder, a few tensors at a time: what is on its way takes little of the host's memory.

Processes that load together share the work: each portion of tensors is read, looked at and cast by one of them, which
gives it to the others, so that the disk or bucket is read once, however many they are.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from addsr_jax import hashes, trees
from addsr_jax.runtime import return_freed_memory
from addsr_jax.trees import Tree
from addsr_jax.weights import finite, handing, orbax_folder

TOGETHER = 64 * 2**20  # bytes that are read together; a larger tensor is read alone
READERS = 2  # threads, each with a portion
Arrays = dict[str, Any]  # by path: 'down/0/kernel'


def described(path: Path, most: int) -> Tree:
    """Shapes and dtypes as they are stored; ValueError where they are those of more than `most` tensors, or of none."""
    import orbax.checkpoint as ocp

    orbax_folder.check(path, most)
    with ocp.StandardCheckpointer() as reader:
        saved = orbax_folder.described(reader, path)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), dict(saved))


def restored(
    path: Path, stored: Tree, dtype: Any, put: Callable[[Arrays], Arrays], readers: Sequence[int]
) -> tuple[Tree, dict[str, int]]:
    """The network of the shapes `stored`, and its tensors' hashes by path.

    dtype: of floating tensors; None keeps what is stored. put: gets the tensors in portions, as numpy's, and returns
    what stays of them; meanwhile the next ones are read. readers: the processes that load together, this one among
    them. A UserError names a tensor with a number that is not finite.
    """
    flat = trees.flatten(stored)
    portions = [{name: flat[name] for name in names} for names in portioned(flat)]
    me, turns = jax.process_index(), [readers[n % len(readers)] for n in range(len(portions))]
    ahead = _ahead(path, dtype, [portion for portion, turn in zip(portions, turns, strict=True) if turn == me])
    kept, made = {}, {}
    for portion, turn in zip(portions, turns, strict=True):
        if len(readers) == 1:
            looked = next(ahead)
        else:
            look = partial(next, ahead) if turn == me else None
            looked = handing.shared(look, trees.retyped(portion, dtype), turn)
        kept |= put(looked.arrays)
        made |= looked.made
        del looked
        return_freed_memory()
    return trees.unflatten(kept), made


def portioned(flat: Arrays) -> Iterator[Sequence[str]]:
    """Names of neighbours that have at most TOGETHER bytes."""
    names, size = [], 0
    for name, leaf in flat.items():
        bytes_of = leaf.size * leaf.dtype.itemsize
        if names and size + bytes_of > TOGETHER:
            yield names
            names, size = [], 0
        names, size = [*names, name], size + bytes_of
    yield names


def _ahead(path: Path, dtype: Any, portions: Sequence[Arrays]) -> Iterator[handing.Looked]:
    """The portions in their order, while those that come next are read and looked at."""
    with ThreadPoolExecutor(READERS) as readers:
        waiting = deque()
        for portion in portions:
            if len(waiting) > READERS:
                yield waiting.popleft().result()
            waiting.append(readers.submit(_looked_at, path, dtype, portion))
        while waiting:
            yield waiting.popleft().result()


def _looked_at(path: Path, dtype: Any, portion: Arrays) -> handing.Looked:
    arrays = _read(path, portion)
    made = {name: hashes.of_array(name, array) for name, array in arrays.items()}
    finite.check(arrays, path)
    return handing.Looked(trees.cast(arrays, dtype), made)


def _read(path: Path, flat: Arrays) -> Arrays:
    """Tensors of these names and shapes, as numpy's."""
    import orbax.checkpoint as ocp

    wanted = trees.unflatten({n: np.broadcast_to(np.zeros((), s.dtype), s.shape) for n, s in flat.items()})
    how = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
    me = jax.process_index()  # this process reads its own portions, and waits for no other
    alone = ocp.options.MultiprocessingOptions(me, {me}, 'weights')
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as reader:
        arguments = ocp.args.PyTreeRestore(wanted, restore_args=how, partial_restore=True)
        return trees.flatten(reader.restore(path, args=arguments))
