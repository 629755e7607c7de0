"""Trees beside a bundle's weights, in its folder: a discriminator and what else training wants again."""

from functools import partial
from pathlib import Path

import jax
import numpy as np

from addsr_jax import attempts, hashes, places
from addsr_jax.errors import UserError
from addsr_jax.trees import Tree
from addsr_jax.weights import finite, model_file, older, orbax_folder
from addsr_jax.weights.bundle import differences


def has_beside(path_or_name: str | Path, name: str) -> bool:
    """Whether a bundle's folder keeps the tree `name` beside its weights."""
    return str(path_or_name) != 'nano' and (places.place(path_or_name) / name).is_dir()


def load_beside(path_or_name: str | Path, name: str, abstract: Tree) -> Tree:
    """The tree `name` beside a bundle's weights, of the structure, shapes and dtypes of `abstract`."""
    folder = places.place(path_or_name)
    path = places.absolute(folder / name)
    try:
        before, restored = attempts.attempt(partial(_read_beside, path, abstract))
    except attempts.Failed as error:
        raise UserError(
            f'{path} does not fit this run ({error}): delete that folder to start with new optimizers and a new '
            'discriminator, or clip gradients, or do not, as the run that wrote it (--config.optimizer.clip)'
        ) from error
    model_file.check(model_file.read(folder), name, hashes.of_tree(restored), path)
    finite.check(restored, path)
    return older.with_parts(restored, abstract) if before else restored


def _read_beside(path: Path, abstract: Tree) -> tuple[bool, Tree]:
    """(whether version 0.1 wrote it, the tree on the host)."""
    import orbax.checkpoint as ocp

    orbax_folder.check(path, len(jax.tree.leaves(abstract)))
    with ocp.StandardCheckpointer() as checkpointer:
        saved = orbax_folder.described(checkpointer, path)
        before = older.is_older(saved)
        wanted = older.without_parts(abstract) if before else abstract
        wrong = differences(saved, wanted)
        if wrong:
            raise ValueError(wrong[0])
        return before, _to_host(checkpointer.restore(path, jax.tree.map(_on_one_device, wanted)))


def _to_host(tree: Tree) -> Tree:
    """numpy arrays, which any mesh takes."""
    return jax.tree.map(np.asarray, tree)


def _on_one_device(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device)
