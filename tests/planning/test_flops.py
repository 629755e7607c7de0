"""FLOPs of a traced program against closed forms."""

import jax
import jax.numpy as jnp
import pytest

from addsr_jax import sharding
from addsr_jax.ops import attention
from addsr_jax.planning.flops import flops


def of(f, *shapes) -> float:
    return flops(jax.jit(f).trace(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)).jaxpr)


def conv(x, kernel, stride=1):
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


def test_a_product_is_twice_its_sides():
    assert of(lambda a, b: a @ b, (3, 5), (5, 7)) == 2 * 3 * 5 * 7


def test_a_product_and_its_gradients_are_three_products():
    assert of(jax.value_and_grad(lambda a, b: (a @ b).sum(), (0, 1)), (3, 5), (5, 7)) == 3 * 2 * 3 * 5 * 7


@pytest.mark.parametrize('stride', [1, 2])
def test_a_convolution_and_the_gradient_of_either_input_cost_the_same(stride):
    shapes, each = ((2, 8, 8, 3), (3, 3, 3, 4)), 2 * 2 * (8 // stride) ** 2 * 4 * 9 * 3
    assert of(lambda x, k: conv(x, k, stride), *shapes) == each
    for argument in (0, 1):
        found = of(jax.value_and_grad(lambda x, k: conv(x, k, stride).sum(), argument), *shapes)
        assert found == pytest.approx(2 * each, rel=0.01)


def test_the_body_of_a_loop_counts_as_often_as_it_runs_and_of_two_branches_the_dearer_one():
    def loop(a, b):
        return jax.lax.scan(lambda carry, _: (carry @ b, None), a, None, length=6)[0]

    assert of(loop, (4, 4), (4, 4)) == 6 * 2 * 4**3

    def branches(a, b):
        return jax.lax.cond(a[0, 0] > 0, lambda: a @ b @ b, lambda: a @ b)

    assert of(branches, (4, 4), (4, 4)) == 2 * 2 * 4**3


def test_what_is_computed_again_counts_again():
    def loss(a, b):
        return (jnp.sin(jnp.sin(a @ b) @ b) @ b).sum()

    plain, again = (of(jax.value_and_grad(f), (4, 4), (4, 4)) for f in (loss, jax.checkpoint(loss)))
    assert plain == 6 * 2 * 4**3
    assert again == plain + 2 * 2 * 4**3  # the two products under the sines; nothing asks for the last again


@pytest.mark.parametrize('name', ['einsum', 'chunked', 'flash'])
def test_attention_costs_the_same_by_any_kernel_and_on_any_mesh(name):
    def attended(q, k, v):
        return attention.attention(q, k, v, kernel=name)

    shapes, products = [(8, 1024, 1, 8)] * 3, 8 * 2 * 2 * 1024**2 * 8
    assert of(attended, *shapes) == products
    with jax.set_mesh(sharding.make_mesh('data:8')):
        assert of(attended, *shapes) == products
    backward = of(jax.value_and_grad(lambda *x: attended(*x).sum(), (0, 1, 2)), *shapes)
    assert backward == {'einsum': 3, 'chunked': 3.5, 'flash': 4.5}[name] * products, 'blocks compute scores again'
