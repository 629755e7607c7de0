"""A network out of an Orbax folder, a few tensors at a time: what is on its way takes little of the host's memory."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from addsr_jax import trees
from addsr_jax.runtime import return_freed_memory
from addsr_jax.trees import Tree
from addsr_jax.weights import orbax_folder

TOGETHER = 64 * 2**20  # bytes that are read together; a larger tensor is read alone
Arrays = dict[str, Any]  # by path: 'down/0/kernel'


def described(path: Path, most: int) -> Tree:
    """Shapes and dtypes as they are stored; ValueError where they are those of more than `most` tensors, or of none."""
    import orbax.checkpoint as ocp

    orbax_folder.check(path, most)
    with ocp.StandardCheckpointer() as reader:
        saved = orbax_folder.described(reader, path)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), dict(saved))


def restored(path: Path, stored: Tree, keep: Callable[[Arrays], Arrays]) -> Tree:
    """The network of the shapes `stored`: `keep` gets its tensors in portions, and returns what stays of them.

    While it does, the next portion is read.
    """
    flat, kept = trees.flatten(stored), {}
    portions = [{name: flat[name] for name in names} for names in portioned(flat)]
    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(partial(_read, path), portions[0])
        for following in [*portions[1:], None]:
            arrays = ahead.result()
            if following is not None:
                ahead = reader.submit(partial(_read, path), following)
            kept |= keep(arrays)
            del arrays
            return_freed_memory()
    return trees.unflatten(kept)


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


def _read(path: Path, flat: Arrays) -> Arrays:
    """Tensors of these names and shapes, as numpy's."""
    import orbax.checkpoint as ocp

    wanted = trees.unflatten({n: np.broadcast_to(np.zeros((), s.dtype), s.shape) for n, s in flat.items()})
    how = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
    me = jax.process_index()  # this process reads for its own devices, and waits for no other
    alone = ocp.options.MultiprocessingOptions(me, {me}, 'weights')
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as reader:
        arguments = ocp.args.PyTreeRestore(wanted, restore_args=how, partial_restore=True)
        return trees.flatten(reader.restore(path, args=arguments))
