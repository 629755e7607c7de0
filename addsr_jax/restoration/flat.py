"""A function as one flat list of primitives: calls inlined, loops written out, what no input decides computed.

Converters to other formats know primitives; what wraps them, and constants that are computed again in every call, they
carry along.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.core import Tracer
from jax.extend import core as jaxpr_core

NOTHING = ('name', 'copy', 'stop_gradient', 'optimization_barrier')  # primitives that return what they get


def flattened(function: Callable[..., jax.Array], *shapes: jax.ShapeDtypeStruct) -> Callable[..., jax.Array]:
    """The same function of arrays of these shapes."""
    closed = jax.make_jaxpr(function)(*shapes)

    def run(*arrays: jax.Array) -> jax.Array:
        return _evaluated(closed.jaxpr, closed.consts, arrays)[0]

    return run


def _evaluated(jaxpr: Any, consts: Sequence[Any], arrays: Sequence[Any]) -> list[Any]:
    values: dict[Any, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *arrays], strict=True))
    for equation in jaxpr.eqns:
        given = [v.val if isinstance(v, jaxpr_core.Literal) else values[v] for v in equation.invars]
        if any(isinstance(value, Tracer) for value in given):
            found = _bound(equation, given)
        else:
            with jax.ensure_compile_time_eval():
                found = _bound(equation, given)
        values.update(zip(equation.outvars, found, strict=True))
    return [v.val if isinstance(v, jaxpr_core.Literal) else values[v] for v in jaxpr.outvars]


def _bound(equation: Any, given: list[Any]) -> Sequence[Any]:
    name, params = equation.primitive.name, equation.params
    if name in NOTHING:
        return given
    if name == 'scan':
        return _unrolled(params, given)
    inner = params.get('jaxpr', params.get('call_jaxpr'))
    if inner is not None and name in ('jit', 'pjit', 'remat2', 'checkpoint', 'custom_jvp_call', 'custom_vjp_call'):
        closed = hasattr(inner, 'consts')
        return _evaluated(inner.jaxpr if closed else inner, inner.consts if closed else (), given)
    found = equation.primitive.bind(*given, **params)
    return found if equation.primitive.multiple_results else [found]


def _unrolled(params: dict[str, Any], given: list[Any]) -> Sequence[Any]:
    """A loop of `length` steps, one after the other."""
    consts, carry = params['num_consts'], params['num_carry']
    fixed, state, inputs = given[:consts], given[consts : consts + carry], given[consts + carry :]
    stacked: list[list[Any]] = []
    order = range(params['length'])
    for i in reversed(order) if params['reverse'] else order:
        found = _evaluated(params['jaxpr'].jaxpr, params['jaxpr'].consts, [*fixed, *state, *(x[i] for x in inputs)])
        state = found[:carry]
        stacked.append(found[carry:])
    if params['reverse']:
        stacked.reverse()
    return [*state, *(jax.numpy.stack(column) for column in zip(*stacked, strict=True))]
