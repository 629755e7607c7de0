"""Inputs found and results named, all of it checked before work starts."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from addsr_jax import atomic, places
from addsr_jax.data import formats, pictures
from addsr_jax.data.formats import WRITTEN
from addsr_jax.data.photographs import photographs
from addsr_jax.errors import UserError, printable
from addsr_jax.restoration.settings import SCALE, Settings

LONGEST_NAME = 255 - len('..writing')  # bytes; atomic.write adds the rest while it writes


@dataclass(frozen=True)
class Job:
    """One image to restore, and where its result goes."""

    source: Path
    target: Path
    remark: str = ''  # why the result is of another kind than the source

    @property
    def format(self) -> str:
        """Of the result, a name of `WRITTEN`."""
        return formats.of_ending(self.target.suffix)


@dataclass(frozen=True)
class Naming:
    """How results are called: OUTPUT/STEM + suffix + ending, or OUTPUT itself where that is one file."""

    output: Path
    format: str | None = None  # an ending without its dot; None: the source's own where it holds the result, else PNG
    suffix: str | None = None  # None: of how large the result is


def plan_jobs(inputs: Sequence[str], naming: Naming, settings: Settings) -> tuple[list[Job], str]:
    """Files and folders to jobs, and what of the folders was left out, in words.

    No result may fall on another one or on any source.
    """
    sources, left_out = _sources(inputs)
    if _is_one_file(naming):
        if len(sources) > 1:
            raise UserError(f'{len(sources)} images cannot go into the one file {naming.output}: give -o a folder')
        jobs = [Job(sources[0], naming.output)]
    else:
        if naming.output.exists() and not naming.output.is_dir():
            raise UserError(f'-o {naming.output} is a file: give a folder, or a new name with the ending of a picture')
        jobs = _named([(source, *_ending(source, naming, settings)) for source in sources], naming, settings)
    check_targets(jobs)
    check_places(jobs, settings)
    return jobs, left_out


def _sources(inputs: Sequence[str]) -> tuple[list[Path], str]:
    sources: list[Path] = []
    remarks: list[str] = []
    for text in inputs:
        path = places.place(text)
        found = places.kind(path)
        if not found:
            raise UserError(f'there is no file or folder {printable(text, 4096)}')
        if found == 'other':
            raise UserError(f'{printable(text, 4096)} is no regular file: give image files or folders')
        if found == 'folder':
            inside = photographs(path, recursive=False)
            sources += inside.paths
            remarks += [f'{printable(text, 4096)}: left out {inside.remark}'] if inside.remark else []
        else:
            sources.append(path)
    return sources, '; '.join(remarks)


def _is_one_file(naming: Naming) -> bool:
    """Whether the output is a file's name; UserError for one of a kind that is not written."""
    format_ = formats.of_ending(naming.output.suffix)
    if not format_ or naming.output.is_dir():
        return False
    _check_written(format_, f'-o {naming.output}')
    if naming.format and formats.of_ending(f'.{naming.format}') != format_:
        raise UserError(f'-o {naming.output} and --format {naming.format} say two kinds of file: give one of them')
    if naming.suffix:
        raise UserError(f'-o {naming.output} is one file: --suffix is for names in a folder')
    return True


def _check_written(format_: str, what: str) -> None:
    if format_ == formats.HEIF and not formats.has_heif():
        raise UserError(f'{what}: {formats.HEIF_MISSING}')
    if format_ not in WRITTEN:
        raise UserError(f'{what}: results are not written as {format_}: choose one of {", ".join(formats.WRITABLE)}')


def _ending(source: Path, naming: Naming, settings: Settings) -> tuple[str, str]:
    """(of the result with its dot, why it is another than the source's)."""
    if naming.format:
        _check_written(formats.of_ending(f'.{naming.format}'), f'--format {naming.format}')
        return f'.{naming.format}', ''
    own = formats.of_ending(source.suffix)
    if own not in WRITTEN or (own == formats.HEIF and not formats.has_heif()):
        return '.png', f'as PNG, since results are not written as {own}' if own else 'as PNG'
    size = _size_of(source, own)
    if size and max(settings.size(*size)) > WRITTEN[own].longest:
        return '.png', f'as PNG, since {own} holds {WRITTEN[own].longest} pixels a side'
    return source.suffix, ''


def _size_of(source: Path, format_: str) -> tuple[int, int] | None:
    """Width and height where they may matter to the result's format; in a bucket, whose answers are slow, not yet."""
    if places.in_bucket(source) or WRITTEN[format_].longest >= 10**6:
        return None
    return pictures.size_of(source)


