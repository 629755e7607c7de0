"""Attention kernels: one function, the same numbers and gradients, at any length."""

import re
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu

from addsr_jax import sharding, specs
from addsr_jax.errors import UserError
from addsr_jax.ops import attention
from addsr_jax.ops.attention import LONG
from addsr_jax.planning import hardware
from addsr_jax.planning.collectives import traffic


def qkv(t, s=None, heads=2, width=8, batch=2):
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = [(batch, t, heads, width), (batch, s or t, heads, width), (batch, s or t, heads, width)]
    return [jax.random.normal(k, shape) for k, shape in zip(keys, shapes, strict=True)]


def with_gradients(kernel, arrays):
    """The result and its gradients to q, k and v, under weights that tell all places apart."""

    def loss(*arrays):
        out = kernel(*arrays)
        return (out * jnp.cos(jnp.arange(out.size)).reshape(out.shape)).sum(), out

    (_, out), gradients = jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(*arrays)
    return [out, *gradients]


def test_attention_is_the_softmax_of_scaled_products():
    q, k, v = (np.asarray(x, np.float64) for x in qkv(5, 7))
    scores = np.einsum('bthd,bshd->bhts', q, k) / np.sqrt(8)
    weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    wanted = np.einsum('bhts,bshd->bthd', weights, v)
    np.testing.assert_allclose(attention.attention(*qkv(5, 7)), wanted, atol=1e-6)


