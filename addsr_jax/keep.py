"""What a start would make anew, and always the same, is kept beside the compiled programs.

Traced programs, ONNX samplers, shapes of networks and words of a model follow from this package's code, from jax and
its settings, from the libraries that make them, and from what the caller names. All of these are in a kept file's name,
so that none is ever out of date; a file that was damaged is made again. Nothing is kept where compiled programs are
not.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import flax
import jax
import jaxlib.version
import xxhash

from addsr_jax import atomic, places
from addsr_jax.errors import UserError

PACKAGE = Path(__file__).parent
MOST, MOST_BYTES = 256, 2_000_000_000  # files, and what they have together; the newest is kept whatever it has
LIBRARIES = {'words': ('tokenizers', 'transformers'), 'program': ('qwix',)}  # {kind: beside jax; qwix makes int8}
HASH = 16  # bytes at the beginning of a file, of the rest


def kept(kind: str, of: str, make: Callable[[], bytes]) -> bytes:
    """`make()`, or what it made when the same code was asked for the same `of` before. kind: begins the file's name."""
    assert ' at 0x' not in of, f'{of} is called otherwise in every process'
    folder = place()
    if folder is None:
        return make()
    path = folder / f'{kind}-{_hash(f"{_code()} {_versions(kind)} {_settings()} {of}".encode()).hex()}'
    found = _read(path)
    if found is None:
        found = make()
        with suppress(UserError, OSError):  # of a disk that is full or of somebody else: the next start makes it again
            atomic.write(path, lambda temporary: temporary.write_bytes(_hash(found) + found))
            _remove_oldest(folder)
    return found


def place() -> Path | None:
    """The folder, on this machine or in a bucket; None where nothing is kept."""
    told = jax.config.jax_compilation_cache_dir  # pyright: ignore
    return places.place(told) / 'kept' if told and jax.config.values['jax_enable_compilation_cache'] else None


def _read(path: Path) -> bytes | None:
    """What `kept` wrote there; None where nothing is, or something else."""
    try:
        found = places.read_bytes(path)
    except Exception:  # clients of buckets raise nearly everything
        return None
    return found[HASH:] if found[:HASH] == _hash(found[HASH:]) else None


def _hash(content: bytes) -> bytes:
    return xxhash.xxh3_128_digest(content)


def _remove_oldest(folder: Path) -> None:
    if places.in_bucket(folder):  # whose owner says how long objects live
        return
    files = sorted(((path, path.stat()) for path in places.files(folder)), key=lambda f: f[1].st_mtime, reverse=True)
    total = 0
    for number, (path, found) in enumerate(files):
        total += found.st_size
        if number and (number >= MOST or total > MOST_BYTES):
            path.unlink(missing_ok=True)


@lru_cache
def _code() -> str:
    """Of this package's files, and the versions of what traces them."""
    digest = xxhash.xxh3_128(f'{jax.__version__} {jaxlib.version.__version__} {flax.__version__}'.encode())
    for path in sorted(PACKAGE.rglob('*.py')):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@lru_cache
def _versions(kind: str) -> str:
    """Of the libraries that make what is kept; of none that is not installed."""
    found = []
    for library in LIBRARIES.get(kind, ()):
        with suppress(metadata.PackageNotFoundError):
            found.append(f'{library} {metadata.version(library)}')
    return ' '.join(found)


def _settings() -> str:
    """All that changes how jax traces; where it keeps programs does not."""
    return str(sorted((name, str(value)) for name, value in jax.config.values.items() if 'cache' not in name))
