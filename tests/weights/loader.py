"""Weights loaded by one of several processes: what it read, and what it has in the end.

python -m tests.weights.loader FOLDER DTYPE PORT PROCESSES PROCESS MESH HARMED

HARMED is a process whose own shares of one tensor are read wrong.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np

from addsr_jax import hashes, processes, sharding
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights import restoring


def main(folder, dtype, port, count, process, mesh, harmed):
    processes.join(f'localhost:{port}', int(count), int(process))
    sharding.SMALL = hashes.LARGE = 2  # as if the model were large
    restoring.TOGETHER = 50_000
    read, shares, original = [], [], restoring._read

    def noted(path, flat, places=None):
        (read if places is None else shares).extend(f'{path.relative_to(folder)}/{name}' for name in flat)
        found = original(path, flat, places)
        if places is not None and process == harmed:
            name, array = next(iter(found.items()))
            ones = np.ones(array.shape, array.dtype)
            found[name] = jax.make_array_from_callback(array.shape, array.sharding, lambda index: ones[index])
        return found

    restoring._read = noted
    with processes.ending_together():
        mesh = sharding.make_mesh(mesh)
        loaded = bundles.load(folder, None if dtype == 'stored' else dtype, mesh=mesh)
        split = sum(not leaf.is_fully_replicated for leaf in jax.tree.leaves(loaded.params))
        whole = processes.on_first_host(loaded.params, mesh)
        made = None if whole is None else hashes.of_tree(whole)
        print(json.dumps({'read': read, 'shares': shares, 'made': made, 'split': split}))  # noqa: T201


if __name__ == '__main__':
    main(Path(sys.argv[1]), *sys.argv[2:])
