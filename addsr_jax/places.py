"""Where files lie: on this machine, or in a bucket of Google Cloud Storage (`gs://BUCKET/...`).

`place` makes a path of what somebody typed. All else uses the methods that paths of both kinds have (`/`, `name`,
`exists`, `iterdir`, `read_bytes`, ...: pathlib's, and those of etils.epath, whose paths are annotated as `Path` here),
and the functions below for what they do not share. A bucket has neither folders nor renames nor locks; an object
appears whole when it is written, and replaces the one of its name.
"""

import errno
import functools
import importlib.util
import logging
import os
import shutil
import stat
import tempfile
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from addsr_jax import attempts
from addsr_jax.errors import UserError, printable
from addsr_jax.installation import with_extra

BUCKET = 'gs://'
if importlib.util.find_spec('gcsfs') is not None:  # epath would take tensorflow's client where that is installed too
    os.environ.setdefault('EPATH_USE_TF', 'false')


def place(text: str | os.PathLike) -> Path:
    """The path that somebody means; '~' is their home. UserError where it can be no place, or no bucket is reached."""
    name = os.fspath(text)
    if not name.startswith(BUCKET):
        return local(name)
    if not name.removeprefix(BUCKET).strip('/'):
        raise UserError(f'{name} names no bucket: write gs://BUCKET/FOLDER')
    if importlib.util.find_spec('gcsfs') is None:
        raise UserError(f'{printable(name)} needs gcsfs, which is not installed: {with_extra("gcs")}')
    _prepare_client()
    from etils import epath

    return cast(Path, epath.Path(name))


def local(text: str | os.PathLike) -> Path:
    """As `place`, of this machine alone."""
    name = os.fspath(text)
    scheme = name.partition(':/')[0]
    if name.startswith(BUCKET):
        raise UserError(f'{printable(name)} lies in a bucket: give a path on this machine')
    if scheme != name and scheme.isalnum() and (scheme.lower() == 'gs' or '://' in name):
        raise UserError(f'{printable(name)} is no path on this machine: of other places only gs://BUCKET/... is read')
    return Path(os.path.expanduser(name))  # pathlib's own raises where it knows no home


@functools.cache
def _prepare_client() -> None:
    """Objects are written by Orbax too: no listing is remembered. What went wrong is said once, by us."""
    os.environ.setdefault('GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT', 'false')  # asks for the kind of bucket at every call
    from fsspec.config import conf

    conf.setdefault('gcs', {}).setdefault('use_listings_cache', False)
    logging.getLogger('gcsfs').setLevel(logging.CRITICAL)


def in_bucket(path: str | Path) -> bool:
    return str(path).startswith(BUCKET)


def absolute(path: Path) -> Path:
    """Whatever the working directory is."""
    return path if in_bucket(path) else path.absolute()


@contextmanager
def answering(path: Path, doing: str) -> Iterator[None]:
    """What the client of a bucket raises inside becomes one UserError: '... cannot be `doing`'. Others pass.

    Momentary where the bucket does not answer.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # its clients raise nearly everything
        if not in_bucket(path):
            raise
        kind = attempts.kind_of(error) or UserError
        raise kind(f'{path} cannot be {doing}: {reason(error)}') from error


def reason(error: Exception) -> str:
    """What a client says, in one line."""
    if isinstance(error, FileNotFoundError):
        return 'there is no such bucket or object'
    return printable(str(error)) or type(error).__name__


def check_writable(folder: Path) -> None:
    """A UserError where a bucket is not there or takes nothing, found by an object that comes and goes."""
    if in_bucket(folder):
        probe = folder / f'.addsr-{uuid.uuid4().hex}'  # several processes may ask
        with answering(folder, 'written'):
            probe.write_bytes(b'addsr')
            probe.unlink()


def kind(path: Path) -> str:
    """'file', 'folder', 'other' (a pipe, a device), or '' for nothing or what cannot be looked at."""
    if in_bucket(path):
        with answering(path, 'read'):
            return 'folder' if path.is_dir() else 'file' if path.exists() else ''
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return ''
    return 'folder' if stat.S_ISDIR(mode) else 'file' if stat.S_ISREG(mode) else 'other'


def identity(path: Path) -> Any:
    """Of a file, whatever its name."""
    if in_bucket(path):
        return str(path)
    found = path.stat()
    return found.st_dev, found.st_ino


def size(path: Path) -> int:
    """Bytes of a file. OSError where there is none."""
    found: Any = path.stat()
    return found.length if in_bucket(path) else found.st_size


def existing(paths: Iterable[Path]) -> set[Path]:
    """Those that are there; a bucket is asked once for each folder."""
    wanted = list(paths)
    found = {path for path in wanted if not in_bucket(path) and path.exists()}
    for folder in {path.parent for path in wanted if in_bucket(path)}:
        with answering(folder, 'read'):
            try:
                found |= set(folder.iterdir())
            except FileNotFoundError:  # where nothing lies there is no folder
                continue
    return found & set(wanted)


def walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """(folder, names of folders, names of objects) of a bucket's folder and all below; OSError where there is none."""

    def refuse(error: OSError) -> None:
        raise error

    walked = cast(Any, folder).walk(on_error=refuse)
    for found, folders, objects in walked:
        yield place(BUCKET + str(found).removeprefix(BUCKET)), sorted(folders), sorted(filter(None, objects))


