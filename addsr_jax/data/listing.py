"""The one rule of what a photograph is: which files of a folder are taken, and why others are not."""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from addsr_jax.data.pictures import ENDINGS

SKIPPED_FOLDERS = ('__MACOSX',)  # hidden ones are skipped as well: .ipynb_checkpoints, .git


@dataclass(frozen=True)
class Listing:
    """Photographs in order, and what else was there."""

    paths: tuple[Path, ...]
    left_out: Counter[str]  # reason -> number of files or folders

    @property
    def told(self) -> str:
        """'; left out: 3 hidden, 1 no photograph', or ''."""
        reasons = ', '.join(f'{count} {reason}' for reason, count in sorted(self.left_out.items()))
        return f'; left out: {reasons}' if reasons else ''


def photographs(folder: Path, *, recursive: bool) -> Listing:
    """Files of a folder that are photographs by their ending, sorted.

    Hidden files and folders are not looked at, links are followed, each folder is seen once, and nothing but regular
    files is ever opened. A caption (.txt) beside a photograph counts as nothing.
    """
    left_out: Counter[str] = Counter()
    found = sorted(_found(folder, recursive, left_out, set()))
    return Listing(tuple(found), left_out)


def _found(folder: Path, recursive: bool, left_out: Counter[str], seen: set[tuple[int, int]]) -> Iterator[Path]:
    try:
        about = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        left_out['folders that cannot be read'] += 1
        return
    if (about.st_dev, about.st_ino) in seen:
        left_out['folders seen before'] += 1
        return
    seen.add((about.st_dev, about.st_ino))
    for entry in entries:
        path = folder / entry.name
        if entry.name.startswith('.') or entry.name in SKIPPED_FOLDERS:
            left_out['hidden'] += 1
            continue
        try:
            kind = path.stat().st_mode  # of what a link points at; nothing is opened
        except OSError:
            left_out['links to nothing'] += 1
            continue
        if stat.S_ISDIR(kind):
            if recursive:
                yield from _found(path, recursive, left_out, seen)
        elif path.suffix.lower() == '.txt':
            continue
        elif not stat.S_ISREG(kind):
            left_out['no files'] += 1
        elif path.suffix.lower() not in ENDINGS:
            left_out['no photographs'] += 1
        else:
            yield path
