"""Image files in and out: inputs found and checked before work starts, results written whole or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from addsr_jax import atomic, places
from addsr_jax.data.photographs import photographs
from addsr_jax.errors import UserError, printable


@dataclass(frozen=True)
class Job:
    """One image to restore, and where its result goes."""

    source: Path
    target: Path


def plan_jobs(inputs: Sequence[str], output: Path, scale: int) -> list[Job]:
    """Files and folders to jobs; results are OUTPUT/STEM_x4.png, or OUTPUT itself for one file and a .png.

    No result may fall on another one or on any source.
    """
    sources: list[Path] = []
    for text in inputs:
        path = places.place(text)
        found = places.kind(path)
        if not found:
            raise UserError(f'there is no file or folder {printable(text, 4096)}')
        if found == 'other':
            raise UserError(f'{printable(text, 4096)} is no regular file: give image files or folders')
        sources += photographs(path, recursive=False).paths if found == 'folder' else [path]
    if output.suffix.lower() == '.png' and not output.is_dir():
        if len(sources) > 1:
            raise UserError(f'{len(sources)} images cannot go into the one file {output}: give -o a folder')
        jobs = [Job(sources[0], output)]
    else:
        if output.exists() and not output.is_dir():
            raise UserError(f'-o {output} is a file: give a folder, or a new name that ends in .png')
        jobs = [Job(source, output / f'{source.stem}_x{scale}.png') for source in sources]
    check_targets(jobs)
    places.check_writable(jobs[0].target.parent)
    return jobs


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
