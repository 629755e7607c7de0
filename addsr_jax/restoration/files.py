"""Inputs found and results named, all of it checked before work starts."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from addsr_jax import atomic, places
from addsr_jax.data import formats, heads, pictures
from addsr_jax.data.formats import LIMIT, WRITTEN
from addsr_jax.errors import UserError
from addsr_jax.restoration import results
from addsr_jax.restoration.inputs import STDIN, Source, find
from addsr_jax.restoration.naming import LONGEST_NAME, apart, label
from addsr_jax.restoration.settings import Settings


@dataclass(frozen=True)
class Job:
    """One image to restore, and where its result goes."""

    source: Path
    target: Path
    remark: str = ''  # why the result is of another kind than the source
    size: tuple[int, int] = (0, 0)  # width and height of the source, as far as its head says
    result: tuple[int, int] = (0, 0)  # width and height of the result
    restored: tuple[int, int] = (0, 0)  # width and height before the result is made smaller than its source
    bits: int = 8  # of a channel of the source, as far as its head says

    @property
    def largest(self) -> tuple[int, int]:
        """Width and height of what is held of the result on its way."""
        return max(self.result, self.restored, key=math.prod)

    @property
    def pixels(self) -> int:
        """Of that."""
        return math.prod(self.largest)

    @property
    def longest(self) -> int:
        """The result's longer side."""
        return max(self.result)

    @property
    def format(self) -> str:
        """Of the result, a name of `WRITTEN`."""
        return formats.of_ending(self.target.suffix)


Making = Callable[[Job, str], str | None]  # what a result says of its making; of the hash of the picture's file


@dataclass(frozen=True)
class Naming:
    """How results are called: OUTPUT/STEM + suffix + ending, or OUTPUT itself where that is one file."""

    output: Path
    format: str | None = None  # an ending without its dot; None: the source's own where it holds the result, else PNG
    suffix: str | None = None  # None: of how large the result is


def plan_jobs(inputs: Sequence[str], naming: Naming, settings: Settings, limit: int = LIMIT) -> tuple[list[Job], str]:
    """Files, folders, patterns and lists to jobs, and what of the folders was left out, in words.

    limit: pixels; a picture of more is not read. No result may fall on another one or on any source.
    """
    _check_output(naming.output)
    sources, left_out = find(inputs, naming.output)
    if len(sources) == 1 and sources[0].named:
        _check_ending(naming.output)
    if _is_one_file(naming):
        if len(sources) > 1:
            raise UserError(f'{len(sources)} images cannot go into the one file {naming.output}: give -o a folder')
        jobs = [_sized(Job(sources[0].path, naming.output), settings, limit)]
    else:
        if naming.output.exists() and not naming.output.is_dir():
            raise UserError(f'-o {naming.output} is a file: give a folder, or a new name with the ending of a picture')
        jobs = _named(sources, naming, settings, limit)
    jobs, left_out = _without_results(jobs, sources, left_out)
    check_targets(jobs)
    check_places(jobs)
    return jobs, left_out


def _sized(job: Job, settings: Settings, limit: int) -> Job:
    """With the size that its file's head says; 0 x 0 where it cannot be read, and is named then."""
    head = None if places.in_bucket(job.source) else heads.head_of(job.source)  # whose answers are slow
    if head is None or head.size[0] * head.size[1] > limit:
        return job
    result, restored = settings.size(*head.size), settings.restored(*head.size)
    return replace(job, size=head.size, result=result, restored=restored, bits=head.bits)


def _without_results(jobs: list[Job], sources: Sequence[Source], left_out: str) -> tuple[list[Job], str]:
    """Without what an earlier run has made: of the others, or found in a folder."""
    found, made_of = {source.path for source in sources if not source.named}, {job.target: job.source for job in jobs}
    made = [s for s in (job.source for job in jobs) if s in made_of and (s in found or made_of[s] != s)]
    earlier = {source for source in made if results.made_by(source) is not None}
    if not earlier:
        return jobs, left_out
    remark = f'{len(earlier)} results of earlier runs are no inputs'
    return [job for job in jobs if job.source not in earlier], '; '.join(filter(None, (left_out, remark)))


def _is_one_file(naming: Naming) -> bool:
    """Whether the output is a file's name; UserError for one of a kind that is not written."""
    format_ = formats.of_ending(naming.output.suffix)
    if not format_ or places.kind(naming.output) == 'folder':
        return False
    _check_name(naming.output)
    _check_written(format_, f'-o {naming.output}')
    if naming.format and formats.of_ending(f'.{naming.format}') != format_:
        raise UserError(f'-o {naming.output} and --format {naming.format} say two kinds of file: give one of them')
    if naming.suffix:
        raise UserError(f'-o {naming.output} is one file: --suffix is for names in a folder')
    return True


def _check_output(output: Path) -> None:
    if str(output) == STDIN:
        raise UserError(f'-o {STDIN}: results are files: give a folder, or the name of a file')
    if not places.in_bucket(output) and os.path.islink(output) and not output.exists():
        raise UserError(f'-o {output} is a link to nothing: remove it, or choose another -o')


def _check_ending(output: Path) -> None:
    """Refuses what looks like the file for one picture and would become a folder of that name."""
    ending = output.suffix
    looks_so = ending[1:].isalpha() and 3 <= len(ending) <= 5 and not formats.of_ending(ending)
    if looks_so and not places.kind(output):
        raise UserError(
            f'-o {output}: results are not written as {ending}: choose one of {", ".join(formats.WRITABLE)}, or make '
            'the folder first'
        )


