"""A function as one flat list of primitives: calls inlined, loops written out, what no input decides computed.

Converters to other formats know primitives; what wraps them, and constants that are computed again in every call, they
carry along.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import numpy as np
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
        with _early(given):
            found = _bound(equation, given)
        values.update(zip(equation.outvars, found, strict=True))
    return [v.val if isinstance(v, jaxpr_core.Literal) else values[v] for v in jaxpr.outvars]


def _bound(equation: Any, given: list[Any]) -> Sequence[Any]:
    name, params = equation.primitive.name, equation.params
    if name in NOTHING:
        return given
    if name == 'select_n' and not isinstance(given[0], Tracer) and (cases := np.unique(given[0])).size == 1:
        return [given[1 + int(cases[0])]]  # a mask that hides nothing
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
        rows = []
        for x in inputs:
            with _early([x]):
                rows.append(x[i])
        found = _evaluated(params['jaxpr'].jaxpr, params['jaxpr'].consts, [*fixed, *state, *rows])
        state = found[:carry]
        stacked.append(found[carry:])
    if params['reverse']:
        stacked.reverse()
    whole = []
    for column in zip(*stacked, strict=True):
        with _early(column):
            whole.append(jax.numpy.stack(column))
    return [*state, *whole]


def _early(given: Sequence[Any]) -> AbstractContextManager[Any]:
    """Where no input decides what is given, what becomes of it is computed at once."""
    decided = any(isinstance(value, Tracer) for value in given)
    return nullcontext() if decided else jax.ensure_compile_time_eval()
