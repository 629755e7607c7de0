"""Low-rank adapters: W + scale (B A)^T, where rules say, and of joint q, k, v kernels in q and v alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import trees
from addsr_jax.networks.lora import Adapters, layers

PARAMS = {
    'block': {
        'to_q': {'kernel': jnp.arange(12.0).reshape(4, 3), 'bias': jnp.ones(3)},
        'qkv': {'kernel': jnp.arange(24.0).reshape(4, 6)},
        'conv': {'kernel': jnp.ones((3, 3, 4, 4))},
    }
}
RULES = Adapters((r'.*/to_q/kernel', r'.*/qkv/kernel'), rank=2, scale=0.5, joint=(r'.*/qkv/kernel',))


def factors():
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), RULES.init(jax.random.key(0), PARAMS)
    )


def test_fresh_adapters_change_nothing_and_have_pytorchs_shapes():
    fresh = RULES.init(jax.random.key(0), PARAMS)
    shapes = {path: leaf.shape for path, leaf in trees.flatten(fresh).items()}
    assert shapes == {
        'block/to_q/lora_A': (2, 4),
        'block/to_q/lora_B': (3, 2),
        'block/qkv/lora_A': (4, 4),  # q's rows, then v's
        'block/qkv/lora_B': (4, 2),
    }
    assert layers(fresh) == ['block/to_q', 'block/qkv']
    for a, b in zip(jax.tree.leaves(RULES.merge(PARAMS, fresh)), jax.tree.leaves(PARAMS), strict=True):
        np.testing.assert_array_equal(a, b)
    assert float(jnp.abs(fresh['block']['to_q']['lora_A']).max()) <= 4**-0.5


def test_merging_adds_the_scaled_product_and_leaves_the_rest():
    small = factors()
    merged = RULES.merge(PARAMS, small)
    a, b = small['block']['to_q']['lora_A'], small['block']['to_q']['lora_B']
    np.testing.assert_allclose(merged['block']['to_q']['kernel'], PARAMS['block']['to_q']['kernel'] + 0.5 * (b @ a).T)
    np.testing.assert_array_equal(merged['block']['conv']['kernel'], PARAMS['block']['conv']['kernel'])
    np.testing.assert_array_equal(merged['block']['to_q']['bias'], PARAMS['block']['to_q']['bias'])


def test_of_a_joint_kernel_k_stays():
    small = factors()
    added = RULES.merge(PARAMS, small)['block']['qkv']['kernel'] - PARAMS['block']['qkv']['kernel']
    a, b = small['block']['qkv']['lora_A'], small['block']['qkv']['lora_B']
    np.testing.assert_allclose(added[:, :2], 0.5 * (b[:2] @ a[:2]).T, atol=1e-5)
    np.testing.assert_array_equal(added[:, 2:4], 0)
    np.testing.assert_allclose(added[:, 4:], 0.5 * (b[2:] @ a[2:]).T, atol=1e-5)


def test_the_scale_may_move_into_b():
    small, whole = factors(), Adapters(RULES.kernels, rank=2, scale=1.0, joint=RULES.joint)
    for a, b in zip(
        jax.tree.leaves(whole.merge(PARAMS, RULES.scaled(small))),
        jax.tree.leaves(RULES.merge(PARAMS, small)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_weights_keep_their_dtype_and_are_added_in_float32():
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), PARAMS)
    assert {leaf.dtype for leaf in jax.tree.leaves(RULES.merge(half, factors()))} == {jnp.dtype(jnp.bfloat16)}


def test_a_rule_that_matches_nothing_is_an_error():
    with pytest.raises(ValueError, match='no parameter matches'):
        Adapters(('nothing/kernel',), 2, 1.0).init(jax.random.key(0), PARAMS)
