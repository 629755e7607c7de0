"""addsr export: the sampler with its weights as one file, for programs that have no addsr.

python -m addsr_jax.export nano -o nano.zip --steps 1       for jax: StableHLO, for cpu, cuda and tpu
python -m addsr_jax.export nano -o nano.onnx --steps 1      ONNX
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from addsr_jax.errors import UserError, guard
from addsr_jax.flags import Parser, require, say, take
from addsr_jax.options import Options, declared, option
from addsr_jax.restoration.settings import Settings

TAKEN = ('method', 'steps', 'psr_weight', 'antithetic', 'tiny_decoder', 'guidance_scale', 'prompt', 'negative_prompt')


@dataclass(frozen=True, kw_only=True)
class Command(Options):
    """What `export` takes beside weights and settings."""

    output: Path = option('file: .zip for jax, .onnx for ONNX', short='o')
    side: int = option('of a tile of the result', default=512, low=64, high=4096, multiple_of=64, unit='pixels')
    batch: int | None = option(
        'tiles in a call', default=None, unset='any number; 1 of ONNX', low=1, high=1024, unit='tiles'
    )
    platforms: tuple[str, ...] = option(
        'that a .zip runs on, with commas',
        default=('cpu', 'cuda', 'tpu'),
        choices=('cpu', 'cuda', 'rocm', 'tpu'),
        least_items=1,
    )
    dtype: str = option('of weights and compute', default='float32', choices=('float32', 'bfloat16'))
    overwrite: bool = option('replace an earlier file', default=False)


def main(arguments: Sequence[str]) -> None:
    parser = Parser('export', 'Writes the sampler with its weights as one file, for jax or as ONNX.')
    parser.add_argument(
        'weights', metavar='WEIGHTS', help="'nano', a folder of training (final/) or convert, or ORG/NAME of a hub"
    )
    parser.declare(Command)
    parser.declare(Settings, without=[name for name in declared(Settings) if name not in TAKEN])
    values = parser.parse_args(arguments)
    command, settings = take(values, Command), take(values, Settings)
    if command.output.suffix not in ('.zip', '.onnx'):
        raise UserError(f'--output is {command.output}: it must end in .zip (for jax) or .onnx')
    if command.output.exists() and not command.overwrite:
        raise UserError(f'{command.output} exists: add --overwrite, or choose another --output')
    is_onnx = command.output.suffix == '.onnx'
    if is_onnx:
        require('onnx', 'jax2onnx', 'onnx')
    from addsr_jax.restoration import exported, pipeline
    from addsr_jax.weights import hub

    # a kernel that every platform has, whatever this machine's own is
    model = pipeline.load(hub.located(values.weights, say), dtype=command.dtype, attention='chunked')
    made = exported.sampled(model, settings, (command.side, command.side))
    if is_onnx:
        say('converting, for some minutes at full size')
        exported.write_onnx(made, command.output, command.batch or 1)
    else:
        exported.write(made, command.output, command.platforms, command.batch)
    size = command.output.stat().st_size / 1e6
    batch = command.batch or (1 if is_onnx else 'any')
    lq, noise = (f'{name} {[batch, *made.about[name]]}'.replace("'", '') for name in ('lq', 'noise'))
    say(f'{command.output}  {size:.1f} MB: {lq}, {noise}')


if __name__ == '__main__':
    sys.exit(guard(main))
