"""Models by their name on a hub: ORG/NAME, ORG/NAME@REVISION, several of them joined by +.

What a name stands for is fetched once, into the cache of huggingface_hub, and compared with the hashes that the hub
has of it. The SHA-256 of every file is kept; a file that is another one afterwards is refused. Published checkpoints
are converted once, into $ADDSR_CACHE/hub, with the report of `addsr convert`. HF_HUB_OFFLINE=1 asks nobody: what was
fetched before is taken. Whatever is wrong is one UserError, with the command that mends it.
"""

import fcntl
import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from addsr_jax import json_file, options
from addsr_jax.errors import UserError, printable
from addsr_jax.weights import hub_layout, model_file
from addsr_jax.weights.hub_cache import (
    COMMIT,
    Name,
    Record,
    Said,
    home,
    read_record,
    reference,
    write_record,
    write_reference,
)

ONE = r'[\w-][\w.-]*/[\w-][\w.-]*(@[\w][\w./-]*)?'
NAMES = re.compile(rf'{ONE}(\+{ONE})*')
CONVERSION = 2  # one more where the same repositories become another model, or files of them are taken that were not


@dataclass(frozen=True)
class Repository:
    """One commit of a repository: its files, none of which has been looked at."""

    name: Name
    commit: str
    files: Mapping[str, Said]


@dataclass(frozen=True)
class Fetched:
    """Files of a repository on this machine, each with its SHA-256."""

    repository: Repository
    folder: Path
    hashes: Mapping[str, str]

    @property
    def origin(self) -> dict[str, Any]:
        """For the record of what is made of them."""
        name = self.repository.name
        return {'repository': name.repository, 'commit': self.repository.commit, 'sha256': dict(self.hashes)}


def is_name(text: str | os.PathLike) -> bool:
    """Whether a hub is asked: it is shaped like ORG/NAME, and no such path is here."""
    name = os.fspath(text)
    return bool(NAMES.fullmatch(name)) and not os.path.lexists(name)


def names(text: str) -> list[Name]:
    """Of a text that `is_name`."""
    found = [
        Name(repository, revision or None)
        for part in text.split('+')
        for repository, _, revision in [part.partition('@')]
    ]
    twice = next((a.repository for a in found if sum(a.repository == b.repository for b in found) > 1), None)
    if twice:
        raise UserError(f'{text} names {twice} twice')
    return found


def located(text: str | Path, report: Callable[[str], object] | None = None) -> str | Path:
    """The folder of weights that a name on the hub stands for; what is no such name stays as it is.

    report: told every file that is fetched, and what conversion tells.
    """
    if not is_name(text):
        return text
    name, report = os.fspath(text), report or _silent
    asked = [looked_at(one) for one in names(name)]
    if len(asked) == 1 and hub_layout.is_own(asked[0].files):
        fetched = fetch(asked[0], hub_layout.own_files(asked[0].files), report)
        check_parts(fetched)
        return fetched.folder
    return _converted(name, asked, report)


def _silent(line: str) -> None:
    """Nobody is told."""


