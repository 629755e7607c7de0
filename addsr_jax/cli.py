"""addsr COMMAND ...: the same as python -m addsr_jax.COMMAND. addsr PHOTO ...: upscale, with the result beside it."""

import glob
import importlib
import os
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from addsr_jax import __version__, places
from addsr_jax.data import formats
from addsr_jax.errors import UserError, guard, printable, put

COMMANDS = {
    'upscale': 'photographs, four times larger and sharp',
    'serve': 'a page that restores photographs, for several people at once',
    'evaluate': 'PSNR, SSIM, NIQE, LPIPS and DISTS on pairs of images',
    'train': 'one stage of training, from its config file',
    'convert': 'PyTorch checkpoints in, and back out',
    'export': 'the sampler with its weights as one file, for jax or ONNX',
    'push': 'weights as files for a hub, with a model card',
    'tag': 'words for training pictures, as files beside them',
    'pack': 'training pictures and their captions into a few large files',
    'plan': 'memory, FLOPs and time of a run, on machines that need not be there',
    'benchmark': 'speed and memory of this machine',
    'ablate': 'many training runs, and the table of what each idea changes',
    'demo': 'training and upscaling on sample photographs, in a few minutes',
    'doctor': 'what this machine has, what is wrong, and the command that mends it',
}


def run() -> int:
    """The console script."""
    return guard(main)


def main(arguments: Sequence[str]) -> None:
    if not arguments or arguments[0] in ('-h', '--help'):
        put('usage: addsr COMMAND ...\n       addsr PHOTO ...      upscale, with the result beside it\n\n')
        put(''.join(f'  {name:10} {text}\n' for name, text in COMMANDS.items()))
        put('\naddsr COMMAND --help says more; addsr --version the version.\n')
        return
    command, *rest = arguments
    if command == '--version':
        put(f'addsr-jax {__version__}\n')
        return
    if command not in COMMANDS:
        if not is_input(command):
            said = printable(repr(command))
            if command.startswith('-'):
                raise UserError(
                    f'{said} stands first: options come after the command or the photo, as addsr PHOTO -o X'
                )
            raise UserError(f'there is no command and no file {said}: choose one of {", ".join(COMMANDS)}')
        command, rest = 'upscale', [*arguments, *beside(arguments)]
    importlib.import_module(f'addsr_jax.{command}').main(rest)


def is_input(word: str) -> bool:
    """Whether `upscale` would take it for something to restore: it is there, or is called like a picture."""
    return not word.startswith('-') and (os.path.lexists(word) or bool(formats.of_ending(Path(word).suffix)))


def beside(arguments: Sequence[str]) -> list[str]:
    """-o for what is named before the first option, where none is given: a picture's own folder, or FOLDER_x4."""
    if any(word.startswith(('-o', '--output')) for word in arguments):
        return []
    words = list(takewhile(lambda word: not word.startswith('-'), arguments))
    inputs = [Path(word) for word in words]
    if len(inputs) == 1 and inputs[0].is_dir():
        folder = Path(os.path.abspath(inputs[0]))  # '..' has a name of its own
        if not folder.name:
            raise UserError(f'-o is missing: {folder} lies in no folder, so say where the results go')
        return ['-o', str(folder.with_name(f'{folder.name}_x4'))]
    folders = {path.parent for path in inputs}
    if any(glob.has_magic(str(folder)) and not folder.exists() for folder in folders):
        raise UserError('-o is missing: of a pattern of folders, say where the results go')
    if len(folders) > 1 or any(path.is_dir() for path in inputs) or any(map(places.in_bucket, words)):
        raise UserError('-o is missing: of several folders, or of a bucket, say where the results go')
    return ['-o', str(folders.pop())]
