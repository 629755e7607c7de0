"""Files beside the tensors, which are copied as they are: tokenizer, words, low-rank adapters, card and licence.

A folder may be a stranger's, and what is copied from it may be published. So only files of names that something reads
are taken, and none that a link brings in from elsewhere: what it leads to would be copied in its place. The cache of
huggingface_hub consists of such links into its own folder of blobs, which are followed; so is what the package itself
brings, wherever an installer has put it.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from addsr_jax import places
from addsr_jax.data import tokens
from addsr_jax.errors import UserError
from addsr_jax.weights import adapters, model_file

PACKAGE = Path(__file__).parents[1]
TAG_LIST, THRESHOLDS = 'ram_tag_list.txt', 'ram_tag_list_threshold.txt'
TOKENIZER = 'tokenizer'
TAGS = 'tags'  # folder of the tagging head's words (`weights.tags`)
LORA = 'lora'  # folder of adapters
# folder of a bundle -> the names of files in it that something reads, or whose licence asks to be kept
FOLDERS = {
    TOKENIZER: tokens.NAMES,
    TAGS: (TAG_LIST, THRESHOLDS, 'LICENSE', 'NOTICE'),
    LORA: tuple(f'{network}/{adapters.FILE}' for network in ('unet', 'controlnet')),
}


def check(folder: Path) -> None:
    """A UserError where one of a bundle's files is none, or leads out of its folder."""
    notes(folder)
    for name in FOLDERS:
        found(folder / name, FOLDERS[name], folder)


def notes(folder: Path) -> dict[str, Path]:
    """{name: file} of a bundle's card and licence, where it has them beside its weights."""
    return found(folder, model_file.NOTES, folder)


def copy(source: Path, kind: str, target: Path) -> None:
    """One of FOLDERS, which lies in a folder of weights or in that of a published model."""
    for name, path in found(source, FOLDERS[kind], source.parent).items():
        places.copy(path, target / name)


def found(folder: Path, names: Iterable[str], root: Path) -> dict[str, Path]:
    """{name: file} of those that are there; a UserError where one is no regular file, or lies outside of `root`."""
    there = {name: folder / name for name in names if _is_there(folder / name)}
    for path in there.values():
        if places.kind(path) != 'file':
            raise UserError(f'{path} is no regular file: remove it, or copy the folder again')
        if not _is_inside(path, root):
            raise UserError(
                f'{path} is a link that leads out of {root}, and what it leads to would be copied: put the file itself '
                'there, or remove it'
            )
    return there


def _is_there(path: Path) -> bool:
    """A link that leads nowhere is there too."""
    return bool(places.kind(path)) if places.in_bucket(path) else os.path.lexists(path)


def _is_inside(path: Path, root: Path) -> bool:
    if places.in_bucket(path) or places.absolute(root).is_relative_to(PACKAGE):
        return True
    real, folder = path.resolve(), root.resolve()
    blobs = [place.parent / 'blobs' for place in folder.parents if place.name == 'snapshots']
    return any(real.is_relative_to(place) for place in (folder, *blobs))
