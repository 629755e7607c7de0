"""addsr COMMAND ...: the same as python -m addsr_jax.COMMAND."""

import importlib
import sys
from collections.abc import Sequence

from addsr_jax import __version__
from addsr_jax.errors import UserError, guard

COMMANDS = {
    'upscale': 'photographs, four times larger and sharp',
    'serve': 'a page that restores photographs, for several people at once',
    'evaluate': 'PSNR, SSIM and NIQE on pairs of images',
    'train': 'one stage of training, from its config file',
    'convert': 'PyTorch checkpoints in, and back out',
    'tag': 'words for training pictures, as files beside them',
    'pack': 'training pictures and their captions into a few large files',
    'plan': 'memory, FLOPs and time of a run, on machines that need not be there',
    'benchmark': 'speed and memory of this machine',
    'ablate': 'many training runs, and the table of what each idea changes',
    'demo': 'training and upscaling on sample photographs, in a few minutes',
}


def run() -> int:
    """The console script."""
    return guard(main)


def main(arguments: Sequence[str]) -> None:
    if not arguments or arguments[0] in ('-h', '--help'):
        sys.stdout.write('usage: addsr COMMAND ...\n\n')
        sys.stdout.writelines(f'  {name:10} {text}\n' for name, text in COMMANDS.items())
        sys.stdout.write('\naddsr COMMAND --help says more; addsr --version the version.\n')
        return
    command, *rest = arguments
    if command == '--version':
        sys.stdout.write(f'addsr-jax {__version__}\n')
        return
    if command not in COMMANDS:
        raise UserError(f'there is no command {command!r}: choose one of {", ".join(COMMANDS)}')
    importlib.import_module(f'addsr_jax.{command}').main(rest)
