"""What the backward pass keeps: less with each remat, and the same gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import trees
from addsr_jax.networks.layers import GroupNorm
from addsr_jax.stages.base import recomputing
from addsr_jax.training.options import REMATS
from tests import tiny


def kept(pullback) -> int:
    """Bytes that a pullback holds."""
    return trees.bytes_of(jax.tree.leaves(pullback))


def decoder(remat: str):
    networks = tiny.networks()
    return recomputing(lambda params, z: networks.autoencoder.apply({'params': params}, z, method='decode'), remat)


@pytest.fixture(scope='module')
def inputs():
    z = np.random.default_rng(0).standard_normal((2, 8, 8, 4)).astype(np.float32)
    return tiny.on_device(tiny.bundle().params['autoencoder']), jnp.asarray(z)


def test_each_remat_keeps_less_than_the_one_before(inputs):
    sizes = [kept(jax.eval_shape(lambda *x, r=remat: jax.vjp(decoder(r), *x)[1], *inputs)) for remat in REMATS]
    assert sizes[0] > 2 * sizes[1] > 2 * sizes[2]


def test_gradients_are_the_same(inputs):
    def gradient(remat):
        return jax.jit(jax.grad(lambda *x: (decoder(remat)(*x) ** 2).mean(), (0, 1)))(*inputs)

    plain = gradient('none')
    for remat in REMATS[1:]:
        for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(gradient(remat)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_a_group_norm_keeps_its_input_and_two_numbers_a_channel():
    norm, x = GroupNorm(4, 1e-6, jnp.bfloat16), jnp.zeros((2, 16, 16, 8), jnp.bfloat16)
    params = norm.init(jax.random.key(0), x)['params']
    pullback = jax.eval_shape(lambda p, x: jax.vjp(lambda p, x: norm.apply({'params': p}, x), p, x)[1], params, x)
    assert kept(pullback) <= x.size * 2 + 2 * 2 * 8 * 4 + 2 * 8 * 4
