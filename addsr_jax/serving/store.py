"""The files of a running page: in one private folder, each for a while, and none after the end."""

import fcntl
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from addsr_jax import atomic
from addsr_jax.errors import UserError

PREFIX = 'addsr-serve-'


class Store:
    """A folder that only this user reads, held by a lock that ends with the process.

    What a killed process has left is removed by the next that starts.
    """

    def __init__(self, keep: float, most: float) -> None:
        """keep: seconds that a file is kept. most: bytes of all files, from which on `is_full`."""
        self.keep, self.most, self._ended = keep, most, threading.Event()
        self._busy: set[Path] = set()
        remove_abandoned()
        try:
            self.root = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
            self._lock = os.open(self.root, os.O_RDONLY)
        except OSError as error:
            raise UserError(f'no folder for uploads can be made in {tempfile.gettempdir()}: {error}') from error
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._sweeper = threading.Thread(target=self._sweep_often, daemon=True)
        self._sweeper.start()

    @contextmanager
    def working(self) -> Iterator[Path]:
        """A new folder, of a name that nobody guesses; while inside, nothing of it is old."""
        made = self.root / secrets.token_hex(16)
        made.mkdir(mode=0o700)
        self._busy.add(made)
        try:
            yield made
        finally:
            self._busy.discard(made)

    def is_full(self) -> bool:
        """Whether there is no room for one more upload."""
        found: dict[tuple[int, int], int] = {}  # size by file: a photograph at work stands in two folders
        for place, _, names in os.walk(self.root):
            for path in (Path(place, name) for name in names):
                with suppress(OSError):  # gone meanwhile
                    stat = path.lstat()
                    found[stat.st_dev, stat.st_ino] = stat.st_size
        return sum(found.values()) > self.most

    def sweep(self) -> None:
        """Removes what is older than `keep`: by the time of its last change, which a second upload renews."""
        oldest = time.time() - self.keep
        for top in set(self.root.iterdir()) - self._busy:
            for place, _, names in os.walk(top, topdown=False):
                for path in (Path(place, name) for name in names):
                    with suppress(OSError):
                        if path.lstat().st_ctime < oldest:
                            path.unlink()
                with suppress(OSError):
                    if os.stat(place).st_ctime < oldest:
                        os.rmdir(place)  # where it is empty
            with suppress(OSError):
                if top.is_file() and top.lstat().st_ctime < oldest:  # an upload that was not finished
                    top.unlink()

    def close(self) -> None:
        self._ended.set()
        self._sweeper.join()
        shutil.rmtree(self.root, ignore_errors=True)
        os.close(self._lock)

    def _sweep_often(self) -> None:
        while not self._ended.wait(min(30, self.keep / 4)):
            self.sweep()


def remove_abandoned() -> None:
    """Folders of processes that have ended without a word; a fresh one may not have its lock yet."""
    for found in Path(tempfile.gettempdir()).glob(f'{PREFIX}*'):
        with suppress(OSError):
            if time.time() - found.stat().st_ctime >= 5:
                atomic.remove_unlocked(found)