def _converted(text: str, asked: Sequence[Repository], report: Callable[[str], object]) -> Path:
    """The published files of repositories as one folder of our own layout, made when it is not there yet."""
    listed = {repository.name.repository: list(repository.files) for repository in asked}
    found = hub_layout.pieces(listed)
    hub_layout.check_complete(found, text, listed)
    commits = ' '.join(sorted(f'{one.name.repository}@{one.commit}' for one in asked))
    digest = hashlib.sha256(f'{CONVERSION} {commits}'.encode()).hexdigest()[:16]
    output = home() / 'converted' / f'{"+".join(one.name.repository.replace("/", "--") for one in asked)}-{digest}'
    made = output / model_file.NAME  # which conversion writes last
    if not made.exists():
        with _alone(output):
            if not made.exists():  # another process may have been there first
                _convert(text, asked, found, listed, output, report)
    return output


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """While inside no other process makes this folder: it waits, and then finds it made."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.with_name(f'{output.name}.lock').open('a') as file:
        with suppress(OSError):  # some network disks have no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _convert(
    text: str,
    asked: Sequence[Repository],
    found: Mapping[str, hub_layout.Piece],
    listed: Mapping[str, list[str]],
    output: Path,
    report: Callable[[str], object],
) -> None:
    from addsr_jax.weights import conversion, known, sources  # whoever names a folder needs none of it

    wanted = hub_layout.files_of(found, listed)
    used = [one for one in asked if one.name.repository in wanted]
    fetched = {one.name.repository: fetch(one, wanted[one.name.repository], report) for one in used}
    arguments: dict[str, Any] = {role: fetched[piece.repository].folder / piece.path for role, piece in found.items()}
    report(f'converting {text}, once')
    origin = [one.origin for one in fetched.values()]
    conversion.from_pytorch(sources.plan(**arguments), output, report, known.read([]), {'origin': origin})
    report(f'{output / conversion.REPORT} lists every tensor')


def looked_at(name: Name) -> Repository:
    """A repository's newest commit of a revision, or the one that was fetched before; UserError where there is none."""
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        return _kept(name)
    if name.revision is not None and (listed := read_record(name, name.revision).files):
        return Repository(name, name.revision, listed)
    with _answering(name):
        found = HfApi(endpoint=constants.ENDPOINT).model_info(
            name.repository, revision=name.revision, files_metadata=True
        )
    files = {}
    for entry in found.siblings or ():
        _check_file(name, entry.rfilename)
        large = entry.lfs
        files[entry.rfilename] = Said(entry.size, large.sha256 if large else None, None if large else entry.blob_id)
    commit = found.sha or ''
    if not COMMIT.fullmatch(commit):
        raise UserError(f'{constants.ENDPOINT} says no commit of {name}: it is no hub that huggingface_hub knows')
    write_reference(name, commit)
    return Repository(name, commit, files)


def _check_file(name: Name, file: str) -> None:
    if not file.isprintable() or file.startswith('/') or {'..', '.', ''} & set(file.split('/')) or '\\' in file:
        raise UserError(f'{name} names a file {printable(repr(file))}, which leads out of its folder')


def _kept(name: Name) -> Repository:
    """What was fetched before, by us or by `hf download`."""
    from huggingface_hub import constants, errors, snapshot_download

    commit = name.revision if COMMIT.fullmatch(name.revision or '') else reference(name)
    if commit and (listed := read_record(name, commit).files):
        return Repository(name, commit, listed)
    try:
        folder = Path(snapshot_download(name.repository, revision=commit or name.revision, local_files_only=True))
    except (errors.LocalEntryNotFoundError, errors.HFValidationError, OSError, ValueError) as error:
        revision = f' --revision {name.revision}' if name.revision else ''
        raise UserError(
            f'{name} is not in {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE is set: unset it, or run hf download '
            f'{name.repository}{revision} where there is a net'
        ) from error
    files = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob('*')) if path.is_file()]
    return Repository(name, folder.name, dict.fromkeys(files, Said()))