def files(folder: Path) -> list[Path]:
    """All that lie in a folder and below, sorted; none where there is no folder."""
    if not in_bucket(folder):
        return sorted(path for path in folder.rglob('*') if path.is_file())
    with answering(folder, 'read'):
        try:
            return sorted(place / name for place, _, names in walk(folder) for name in names)
        except FileNotFoundError:
            return []


def read_bytes(path: Path) -> bytes:
    """Of a regular file or an object: what else a path may be is not opened. OSError where there is none."""
    if not in_bucket(path) and path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, 'it is no regular file')
    return path.read_bytes()


def read_text(path: Path, most: int) -> str:
    """UTF-8 of a regular file or an object of at most `most` bytes; OSError and ValueError say what is wrong."""
    if kind(path) == 'other':
        raise ValueError('it is no regular file')
    if (bytes_there := size(path)) > most:
        raise ValueError(f'{bytes_there} bytes, more than {most}')
    return path.read_text(encoding='utf-8')


def make_folder(path: Path) -> None:
    """With those above it. In a bucket a folder is there as soon as something lies in it."""
    if not in_bucket(path):
        path.mkdir(parents=True, exist_ok=True)


def copy(source: Path, target: Path) -> None:
    """A file, or a folder with all that lies in it; a UserError where that is more than files in folders."""
    if kind(source) == 'other':
        raise UserError(f'{source} is no regular file: remove it, or copy the folder again')
    if kind(source) != 'folder':
        make_folder(target.parent)
        target.write_bytes(source.read_bytes())
        return
    for entry in sorted(source.iterdir()):
        if not in_bucket(entry) and entry.is_symlink() and kind(entry) == 'folder':  # it may lead back to here
            raise UserError(f'{entry} is a link to a folder: put the folder itself there, or remove it')
        copy(entry, target / entry.name)


def move_folder(source: Path, target: Path, first: str) -> None:
    """OSError of a disk, UserError of a bucket that refuses.

    A bucket copies each object for itself, and then removes them, `first` before the rest: what lacks it is taken for
    unfinished.
    """
    if not in_bucket(source):
        target.parent.mkdir(exist_ok=True)
        source.rename(target)
        return
    import fsspec

    found = files(source)
    with answering(source, f'copied to {target}'):
        copies = [str(target / path.relative_to(source)) for path in found]
        fsspec.filesystem('gs').copy([str(path) for path in found], copies)
    remove(source, first)


def remove(folder: Path, first: str) -> None:
    """A folder of a bucket with all that lies in it, `first` before the rest; nothing where there is none."""
    with answering(folder, 'removed'):
        (folder / first).unlink(missing_ok=True)
        cast(Any, folder).rmtree(missing_ok=True)


@contextmanager
def on_this_machine(path: Path) -> Iterator[Path]:
    """The path itself, or a copy for as long as the block lasts: for libraries that know no buckets."""
    if not in_bucket(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix='addsr-') as folder, answering(path, 'read'):
        here = Path(folder) / path.name
        copy(path, here)
        yield here


def write_here(path: Path, how: Callable[[Path], object]) -> None:
    """`how` makes the file `path`, or one on this machine that then becomes the object `path`, whole."""
    if not in_bucket(path):
        make_folder(path.parent)
        how(path)
        return
    with tempfile.TemporaryDirectory(prefix='addsr-') as folder:
        how(here := Path(folder) / path.name)
        with answering(path, 'written'):
            path.write_bytes(here.read_bytes())


class Outbox:
    """A folder for libraries that write and know no buckets: `here` is where, `send` brings it to its place.

    `here` is the place itself on this machine, and for a bucket a folder that lives as long as this object.
    """

    def __init__(self, folder: Path) -> None:
        self.place, self._sent = folder, dict[Path, int]()
        self.here = folder
        if in_bucket(folder):
            self.here = Path(tempfile.mkdtemp(prefix='addsr-'))
            weakref.finalize(self, shutil.rmtree, self.here, ignore_errors=True)

    def send(self, report: Callable[[str], None]) -> None:
        """Files that are new or longer than before, each whole; one that cannot be sent is told, and is next time."""
        if self.here == self.place:
            return
        for file in sorted(p for p in self.here.rglob('*') if p.is_file()):
            bytes_now, target = size(file), self.place / file.relative_to(self.here)
            if self._sent.get(file) == bytes_now:
                continue
            try:
                with answering(target, 'written'):
                    target.write_bytes(file.read_bytes())
                self._sent[file] = bytes_now
            except UserError as error:
                report(str(error))
