"""Random numbers in the place of weights: what they are changes neither the time nor the memory of a program."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import jax
import numpy as np

from addsr_jax.specs import ModelSpec
from addsr_jax.trees import Tree
from addsr_jax.weights import bundle as bundles

DRAWN = 2**22  # numbers; larger kernels repeat them


def random_params(spec: ModelSpec, parts: Sequence[str], dtype: Any) -> dict[str, Tree]:
    """Parameters of unit gain of the networks of a size: random kernels, scales of one, biases of zero.

    Leaves of one shape are one array: making each of 3.6 billion numbers takes longer than copying them to a device.
    """
    numbers = np.random.default_rng(0).standard_normal(DRAWN, np.float32)

    @cache
    def kernel(shape: tuple[int, ...]) -> np.ndarray:
        return (np.resize(numbers, shape) / np.float32(np.prod(shape[:-1]) ** 0.5)).astype(dtype)

    @cache
    def vector(shape: tuple[int, ...], value: bool) -> np.ndarray:
        return np.full(shape, value, dtype)

    def leaf(path: Any, shape: jax.ShapeDtypeStruct) -> np.ndarray:
        return kernel(shape.shape) if len(shape.shape) > 1 else vector(shape.shape, path[-1].key == 'scale')

    return jax.tree_util.tree_map_with_path(leaf, bundles.expected(spec, list(parts)))