def fetch(repository: Repository, wanted: Sequence[str], report: Callable[[str], object]) -> Fetched:
    """Files of a repository, on this machine and what they were: UserError names the first that is not."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    name, hashes, folder = repository.name, {}, None
    pins = read_record(name, repository.commit).hashes
    for file in wanted:
        said = repository.files[file]
        path = try_to_load_from_cache(name.repository, file, revision=repository.commit)
        if not isinstance(path, str):
            _check_online(name, file)
            size = '' if said.size is None else f', {said.size / 1e6:.1f} MB'
            report(f'fetching {name.repository}/{file}{size}')
            with _answering(name, file), bars():
                path = hf_hub_download(name.repository, file, revision=repository.commit)
        hashes[file] = _checked(repository, file, Path(path), said, pins.get(file))
        folder = Path(path).parents[len(file.split('/')) - 1]
    assert folder is not None, 'something is always wanted'
    vouched = {file: sha256 for file, sha256 in hashes.items() if repository.files[file].vouched}
    if {**pins, **vouched} != pins:  # of what lies here and no hub has spoken of, nothing is kept, nor the list of it
        write_record(name, repository.commit, Record(repository.files, {**pins, **vouched}))
    return Fetched(repository, folder, hashes)


def _check_online(name: Name, file: str) -> None:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise UserError(
            f'{file} of {name} is not in {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE is set: run hf download '
            f'{name.repository} {file} where there is a net'
        )


def _checked(repository: Repository, file: str, path: Path, said: Said, pin: str | None) -> str:
    """Its SHA-256, which has to be the one that was kept, and what the hub says."""
    try:
        sha256 = digest(path)
        git = None if said.git is None else git_digest(path)
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror or error}') from error
    changed = pin is not None and sha256 != pin
    if changed or (said.sha256 is not None and sha256 != said.sha256) or git != said.git:
        whose = 'was fetched' if changed else 'the hub says'
        raise UserError(
            f'{file} of {repository.name} is not what {whose} (sha256 {sha256[:16]}...): get it again by hf download '
            f'--force-download --revision {repository.commit} {repository.name.repository} {file}'
        )
    return sha256


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def git_digest(path: Path) -> str:
    """The SHA-1 that git gives a file's bytes."""
    begun = hashlib.sha1(f'blob {path.stat().st_size}\0'.encode(), usedforsecurity=False)
    with path.open('rb') as file:
        return hashlib.file_digest(file, lambda: begun).hexdigest()


def check_parts(fetched: Fetched) -> None:
    """A UserError where the repository lacks a part that its model.json names."""
    record = json_file.read(fetched.folder / model_file.NAME, 'the repository is damaged')
    parts = options.typed(tuple[str, ...], record.get('parts'), f'parts of {model_file.NAME}')
    for part in parts:
        there = any(name == f'{part}.safetensors' or name.startswith(f'params/{part}/') for name in fetched.hashes)
        if not there:
            name = fetched.repository.name
            raise UserError(
                f'{name} lacks {printable(part)}.safetensors, which its {model_file.NAME} names: ask its owner, or '
                f'take another revision ({name.repository}@REVISION)'
            )


@contextmanager
def bars() -> Iterator[None]:
    """huggingface_hub's bars where somebody sees them."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextmanager
def _answering(name: Name, file: str = '') -> Iterator[None]:
    """Whatever huggingface_hub raises becomes one UserError."""
    from huggingface_hub import constants, errors, logging

    hub, what = constants.ENDPOINT, f'{file} of {name}' if file else str(name)
    logging.set_verbosity_error()  # what went wrong is said once, by us
    try:
        yield
    except errors.RevisionNotFoundError as error:
        listed = f'{hub}/{name.repository}/commits lists them'
        raise UserError(f'{name.repository} has no revision {name.revision}: {listed}') from error
    except errors.GatedRepoError as error:
        agreement = f'give it at {hub}/{name.repository}, then run hf auth login'
        raise UserError(f'{name} asks for your agreement: {agreement}') from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f'there is no folder {name} here, and {hub} shows you no model {name.repository}: look at the name, or run '
            f'hf auth login where it is private'
        ) from error
    except errors.RemoteEntryNotFoundError as error:
        raise UserError(f'{what} is listed and is not there: {hub} may be changing it, try again') from error
    except errors.HFValidationError as error:
        raise UserError(f'{name} is no name of a model: {printable(str(error))}') from error
    except Exception as error:  # of its client, of the net, of the disk
        reason = printable(str(error)) or type(error).__name__
        raise UserError(
            f'{what} cannot be fetched from {hub} ({reason}): HF_HUB_OFFLINE=1 takes what was fetched before'
        ) from error
