"""Files and folders that appear whole or not at all: written under a temporary name, then moved to their place.


A process that is killed at any point leaves the old or the new. Temporary names are short, whatever the final name, and
random: two that write the same file do not share one. Objects of a bucket appear whole by themselves, and are made on
this machine first.
"""

import ctypes
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from addsr_jax import places
from addsr_jax.errors import UserError

TEMPORARY = re.compile(r'\.[0-9a-f]{16}\.writing')
EXCHANGE = 2  # RENAME_EXCHANGE of Linux
HERE = -100  # AT_FDCWD


def write(path: Path, how: Callable[[Path], object]) -> None:
    """`how` writes to the path that it is given, where an empty file lies unless it is for a bucket; folders are made.

    UserError where the disk refuses, or the bucket.
    """
    if places.in_bucket(path):
        places.write_here(path, how)
        return
    temporary = beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            how(temporary)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(f'{path} cannot be written: {error}') from error


def write_text(path: Path, text: str) -> None:
    """UTF-8."""
    write(path, lambda temporary: temporary.write_text(text, encoding='utf-8'))


def write_json(path: Path, value: Any, **options: Any) -> None:
    """Indented by one; `options` of json.dumps."""
    write_text(path, json.dumps(value, indent=1, **options) + '\n')


def beside(path: Path) -> Path:
    """A name in the same folder that nobody else has."""
    return path.with_name(f'.{secrets.token_hex(8)}.writing')


@contextmanager
def folder(path: Path) -> Iterator[Path]:
    """A new folder, which takes the place of `path` when all went well and vanishes when not.

    UserError where the disk refuses. What killed processes have left here is removed first: it may be gigabytes.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path.parent)
        unfinished, lock = _locked_folder(path)
        try:
            yield unfinished
            _replace(unfinished, path)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)  # with what stood there before, or what was not finished
            os.close(lock)
    except OSError as error:
        raise UserError(f'{path} cannot be written: {error}') from error


def _locked_folder(path: Path) -> tuple[Path, int]:
    """A folder of a new name, held by a lock that ends with this process."""
    while True:
        made = beside(path)
        made.mkdir()
        lock = os.open(made, os.O_RDONLY)
        with suppress(OSError):  # a disk without locks: then nothing is ever taken for abandoned
            fcntl.flock(lock, fcntl.LOCK_EX)
        if made.exists():  # nobody has removed it between the two
            return made, lock
        os.close(lock)


def remove_abandoned(place: Path) -> None:
    """Temporary folders in `place` whose process has ended."""
    for found in place.iterdir():
        if TEMPORARY.fullmatch(found.name) and found.is_dir():
            remove_unlocked(found)


def remove_unlocked(folder: Path) -> None:
    """A folder with all in it, unless a process holds its lock or it cannot be opened."""
    with suppress(OSError):
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)


def _replace(source: Path, target: Path) -> None:
    """Moves a folder to its place; the one that stood there, if any, is at `source` afterwards."""
    if not target.exists():
        source.rename(target)
    elif not _exchanged(source, target):
        old = beside(target).with_suffix('.old')  # which no one takes for abandoned, should this process end here
        target.rename(old)
        source.rename(target)
        old.rename(source)


def _exchanged(one: Path, other: Path) -> bool:
    """Whether the two have changed places, in one step. Linux can, on its own disks."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), 'renameat2', None) if sys.platform == 'linux' else None
    if rename is None:
        return False
    if rename(HERE, os.fsencode(one), HERE, os.fsencode(other), EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(other))
