"""FLOPs of a traced program: matrix products and convolutions, bodies of loops as often as they run.

One multiply-add counts 2. XLA's own count takes the body of a loop once, and a kernel of a library not at all.
"""

import math
from collections.abc import Iterator
from typing import Any

from jax.extend import core


def flops(jaxpr: Any) -> float:
    """Of a jaxpr, over all devices together. Of two branches the dearer one counts; a loop without a length once."""
    return sum(of_equation(equation) for equation in getattr(jaxpr, 'jaxpr', jaxpr).eqns)


def of_equation(equation: Any) -> float:
    name, params = equation.primitive.name, equation.params
    if name == 'dot_general':
        return product(equation)
    if name == 'conv_general_dilated':
        return convolution(equation)
    inner = [flops(jaxpr) for jaxpr in jaxprs(params)]
    if name == 'cond':
        return max(inner)
    return repeats(name, params) * sum(inner)


def repeats(name: str, params: dict[str, Any]) -> int:
    """How often what is inside an equation runs: turns of a loop, places of a grid, devices with a share each."""
    if name == 'scan':
        return params['length']
    if name == 'pallas_call':
        return math.prod(params['grid_mapping'].grid)
    return params['mesh'].size if name == 'shard_map' else 1


def jaxprs(params: dict[str, Any]) -> Iterator[Any]:
    """The programs inside an equation."""
    for value in params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            if isinstance(part, core.Jaxpr | core.ClosedJaxpr):
                yield part


def product(equation: Any) -> float:
    """2 x every element of the result x the length that is summed over."""
    (contracted, _), _ = equation.params['dimension_numbers']
    left = equation.invars[0].aval.shape
    return 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)


def convolution(equation: Any) -> float:
    """2 x every element of the result x the taps of its window that are not zeros between the inputs."""
    numbers, kernel = equation.params['dimension_numbers'], equation.invars[1].aval.shape
    taps = math.prod(kernel[axis] for axis in numbers.rhs_spec[1:])  # input channels of a group, and the window
    zeros = math.prod(equation.params['lhs_dilation'])
    return 2.0 * math.prod(equation.outvars[0].aval.shape) * taps / zeros
