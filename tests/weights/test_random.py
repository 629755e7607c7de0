"""Random numbers in the place of weights."""

import jax
import numpy as np

from addsr_jax import trees
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights.random import random_params
from tests import tiny


def test_random_parameters_have_every_shape_and_unit_gain():
    wanted = bundles.expected(tiny.SPEC, list(tiny.PARTS))
    made = random_params(wanted, np.float16)
    assert jax.tree.map(lambda a: a.shape, made) == jax.tree.map(lambda a: a.shape, wanted)
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {np.dtype(np.float16)}
    unet = trees.flatten(made['student']['unet'])
    for path, leaf in unet.items():
        if leaf.ndim == 1:
            assert (leaf == path.endswith('scale')).all(), path
        elif leaf.size > 500:
            assert 0.8 < leaf.astype(np.float32).std() * np.prod(leaf.shape[:-1]) ** 0.5 < 1.2, path
