"""What is kept of models that came from a hub: which commit a revision was, and the SHA-256 of every file of it.

    $ADDSR_CACHE/hub/ORG--NAME/COMMIT.json            files as a hub lists them, hashes of those it vouches for
    $ADDSR_CACHE/hub/ORG--NAME/revisions/REVISION     the commit that it was when the hub was last asked
    $ADDSR_CACHE/hub/converted/ORG--NAME-DIGEST/      published checkpoints in our own layout

The files themselves lie in the cache of huggingface_hub.
"""

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from addsr_jax import atomic, json_file, options, places
from addsr_jax.errors import UserError, printable

COMMIT = re.compile(r'[0-9a-f]{40}')


@dataclass(frozen=True)
class Name:
    """A repository and a branch, tag or commit of it; None: what the hub shows first."""

    repository: str
    revision: str | None

    def __str__(self) -> str:
        return self.repository if self.revision is None else f'{self.repository}@{self.revision}'


@dataclass(frozen=True)
class Said:
    """What the hub says of a file; None where nobody was asked."""

    size: int | None = None
    sha256: str | None = None  # of a large file
    git: str | None = None  # of a small one: the SHA-1 that git gives it

    @property
    def vouched(self) -> bool:
        """Whether the hub says what its bytes are."""
        return self.sha256 is not None or self.git is not None


def home() -> Path:
    """Where converted models lie, and the hashes of what was fetched: on this machine, whatever $ADDSR_CACHE says."""
    chosen = os.environ.get('ADDSR_CACHE', '')
    cache = Path.home() / '.cache' / 'addsr_jax' if not chosen or chosen.startswith(places.BUCKET) else Path(chosen)
    return cache.expanduser() / 'hub'


@dataclass(frozen=True)
class Record:
    """What is kept of a commit: its files as the hub lists them, and the SHA-256 of those that were fetched."""

    files: Mapping[str, Said]
    hashes: Mapping[str, str]


def _record_file(name: Name, commit: str) -> Path:
    return home() / name.repository.replace('/', '--') / f'{commit}.json'


def read_record(name: Name, commit: str) -> Record:
    """Empty where nothing of the commit was fetched, or where it is none."""
    path = _record_file(name, commit)
    if not COMMIT.fullmatch(commit) or not path.exists():
        return Record({}, {})
    content = json_file.read(path, 'remove it')
    try:
        files = options.typed(dict[str, dict[str, Any]], content['files'], 'files')
        hashes = options.typed(dict[str, str], content['sha256'], 'sha256')
        return Record({file: Said(**said) for file, said in files.items()}, hashes)
    except (UserError, KeyError, TypeError) as error:
        raise UserError(f'{path} cannot be read ({printable(str(error))}): remove it') from error


def write_record(name: Name, commit: str, record: Record) -> None:
    files = {file: dataclasses.asdict(said) for file, said in record.files.items()}
    content = {'files': files, 'sha256': dict(sorted(record.hashes.items()))}
    atomic.write_json(_record_file(name, commit), content)


def write_reference(name: Name, commit: str) -> None:
    path = _reference_file(name)
    if reference(name) != commit:
        atomic.write_text(path, commit + '\n')


def reference(name: Name) -> str | None:
    """The commit that a revision was when it was last asked for."""
    path = _reference_file(name)
    commit = path.read_text(encoding='utf-8').strip() if path.is_file() else ''
    return commit if COMMIT.fullmatch(commit) else None


def _reference_file(name: Name) -> Path:
    return home() / name.repository.replace('/', '--') / 'revisions' / quote(name.revision or '(first)', safe='')
