"""Random numbers in the place of weights: what they are changes neither the time nor the memory of a program."""

from functools import cache
from typing import Any

import jax
import numpy as np

from addsr_jax.trees import Tree

DRAWN = 2**22  # numbers; larger kernels repeat them


def random_params(shapes: Tree, dtype: Any) -> Tree:
    """Parameters of unit gain for the shapes of networks: random kernels, scales of one, biases of zero.

    Leaves of one shape are one array: of the 3.9 billion numbers of a run at Stable Diffusion 2 size half a billion are
    made, and the rest is copying to a device.
    """
    numbers = np.random.default_rng(0).standard_normal(DRAWN, np.float32)

    @cache
    def kernel(shape: tuple[int, ...]) -> np.ndarray:
        scaled = (numbers / np.float32(np.prod(shape[:-1]) ** 0.5)).astype(dtype)
        return np.resize(scaled, shape)

    @cache
    def vector(shape: tuple[int, ...], value: bool) -> np.ndarray:
        return np.full(shape, value, dtype)

    def leaf(path: Any, shape: jax.ShapeDtypeStruct) -> np.ndarray:
        return kernel(shape.shape) if len(shape.shape) > 1 else vector(shape.shape, path[-1].key == 'scale')

    return jax.tree_util.tree_map_with_path(leaf, shapes)
