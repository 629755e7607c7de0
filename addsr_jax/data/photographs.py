"""The one rule of which files of a folder are photographs, for training and the commands alike."""

import stat
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path

from addsr_jax import places
from addsr_jax.data import formats
from addsr_jax.errors import UserError, printable

TEXTS = ('.txt', '.TXT')  # endings of captions
# folders in which macOS, network disks and Windows keep thumbnails and what was deleted, in small letters
OF_SYSTEMS = ('__macosx', '@eadir', '#recycle', '@recycle', '$recycle.bin')


@dataclass(frozen=True)
class Found:
    """Photographs, sorted by path, and how many entries of the folder were left out: {reason: count}."""

    paths: tuple[Path, ...]
    left_out: dict[str, int]
    texts: frozenset[Path] | None = None  # those of a bucket, where looking for each would take long
    within: tuple[Path, ...] = ()  # photographs in the folder of results; those of a bucket are not looked for

    @property
    def remark(self) -> str:
        """What was left out, in words: '3 hidden, 1 of another kind'; '' for nothing."""
        return ', '.join(f'{count} {reason}' for reason, count in sorted(self.left_out.items()))


def photographs(folder: Path, *, recursive: bool, without: Path | None = None) -> Found:
    """Regular files with an ending of a picture, in subfolders too if `recursive`; links are followed.

    Hidden files and folders, those that systems make beside photographs among them, are left out. A folder that links
    reach twice is searched once, and what lies in `without`, a folder of results, is kept apart. Text files are no
    photographs and not counted: they are captions. UserError where there is no such folder or no photograph.
    """
    search = _in_bucket if places.in_bucket(folder) else _here
    found = search(folder, recursive, without)
    if not found.paths:
        more = f' (left out: {found.remark})' if found.remark else ''
        raise UserError(f'{printable(str(folder), 4096)} holds no images{more}')
    return found


def text_of(photograph: Path, texts: frozenset[Path] | None = None) -> Path | None:
    """The text beside a photograph, which is its caption, if there is one. texts: all there are; None: look for it."""
    beside = map(photograph.with_suffix, TEXTS)
    return next((path for path in beside if (path.exists() if texts is None else path in texts)), None)


def _in_bucket(folder: Path, recursive: bool, without: Path | None) -> Found:
    """One question for each folder, none for each file; text files are told as well."""
    paths: list[Path] = []
    texts: set[Path] = set()
    left_out: Counter[str] = Counter()
    with places.answering(folder, 'read'):
        for place, folders, names in places.walk(folder):
            if any(_hidden(part) for part in place.relative_to(folder).parts):
                continue
            if without not in (None, folder) and without in (place, *place.parents):
                continue
            left_out['hidden'] += sum(map(_hidden, folders)) if recursive else 0
            for name in names:
                kind = 'hidden' if _hidden(name) else _kind_of_file(place / name)
                if kind == 'photograph':
                    paths.append(place / name)
                elif kind == 'text':
                    texts.add(place / name)
                else:
                    left_out[kind] += 1
            if not recursive:
                break
    return Found(tuple(sorted(paths)), dict(+left_out), frozenset(texts))


def _here(folder: Path, recursive: bool, without: Path | None) -> Found:
    if places.kind(folder) != 'folder':
        raise UserError(f'there is no folder {printable(repr(str(folder)), 4096)}')
    paths: list[Path] = []
    within: list[Path] = []
    left_out: Counter[str] = Counter()
    real, linked, seen = deque([(folder, paths)]), deque[tuple[Path, list[Path]]](), set()
    results = _identity(without) - _identity(folder)
    while real or linked:  # links last, so that a photograph has its own folder's name
        place, into = real.popleft() if real else linked.popleft()
        try:
            status = place.stat()
            entries = sorted(place.iterdir())
        except OSError:
            left_out['that cannot be opened'] += 1
            continue
        if (status.st_dev, status.st_ino) in seen:
            left_out['linked twice'] += 1
            continue
        seen.add((status.st_dev, status.st_ino))
        if (status.st_dev, status.st_ino) in results:
            into = within
        for path in entries:
            kind = _kind(path)
            if kind == 'photograph':
                into.append(path)
            elif kind == 'folder':
                if recursive:
                    (linked if path.is_symlink() else real).append((path, into))
            elif kind != 'text' and into is paths:
                left_out[kind] += 1
    return Found(tuple(sorted(paths)), dict(left_out), within=tuple(sorted(within)))


def _identity(folder: Path | None) -> set[tuple[int, int]]:
    """What tells a folder from others whatever its name, if it is there."""
    if folder is None or places.in_bucket(folder) or places.kind(folder) != 'folder':
        return set()
    status = folder.stat()
    return {(status.st_dev, status.st_ino)}


def _kind(path: Path) -> str:
    """'photograph', 'folder', 'text', or the reason to leave an entry out."""
    if _hidden(path.name):
        return 'hidden'
    try:
        mode = path.stat().st_mode
    except OSError:  # a link to nothing, or to itself
        return 'that cannot be opened'
    if stat.S_ISDIR(mode):
        return 'folder'
    kind = _kind_of_file(path)
    return kind if kind != 'photograph' or stat.S_ISREG(mode) else 'no regular files'


def _hidden(name: str) -> bool:
    return name.startswith('.') or name.lower() in OF_SYSTEMS


def _kind_of_file(path: Path) -> str:
    """By its ending."""
    ending = path.suffix.lower()
    if formats.of_ending(ending) == formats.HEIF and not formats.has_heif():
        return formats.heif_missing()
    if ending in formats.ENDINGS:
        return 'photograph'
    return 'text' if path.suffix in TEXTS else 'of another kind'
