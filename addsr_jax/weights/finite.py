"""NaN and infinity in weights: named before they become black pictures, whether stored or made by a smaller type."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from addsr_jax import hashes, trees
from addsr_jax.errors import UserError, printable
from addsr_jax.trees import Tree

BLOCK = 1 << 16  # numbers that are looked at together: they stay in the processor's cache


def check(tree: Tree, where: object) -> None:
    """A UserError that names the first tensor of `tree` with a number that is not finite, and the file it is of."""
    for name, leaf in hashes.named_leaves(tree):
        check_tensor(name, np.asarray(leaf), where)


def cast(tree: Tree, dtype: Any, where: object) -> Tree:
    """Finite leaves as `trees.cast` leaves them; a UserError names the first with numbers beyond what `dtype` holds."""
    with np.errstate(over='ignore'):  # it is said below
        made = trees.cast(tree, dtype)
    for (name, before), (_, leaf) in zip(hashes.named_leaves(tree), hashes.named_leaves(made), strict=True):
        if leaf.dtype != before.dtype and not is_finite(np.asarray(leaf)):
            raise UserError(f'{where}: {printable(name)} has numbers beyond {leaf.dtype}: choose bfloat16 or float32')
    return made


def check_tensor(name: str, tensor: np.ndarray, where: object) -> None:
    if not is_finite(tensor):
        raise UserError(f'{where}: {printable(name)} holds NaN or infinity: make or download the weights again')


def is_finite(tensor: np.ndarray) -> bool:
    """Whether every number is; bfloat16 is as quick as the others."""
    if not jnp.issubdtype(tensor.dtype, jnp.floating):
        return True
    infinity = np.asarray([np.inf], tensor.dtype).view(f'u{tensor.dtype.itemsize}')[0]  # an exponent of ones alone
    bits = np.ascontiguousarray(tensor).reshape(-1).view(infinity.dtype)
    starts = range(0, bits.size, BLOCK)
    return not any((bits[start : start + BLOCK] & infinity == infinity).any() for start in starts)
