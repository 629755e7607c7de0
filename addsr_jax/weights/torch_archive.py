"""The zip archive of a .pth or .bin file: opened within bounds, and once for all of its tensors."""

import zipfile
from collections import Counter
from pathlib import Path
from typing import Any, cast

LARGEST_DIRECTORY = 1 << 20  # bytes of the list of entries; a hundred for a tensor
SEARCHED = 1 << 18  # bytes at the end of a file in which zipfile looks for where that list is


class Refused(ValueError):
    """The description holds something else than tensors in dicts."""


class Opening:
    """A file for zipfile, which reads the list of entries whole, and all fields in it, before anybody can ask how many.

    Closed when nobody has it any more.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open('rb')
        self.left: int | None = LARGEST_DIRECTORY + SEARCHED  # bytes; None: it is open
        self.seek, self.tell, self.seekable = self._file.seek, self._file.tell, self._file.seekable

    def read(self, size: int = -1) -> bytes:
        if self.left is None:
            return self._file.read(size)
        content = self._file.read(self.left + 1 if size < 0 else min(size, self.left + 1))
        self.left -= len(content)
        if self.left < 0:
            raise Refused(f'its list of entries has more than {LARGEST_DIRECTORY} bytes, far more than tensors need')
        return content

    def __del__(self) -> None:
        if hasattr(self, '_file'):
            self._file.close()


class Archive:
    """A file of torch.save, which stays open for as long as one of its tensors may be read."""

    def __init__(self, path: Path) -> None:
        file = Opening(path)
        self.file = zipfile.ZipFile(cast(Any, file))
        file.left = None
        self._uses: Counter[str] = Counter()
        self._last = ('', b'')  # of storages that several tensors share: its entry, and its bytes

    def used(self, entry: str) -> None:
        """One more tensor is in the storage."""
        self._uses[entry] += 1

    def storage(self, entry: str) -> bytes:
        name, content = self._last
        if name != entry:
            content = self.file.read(entry)  # zipfile checks the sum
            if self._uses[entry] > 1:
                self._last = entry, content
        return content
