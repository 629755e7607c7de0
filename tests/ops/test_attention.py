"""Attention kernels: one signature, the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax.ops import attention


def qkv(t, s=None, heads=2, width=8):
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = [(2, t, heads, width), (2, s or t, heads, width), (2, s or t, heads, width)]
    return [jax.random.normal(k, shape) for k, shape in zip(keys, shapes, strict=True)]


def test_attention_is_the_softmax_of_scaled_products():
    q, k, v = (np.asarray(x, np.float64) for x in qkv(5, 7))
    scores = np.einsum('bthd,bshd->bhts', q, k) / np.sqrt(8)
    weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    wanted = np.einsum('bhts,bshd->bthd', weights, v)
    np.testing.assert_allclose(attention.einsum(*qkv(5, 7)), wanted, atol=1e-6)


def test_blocks_of_queries_give_the_same_numbers_and_gradients():
    arrays = qkv(attention.CHUNK_FROM, 9)
    np.testing.assert_allclose(attention.chunked(*arrays), attention.einsum(*arrays), atol=1e-6)
    kernels = (attention.einsum, attention.chunked)
    one, two = (jax.grad(lambda q, f=f: (f(q, *arrays[1:]) ** 2).sum())(arrays[0]) for f in kernels)
    np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.parametrize('name', attention.KERNELS)
def test_boolean_and_additive_masks_hide_keys(name):
    q, k, v = qkv(6)
    visible = jnp.arange(6) < 4
    for mask in (visible[None, None, None], jnp.where(visible, 0.0, -1e9)[None, None, None]):
        out = attention.kernel(name)(q, k, v, mask)
        np.testing.assert_allclose(out, attention.einsum(q, k[:, :4], v[:, :4]), atol=1e-6)


def test_a_kernel_that_does_not_exist_is_refused_with_the_choices():
    with pytest.raises(ValueError, match='einsum, chunked, cudnn'):
        attention.kernel('flash')


@pytest.mark.parametrize(('keys', 'fused'), [(attention.CHUNK_FROM, True), (64, True), (77, False), (145, False)])
def test_cudnn_gets_what_it_can_differentiate_and_einsum_the_rest(monkeypatch, keys, fused):
    asked = []

    def stand_in(q, k, v, *, implementation):
        asked.append(implementation)
        return attention.einsum(q, k, v)

    monkeypatch.setattr(jax.nn, 'dot_product_attention', stand_in)
    arrays = qkv(attention.CHUNK_FROM, keys)
    np.testing.assert_allclose(attention.cudnn(*arrays), attention.einsum(*arrays), atol=1e-6)
    assert asked == ['cudnn'] * fused
