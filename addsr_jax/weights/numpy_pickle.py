"""A pickle of numpy arrays in dicts, read without running anything that is in it.

What numpy writes for an array is a call of `_reconstruct` with an empty buffer, then a state: version, shape, dtype,
order, bytes. Both are understood here, by the interpreter of `torch_pickle`; no name is ever looked up.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from addsr_jax.errors import UserError, printable
from addsr_jax.weights.torch_pickle import DEEPEST, OPCODES, Machine, Name, Refused, Step, parse

RECONSTRUCT = ('numpy.core.multiarray _reconstruct', 'numpy._core.multiarray _reconstruct')
ARRAY, DTYPE = 'numpy ndarray', 'numpy dtype'
DTYPES = {name: np.dtype(f'<{name}') for name in ('f2', 'f4', 'f8')}


@dataclass
class Kind:
    """A dtype, which the pickle builds in two steps."""

    dtype: np.dtype


@dataclass
class Unfilled:
    """An array before its state arrived; the dict that holds it gets `found`."""

    found: list[np.ndarray] = field(default_factory=list)


def read(path: Path) -> dict[str, Any]:
    """Arrays in dicts of dicts; a UserError names the file and what is wrong with it."""
    try:
        content = _filled(parse(path.read_bytes(), NUMPY_OPCODES))
    except (Refused, OSError) as error:
        raise UserError(f'{path} cannot be trusted or read: {printable(str(error))}') from error
    if not isinstance(content, dict):
        raise UserError(f'{path} holds {type(content).__name__}, not a dict of arrays')
    return content


def _filled(content: Any) -> Any:
    """Arrays in place of what was built step by step, each dict once, however often the description repeats it."""
    done: dict[int, Any] = {}

    def walk(value: Any, depth: int) -> Any:
        if depth > DEEPEST:
            raise Refused(f'it has more than {DEEPEST} dicts inside dicts')
        if isinstance(value, dict):
            if id(value) not in done:
                done[id(value)] = {key: walk(part, depth + 1) for key, part in value.items()}
            return done[id(value)]
        if isinstance(value, Unfilled) and value.found:
            return value.found[0]
        raise Refused(f'{type(value).__name__} stands where an array has to')

    return walk(content, 0)


def _named(machine: Machine, argument: str) -> None:
    if argument not in (*RECONSTRUCT, ARRAY, DTYPE):
        raise Refused(f'it asks for {argument.replace(" ", ".")}, which is no part of an array')
    machine.push(Name(argument))


def _call(machine: Machine, argument: Any) -> None:
    arguments, function = machine.pop(), machine.pop()
    if function in map(Name, RECONSTRUCT) and arguments == (Name(ARRAY), (0,), b'b'):
        machine.push(Unfilled())
    elif function == Name(DTYPE) and isinstance(arguments, tuple) and arguments[0] in DTYPES:
        machine.push(Kind(DTYPES[arguments[0]]))
    else:
        raise Refused('it makes something else than arrays of floats')


def _build(machine: Machine, argument: Any) -> None:
    state, target = machine.pop(), machine.stack[-1]
    if isinstance(target, Kind):
        if state != (3, '<', None, None, None, -1, -1, 0):
            raise Refused('its numbers are not plain little-endian floats')
    elif isinstance(target, Unfilled):
        target.found.append(_array(*state))
    else:
        raise Refused(f'{type(target).__name__} is given a state')


def _array(version: Any, shape: Any, kind: Any, by_columns: Any, raw: Any) -> np.ndarray:
    if not (isinstance(kind, Kind) and isinstance(raw, bytes) and isinstance(shape, tuple)):
        raise Refused('an array is described in an unknown way')
    if not all(type(n) is int and n >= 0 for n in shape) or math.prod(shape) * kind.dtype.itemsize != len(raw):
        raise Refused(f'an array of shape {shape} has {len(raw)} bytes')
    return np.frombuffer(raw, kind.dtype).reshape(shape, order='F' if by_columns else 'C')


NUMPY_OPCODES: dict[str, Step] = {
    **{name: step for name, step in OPCODES.items() if name not in ('BINPERSID', 'STACK_GLOBAL')},
    **dict.fromkeys(('BINBYTES', 'SHORT_BINBYTES', 'BINBYTES8'), OPCODES['BININT']),
    'NEWFALSE': lambda machine, argument: machine.push(False),
    'GLOBAL': _named,
    'REDUCE': _call,
    'BUILD': _build,
}