def _named(found: Sequence[tuple[Path, str, str]], naming: Naming, settings: Settings) -> list[Job]:
    """Jobs of (source, ending, remark). Of sources that would meet, those of another ending keep theirs in the name."""
    suffix = label(settings) if naming.suffix is None else naming.suffix

    def job(source: Path, ending: str, remark: str, stem: str) -> Job:
        return Job(source, naming.output / short(stem, f'{suffix}{ending}'), remark)

    jobs = [job(source, ending, remark, source.stem) for source, ending, remark in found]
    count = Counter(job.target for job in jobs)
    return [
        replace(made, target=job(source, ending, remark, f'{source.stem}_{source.suffix[1:]}').target)
        if count[made.target] > 1 and source.suffix != ending
        else made
        for made, (source, ending, remark) in zip(jobs, found, strict=True)
    ]


def label(settings: Settings) -> str:
    """What names say of the size that was asked for: '_x4', '_x1.5', '_w1000', '_x4_max2000'."""
    parts = [f'_w{settings.width}'] if settings.width else []
    parts += [f'_h{settings.height}'] if settings.height else []
    parts = parts or [f'_x{settings.scale or SCALE:g}']
    return ''.join(parts + ([f'_max{settings.max_side}'] if settings.max_side else []))


def short(stem: str, rest: str) -> str:
    """stem + rest; where a disk takes no such long name, the end of the stem becomes a digest of all of it."""
    room = LONGEST_NAME - len(os.fsencode(rest))
    if len(os.fsencode(stem)) <= room:
        return stem + rest
    digest = hashlib.sha256(os.fsencode(stem)).hexdigest()[:8]
    while len(os.fsencode(stem)) + 1 + len(digest) > room:
        stem = stem[:-1]
    return f'{stem}-{digest}{rest}'


def check_targets(jobs: Sequence[Job]) -> None:
    """Refuses two results of one name, and results that would replace a source before or after it is read."""
    seen: dict[Path, Path] = {}
    sources = {places.identity(job.source): job.source for job in jobs}
    existing = places.existing(job.target for job in jobs)
    for job in jobs:
        if job.target in seen:
            raise UserError(f'{seen[job.target]} and {job.source} would both become {job.target}: rename one')
        seen[job.target] = job.source
        if job.target in existing and (source := sources.get(places.identity(job.target))):
            own = source == job.source
            raise UserError(
                f'{job.target} would replace its own source: choose another -o'
                if own
                else f'the result of {job.source} would replace {source}, another input: choose another -o'
            )


def check_places(jobs: Sequence[Job], settings: Settings) -> None:
    """Refuses results that no folder takes, or no format."""
    for folder in {job.target.parent for job in jobs}:
        check_folder(folder)
    for job in jobs:
        if len(os.fsencode(job.target.name)) > LONGEST_NAME:
            raise UserError(f'{job.target} is too long a name: {LONGEST_NAME} bytes at most')
        if size := _size_of(job.source, job.format):
            check_size(job, size, settings)


def check_folder(folder: Path) -> None:
    if places.in_bucket(folder):
        places.check_writable(folder)
        return
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise UserError(f'{folder} cannot be a folder, since {there} is a file: choose another -o')
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f'nothing can be written into {there}: choose another -o')


def check_size(job: Job, size: tuple[int, int], settings: Settings) -> None:
    """Refuses a result that its format cannot hold; `size` is the source's width and height."""
    longest = WRITTEN[job.format].longest
    if max(settings.size(*size)) > longest:
        raise UserError(
            f'{job.target} would have more than {longest} pixels a side, the most that {job.format} holds: choose '
            'another format'
        )


def remaining(jobs: Sequence[Job], *, overwrite: bool, resume: bool) -> list[Job]:
    """The jobs that are to be done: with `resume` those without a result; without either flag a result is refused."""
    existing = places.existing(job.target for job in jobs)
    if existing and not overwrite and not resume:
        shown = next(job.target for job in jobs if job.target in existing)
        more = f' and {len(existing) - 1} more' if len(existing) > 1 else ''
        raise UserError(f'{shown}{more} exists: add --resume to do the rest, --overwrite, or choose another -o')
    return [job for job in jobs if overwrite or job.target not in existing]


def write_image(path: Path, image: np.ndarray) -> None:
    """uint8 [H, W, 3] as PNG, whole or not at all."""
    atomic.write(path, lambda beside: Image.fromarray(image).save(beside, format='PNG'))