def _check_name(path: Path) -> None:
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise UserError(f'{path} is too long a name: {LONGEST_NAME} bytes at most')


def _check_written(format_: str, what: str) -> None:
    if format_ == formats.HEIF and not formats.has_heif():
        raise UserError(f'{what}: {formats.heif_missing()}')
    if format_ not in WRITTEN:
        raise UserError(f'{what}: results are not written as {format_}: choose one of {", ".join(formats.WRITABLE)}')


def _named(sources: Sequence[Source], naming: Naming, settings: Settings, limit: int) -> list[Job]:
    """Jobs, each with its target."""
    jobs = [_sized(Job(source.path, naming.output), settings, limit) for source in sources]
    kinds = [_ending(job, naming) for job in jobs]
    suffix = label(settings) if naming.suffix is None else naming.suffix
    paths = apart(sources, suffix, [ending for ending, _ in kinds])
    return [
        replace(job, target=naming.output / path, remark=remark)
        for job, path, (_, remark) in zip(jobs, paths, kinds, strict=True)
    ]


def _ending(job: Job, naming: Naming) -> tuple[str, str]:
    """(of the result with its dot, why it is another than the source's)."""
    if naming.format:
        _check_written(formats.of_ending(f'.{naming.format}'), f'--format {naming.format}')
        return f'.{naming.format}', ''
    own = formats.of_ending(job.source.suffix)
    if own not in WRITTEN or (own == formats.HEIF and not formats.has_heif()):
        return '.png', f'as PNG, since results are not written as {own}' if own else 'as PNG'
    if job.longest > WRITTEN[own].longest:
        return '.png', f'as PNG, since {own} holds {WRITTEN[own].longest} pixels a side'
    if job.bits > WRITTEN[own].bits:
        return '.png', f'as PNG, since {own} is written with {WRITTEN[own].bits} bits'
    return job.source.suffix, ''


def check_targets(jobs: Sequence[Job]) -> None:
    """Refuses results that would replace a source before or after it is read."""
    sources = {places.identity(job.source): job.source for job in jobs}
    existing = places.existing(job.target for job in jobs)
    for job in jobs:
        if job.target in existing and (source := sources.get(places.identity(job.target))):
            own = source == job.source
            raise UserError(
                f'{job.target} would replace its own source: choose another -o'
                if own
                else f'the result of {job.source} would replace {source}, another input: choose another -o'
            )


def check_places(jobs: Sequence[Job]) -> None:
    """Refuses results that no folder takes, or no format."""
    for folder in {job.target.parent for job in jobs}:
        check_folder(folder)
    for job in jobs:
        _check_name(job.target)
        check_size(job, job.longest)
        if not places.in_bucket(job.target) and job.target.is_dir():
            raise UserError(f'{job.target} is a folder, where a result would be: choose another -o')


def check_folder(folder: Path) -> None:
    if places.in_bucket(folder):
        places.check_writable(folder)
        return
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not there.exists():
        raise UserError(f'{folder} cannot be a folder, since {there} is a link to nothing: choose another -o')
    if not there.is_dir():
        raise UserError(f'{folder} cannot be a folder, since {there} is a file: choose another -o')
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f'nothing can be written into {there}: choose another -o')


def check_size(job: Job, longest: int) -> None:
    """Refuses a result that its format cannot hold; `longest` is its longer side."""
    most = WRITTEN[job.format].longest
    if longest > most:
        raise UserError(
            f'{job.target} would have more than {most} pixels a side, the most that {job.format} holds: choose '
            'another format'
        )


def remaining(jobs: Sequence[Job], wanted: Making, *, overwrite: bool, resume: bool) -> list[Job]:
    """The jobs that are to be done: those without a result.

    wanted: what results would say. One that says the same is finished; any other is refused, unless `resume` leaves
    it or `overwrite` replaces it.
    """
    there = set() if overwrite else places.existing(job.target for job in jobs)
    existing = [job for job in jobs if job.target in there]
    other = [] if resume else [job for job in existing if not _is_finished(job, wanted)]
    if other:
        more = f' and {len(other) - 1} more' if len(other) > 1 else ''
        say, it = ('exists and is', 'it') if len(other) == 1 else ('exist and are', 'them')
        raise UserError(
            f'{other[0].target}{more} {say} not of this picture with these settings: add --resume to leave {it}, '
            f'--overwrite to replace {it}, or choose another -o'
        )
    return [job for job in jobs if job.target not in there]


def _is_finished(job: Job, wanted: Making) -> bool:
    """Whether a result is of the wanted making. BMP has no place to say so: there its size decides."""
    if job.format == 'BMP' and job.pixels and wanted(job, '') is not None:
        return heads.size_of(job.target) == job.result
    found = results.made_by(job.target)
    if found is None:
        return False
    try:
        with places.answering(job.source, 'read'):
            line = wanted(job, pictures.content_of(places.read_bytes(job.source)))
    except OSError:  # it is named when it is read, if it is to be
        return False
    return line is not None and results.is_same(found, line)


def write_image(path: Path, image: np.ndarray) -> None:
    """uint8 [H, W, 3] as PNG, whole or not at all."""
    atomic.write(path, lambda beside: Image.fromarray(image).save(beside, format='PNG'))
