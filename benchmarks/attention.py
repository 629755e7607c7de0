"""Every kernel of attention beside the whole matrix: error, memory and time over lengths, for docs/performance.md.

    python -m benchmarks.attention [--lengths 1000,1023,1024,1100,4096] [--heads 5] [--width 64] [--kernels chunked]

Self-attention of one picture in float32: result and gradients to q, k and v under random weights. Error: the largest
difference from `einsum` of any of them. Memory: temporary bytes by the compiler's plan, of the result alone and of
result and gradients. CPU-seconds of the process on CPU, else seconds; the least of --repeats. A kernel that this device
does not have is refused; flash runs in Pallas' interpreter with --interpret, whose times mean nothing and are left out.
"""

import argparse
import contextlib
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from addsr_jax.errors import UserError, guard
from addsr_jax.flags import say
from addsr_jax.ops import attention
from addsr_jax.ops.attention import KERNELS, LONG

LENGTHS = '1000,1023,1024,1025,1050,1075,1100,4096'


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--lengths', default=LENGTHS, help='tokens')
    parser.add_argument('--heads', type=int, default=5)
    parser.add_argument('--width', type=int, default=64, help='of a head')
    parser.add_argument('--kernels', default='chunked', help=f'of {", ".join(KERNELS)}')
    parser.add_argument('--interpret', action='store_true', help="flash in Pallas' interpreter")
    parser.add_argument('--repeats', type=int, default=3)
    values = parser.parse_args(arguments)
    names = values.kernels.split(',')
    for name in names:
        if not (values.interpret and name == 'flash'):
            attention.chosen(name, jax.devices()[0], jnp.float32)
    lengths = [_length(text) for text in values.lengths.split(',')]
    jax.config.update('jax_default_matmul_precision', 'highest')
    say(f'{jax.devices()[0].device_kind}, {values.heads} heads of {values.width}, float32, jax {jax.__version__}\n')
    say('| tokens | kernel | error | MB | MB with gradients | ms | ms with gradients |')
    say('| --- | --- | --- | --- | --- | --- | --- |')
    for length in lengths:
        arrays = _arrays(length, values.heads, values.width)
        wanted = None
        for name in ('einsum', *(n for n in names if n != 'einsum')):
            interpreted = name == 'flash' and values.interpret
            with _interpreter() if interpreted else contextlib.nullcontext():
                found, row = measured(name, arrays, 0 if interpreted else values.repeats)
            wanted = found if wanted is None else wanted
            error = max(float(np.abs(a - b).max()) for a, b in zip(found, wanted, strict=True))
            say(f'| {length} | {name} | {error:.1e} | {" | ".join(row)} |')


def measured(name: str, arrays: Sequence[jax.Array], repeats: int) -> tuple[list[np.ndarray], list[str]]:
    """(result and gradients, memory and times as text)."""
    # the kernel itself, also below LONG tokens, where networks take the whole matrix
    *qkv, weights = arrays
    kernel = KERNELS[name]

    def both(weights: jax.Array, *qkv: jax.Array) -> Any:
        out, back = jax.vjp(kernel, *qkv)
        return out, *back(weights)

    arguments = (qkv, [weights, *qkv])
    programs = [jax.jit(f).lower(*given).compile() for f, given in zip((kernel, both), arguments, strict=True)]
    found = [np.asarray(x) for x in programs[1](*arguments[1])]
    memory = [f'{_temporary(program) / 1e6:.0f}' for program in programs]
    calls = [partial(program, *given) for program, given in zip(programs, arguments, strict=True)]
    times = [f'{1e3 * min(_seconds(call) for _ in range(repeats)):.0f}' if repeats else '' for call in calls]
    return found, [*memory, *times]


def _temporary(program: Any) -> int:
    return program.memory_analysis().temp_size_in_bytes


def _seconds(call: Any) -> float:
    clock = time.process_time if jax.devices()[0].platform == 'cpu' else time.perf_counter
    began = clock()
    jax.block_until_ready(call())
    return clock() - began


def _arrays(length: int, heads: int, width: int) -> list[jax.Array]:
    """q, k, v and the weights of a loss, [1, T, H, D] each."""
    return list(jax.random.normal(jax.random.key(length), (4, 1, length, heads, width)))


def _interpreter() -> Any:
    from jax.experimental.pallas import tpu

    return tpu.force_tpu_interpret_mode()


def _length(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) <= 1_000_000:
        raise UserError(f'--lengths has {text!r}: write tokens with commas, as {LONG},4096')
    return int(text)


if __name__ == '__main__':
    sys.exit(guard(main))
