"""addsr convert: PyTorch checkpoints in, and back out.

python -m addsr_jax.convert from_pytorch --sd stable-diffusion-2-base --addsr addsr --ram ram.pth --dape DAPE.pth -o DIR
python -m addsr_jax.convert to_pytorch DIR -o FOLDER
python -m addsr_jax.convert inspect PATH
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from addsr_jax import places
from addsr_jax.errors import UserError, guard
from addsr_jax.flags import Parser, say, take
from addsr_jax.options import Options, option, to_data


@dataclass(frozen=True, kw_only=True)
class Sources(Options):
    """PyTorch checkpoints as their authors publish them."""

    sd: Path | None = option(
        'folder of stable-diffusion-2-base: tokenizer, scheduler, text_encoder, vae (and unet, to train a teacher)',
        default=None,
    )
    addsr: Path | None = option('folder with unet/ and controlnet/ of the student', default=None)
    seesr: Path | None = option('folder with unet/ and controlnet/ of the teacher', default=None)
    ram: Path | None = option('ram_swin_large_14m.pth', default=None)
    dape: Path | None = option('DAPE.pth', default=None)
    dino: Path | None = option('dino_deitsmall16_pretrain.pth, to train a student', default=None)
    dinov2: Path | None = option('dinov2_vits14_pretrain.pth, to train a student', default=None)


@dataclass(frozen=True, kw_only=True)
class Target(Options):
    """Where a conversion goes."""

    output: Path = option('new folder', short='o')


@dataclass(frozen=True, kw_only=True)
class Part(Options):
    """What goes back to PyTorch."""

    part: str = option('whose unet/ and controlnet/', default='student', choices=('student', 'teacher'))


def from_pytorch(arguments: Sequence[str]) -> None:
    p = Parser('convert from_pytorch', 'Writes PyTorch checkpoints as one folder that --weights takes.')
    p.declare(Sources)
    p.declare(Target)
    values = p.parse_args(arguments)
    sources, output = take(values, Sources), take(values, Target).output
    from addsr_jax.weights import conversion

    report = conversion.from_pytorch(conversion.plan(**to_data(sources)), output, say)
    say(f'{output}: {len(report["tensors"])} tensors, sha256 {report["sha256"]}')
    say(f'{output / conversion.REPORT} lists each of them')


def to_pytorch(arguments: Sequence[str]) -> None:
    p = Parser('convert to_pytorch', 'Writes a model as folders and files that the original classes load.')
    p.add_argument('weights', metavar='DIR', help="'nano', or a folder that training (final/) or from_pytorch wrote")
    p.declare(Target)
    p.declare(Part)
    values = p.parse_args(arguments)
    output, part = take(values, Target).output, take(values, Part).part
    from addsr_jax.weights import conversion

    conversion.to_pytorch(values.weights, output, part, say)


def inspect(arguments: Sequence[str]) -> None:
    p = Parser('convert inspect', 'Says what a folder of weights or a file of tensors holds.')
    p.add_argument(
        'path', metavar='PATH', type=places.local, help="'nano', a folder, or a .safetensors, .bin or .pth file"
    )
    values = p.parse_args(arguments)
    from addsr_jax.weights import conversion

    for line in conversion.inspect(values.path):
        say(line)


ACTIONS = {'from_pytorch': from_pytorch, 'to_pytorch': to_pytorch, 'inspect': inspect}


def main(arguments: Sequence[str]) -> None:
    if not arguments or arguments[0] in ('-h', '--help'):
        say('usage: addsr convert ACTION ...')
        say('')
        say('  from_pytorch --sd DIR [--addsr DIR] [--ram FILE] ... -o DIR   checkpoints as one folder for --weights')
        say('  to_pytorch DIR -o FOLDER [--part PART]    files of the original classes (default: PART is student)')
        say('  inspect PATH                              what weights or a file of tensors hold')
        say('')
        say('addsr convert ACTION --help says more')
        return
    action, *rest = arguments
    if action not in ACTIONS:
        raise UserError(f'convert: there is no {action!r}: choose one of {", ".join(ACTIONS)}')
    ACTIONS[action](rest)


if __name__ == '__main__':
    sys.exit(guard(main))