# heads of SD-2's UNet and of its autoencoder; lengths of one block, of several, and that no block divides
@pytest.mark.parametrize(
    ('queries', 'keys', 'width'), [(1031, 1031, 64), (1024, 1537, 64), (700, 513, 512), (511, 1025, 64)]
)
def test_blocks_give_the_same_numbers_and_gradients_at_any_length(queries, keys, width):
    arrays = qkv(queries, keys, heads=1, width=width, batch=1)
    found, wanted = (with_gradients(kernel, arrays) for kernel in (attention.chunked, attention.einsum))
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize(('queries', 'keys', 'width'), [(130, 257, 64), (129, 129, 512)])
def test_the_kernel_of_tpus_gives_the_same_numbers_and_gradients_at_any_length(queries, keys, width):
    arrays = qkv(queries, keys, heads=1, width=width, batch=1)
    with pltpu.force_tpu_interpret_mode():
        found = with_gradients(attention.flash, arrays)
    for a, b in zip(found, with_gradients(attention.einsum, arrays), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_scores_of_any_size_do_not_overflow():
    q, k, v = qkv(LONG, heads=1)
    found, wanted = (kernel(300 * q, 300 * k, v) for kernel in (attention.chunked, attention.einsum))
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_gradient_of_a_gradient_goes_through_blocks():
    arrays = qkv(70, heads=1, batch=1)

    def penalty(kernel, q):
        return (jax.grad(lambda q: (kernel(q, *arrays[1:]) ** 2).sum())(q) ** 2).sum()

    one, two = (jax.grad(partial(penalty, f))(arrays[0]) for f in (attention.chunked, attention.einsum))
    np.testing.assert_allclose(one, two, atol=1e-4)


@pytest.mark.parametrize('name', attention.KERNELS)
def test_boolean_and_additive_masks_hide_keys(name):
    q, k, v = qkv(6)
    visible = jnp.arange(6) < 4
    for mask in (visible[None, None, None], jnp.where(visible, 0.0, -1e9)[None, None, None]):
        out = attention.attention(q, k, v, mask, kernel=name)
        np.testing.assert_allclose(out, attention.einsum(q, k[:, :4], v[:, :4]), atol=1e-6)


def test_a_kernel_that_does_not_exist_is_refused_with_the_choices():
    with pytest.raises(ValueError, match='einsum, chunked, cudnn, flash'):
        attention.attention(*qkv(5), kernel='fast')
    assert ('auto', *attention.KERNELS) == specs.ATTENTIONS


@pytest.mark.parametrize(
    ('queries', 'keys', 'asked'),
    [(LONG, LONG, True), (LONG + 1, LONG, True), (LONG - 1, LONG, False), (LONG, 77, False)],
)
def test_kernels_get_what_is_long_on_both_sides(monkeypatch, queries, keys, asked):
    calls = []
    monkeypatch.setitem(attention.KERNELS, 'flash', lambda q, k, v: calls.append(q.shape) or q)
    jax.eval_shape(partial(attention.attention, kernel='flash'), *qkv(queries, keys))
    assert bool(calls) == asked


def device(platform, **more):
    return SimpleNamespace(platform=platform, **more)


@pytest.mark.parametrize(
    ('name', 'where', 'dtype', 'kernel'),
    [
        ('auto', device('tpu'), 'float32', 'flash'),
        ('auto', device('gpu'), 'bfloat16', 'cudnn'),
        ('auto', device('gpu', compute_capability='7.5'), 'bfloat16', 'chunked'),
        ('auto', device('gpu'), 'float32', 'chunked'),
        ('auto', device('gpu', compute_capability='gfx942'), 'bfloat16', 'chunked'),
        ('auto', device('cpu'), 'bfloat16', 'chunked'),
        ('einsum', device('tpu'), 'bfloat16', 'einsum'),
        ('cudnn', device('gpu', compute_capability='9.0'), 'bfloat16', 'cudnn'),
    ],
)
def test_auto_is_the_quickest_kernel_of_a_device(name, where, dtype, kernel):
    assert attention.chosen(name, where, dtype) == kernel


@pytest.mark.parametrize(
    ('name', 'where', 'dtype', 'message'),
    [
        ('fast', device('cpu'), 'float32', "no attention 'fast': choose one of auto, einsum, chunked, cudnn, flash"),
        ('flash', device('gpu'), 'bfloat16', 'flash needs a TPU, not gpu'),
        ('cudnn', device('tpu'), 'bfloat16', 'not tpu and bfloat16'),
        ('cudnn', device('gpu'), 'float32', 'not gpu and float32'),
        ('cudnn', device('gpu', compute_capability='7.5'), 'bfloat16', 'from Ampere on'),
    ],
)
def test_a_kernel_that_a_device_does_not_have_is_refused(name, where, dtype, message):
    with pytest.raises(UserError, match=re.escape(message)):
        attention.chosen(name, where, dtype)


@pytest.mark.parametrize(('queries', 'keys', 'width', 'fused'), [(8, 8, 64, 1), (7, 9, 64, 1), (8, 8, 512, 0)])
def test_cudnn_gets_even_lengths_and_where_they_end(monkeypatch, queries, keys, width, fused):
    asked, own = [], jax.nn.dot_product_attention

    def stand_in(q, k, v, *, implementation, **ends):
        asked.append((implementation, q.shape[1] % 2, k.shape[1] % 2))
        return own(q, k, v, implementation='xla', **ends)

    monkeypatch.setattr(jax.nn, 'dot_product_attention', stand_in)
    arrays = qkv(queries, keys, width=width)
    found, wanted = (with_gradients(kernel, arrays) for kernel in (attention.cudnn, attention.einsum))
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert asked == [('cudnn', 0, 0)] * fused


@pytest.mark.parametrize('batch', [8, 3])
def test_on_several_devices_each_computes_its_share_or_the_whole_of_what_does_not_divide(batch):
    mesh, shapes = sharding.make_mesh('data:2,fsdp:4'), []

    def kernel(q, k, v):
        shapes.append(q.shape[0])
        return attention.einsum(q, k, v)

    arrays = qkv(5, batch=batch)
    with jax.set_mesh(mesh):
        found = jax.jit(lambda *arrays: sharding.on_shares(kernel, *arrays))(*arrays)
    np.testing.assert_allclose(found, attention.einsum(*arrays), atol=1e-6)
    assert shapes == [1 if batch == 8 else 3]


@pytest.mark.torch  # `make test-parity` brings libtpu
@pytest.mark.parametrize(('length', 'width'), [(1031, 64), (4096, 64), (1100, 512)])
def test_the_kernel_of_tpus_compiles_for_a_slice_with_its_gradients(length, width):
    machine = hardware.machine('v5e:2x2')
    mesh = sharding.make_mesh('data:2,fsdp:2', machine.devices)
    array = jax.ShapeDtypeStruct((4, length, 1, width), jnp.bfloat16, sharding=sharding.batch_sharding(mesh))

    def loss(q, k, v):
        return attention.attention(q, k, v, kernel='flash').astype(jnp.float32).sum()

    with jax.set_mesh(mesh), jax.default_matmul_precision('default'):  # Mosaic has no other for bfloat16
        program = jax.jit(jax.grad(loss, (0, 1, 2))).lower(*[array] * 3)
    with machine.compiling():
        compiled = program.compile(compiler_options=machine.options)
    laid_out = compiled.memory_analysis()
    assert laid_out is not None
    assert laid_out.temp_size_in_bytes < 12_000 * length, 'no matrix of scores'
    assert not traffic(compiled.as_text()).bytes
