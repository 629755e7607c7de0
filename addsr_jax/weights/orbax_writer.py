"""A tree as an Orbax folder, which one process writes and several may read."""

from functools import partial
from pathlib import Path

import jax
import numpy as np

from addsr_jax import attempts, hashes, places
from addsr_jax.trees import Tree

CHUNK = 2**20  # bytes in which a large tensor is stored, so that each of several hosts can read its share alone
FILE = 64 * 2**20  # bytes: Orbax gathers a whole file in memory before it writes it, and its default is no limit


def write(tree: Tree, folder: Path) -> None:
    import orbax.checkpoint as ocp

    places.make_folder(folder.parent)
    chunks = jax.tree.map(lambda leaf: CHUNK if hashes.cut(np.shape(leaf))[1] > 1 else None, tree)
    how = jax.tree.map(lambda leaf, chunk: ocp.SaveArgs(chunk_byte_size=chunk), tree, chunks)
    arguments = ocp.args.PyTreeSave(tree, save_args=how, ocdbt_target_data_file_size=FILE)
    me = jax.process_index()  # which must not wait for others
    alone = ocp.options.MultiprocessingOptions(me, {me}, 'bundle')
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
        attempts.write(partial(checkpointer.save, places.absolute(folder), args=arguments))
