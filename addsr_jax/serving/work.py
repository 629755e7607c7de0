"""What the page asks of the model: one photo step by step, or several into a zip. Nothing here knows of gradio."""

import os
import re
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from addsr_jax.data import pictures
from addsr_jax.data.pictures import Picture
from addsr_jax.errors import Cancelled, UserError
from addsr_jax.restoration import files, folder, results, steps, stream
from addsr_jax.restoration.files import Job
from addsr_jax.restoration.settings import SCALE, Settings
from addsr_jax.restoration.views import sized
from addsr_jax.serving.limits import Limits
from addsr_jax.serving.store import Store

# The fidelity dial in words.
WORDS = {'most faithful': 1.0, 'faithful': 0.8, 'balanced': 0.6, 'detailed': 0.3, 'most detailed': 0.0}
USUAL = 'balanced'
PREVIEW, SMALL = 4096, 480  # pixels of a side: of what is compared, and of the pictures of the steps
QUALITY, COMPRESSION = 95, 6  # of results, as the command's
AHEAD = 16  # times `max_pixels`: pixels of results that are held at once, as many as the largest has
ENDING = re.compile(r' \(addsr upscale [^)]*\)')  # advice for whoever types commands


@dataclass(frozen=True)
class Step:
    """A photo as it stands: `number` 0 is the enlarged one."""

    number: int
    count: int
    preview: Path
    small: Path


@dataclass(frozen=True)
class Finished:
    """A result, ready to be taken away."""

    file: Path
    size: tuple[int, int]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Batch:
    """How far several photos are."""

    done: int
    count: int
    left_out: tuple[str, ...]
    file: Path | None = None  # the zip, at the end


@dataclass
class Worker:
    """The model for all who ask: one step of one picture at a time."""

    model: Any  # a Pipeline
    store: Store
    limits: Limits
    base: Settings
    made_by: Callable[[Settings, Job, str], str]  # as files.Making

    def __post_init__(self) -> None:
        self.device = threading.Lock()

    def photo(self, path: Path, words: str, stop: threading.Event) -> Iterator[Step | Finished]:
        """Every step of one photo, and its result as a file; Cancelled once `stop` is set."""
        settings = self.settings(words)
        with self.store.working() as place:
            job = self._jobs(place, [path], settings)[0]
            name = job.source.name
            data = job.source.read_bytes()
            picture = pictures.decode_picture(data, name, self.limits.max_pixels)
            cut = self.model.cut(results.visible(picture), settings, name)
            restored = picture.rgb
            works = steps.restored(self.model, cut, lambda done, total: not stop.is_set())
            for number, restored in enumerate(self._in_turn(works)):
                end_if(stop)
                yield Step(number, self.model.steps_of(settings), *previews(place, number, picture, restored))
            lost = results.write(
                job.target,
                picture,
                restored,
                format=job.format,
                quality=QUALITY,
                compression=COMPRESSION,
                made_by=self.made_by(settings, job, pictures.content_of(data)),
            )
            remarks = (job.remark, *picture.remarks, *lost)
            yield Finished(job.target, (restored.shape[1], restored.shape[0]), tuple(filter(None, remarks)))

    def photos(self, paths: Sequence[Path], words: str, stop: threading.Event) -> Iterator[Batch]:
        """Several photos into one zip, which says which were left out and why."""
        if len(paths) > self.limits.max_files:
            raise UserError(f'these are {len(paths)} photos: drop {self.limits.max_files} at most')
        settings, limit = self.settings(words), self.limits.max_pixels
        how = folder.How(settings, partial(self.made_by, settings), QUALITY, COMPRESSION, limit, most=AHEAD * limit)
        done, left_out = 0, ()
        with self.store.working() as place:
            jobs = self._jobs(place, paths, settings)
            yield Batch(done, len(jobs), left_out)
            works = folder.restore_all(self.model, jobs, how, clock=stream.Clock(tell=lambda tiles: end_if(stop)))
            for done, event in enumerate(self._in_turn(works), 1):
                end_if(stop)
                if self.store.is_full():
                    raise UserError('there is no room for so many results: drop fewer, or try again later')
                if isinstance(event, folder.LeftOut):
                    left_out = (*left_out, self.told(event.error))
                yield Batch(done, len(jobs), left_out)
            yield Batch(done, len(jobs), left_out, zipped(place / 'addsr.zip', jobs, left_out))

    def warm(self, stop: threading.Event) -> None:
        """Compiles what a first photo would wait for: the usual way, for the tiles that photos are cut into.

        Whoever comes meanwhile waits for the program in hand at most. Cancelled once `stop` is set.
        """
        settings = self.settings(USUAL)
        for side in self.model.sides(settings.tile) if settings.tile else ():
            blank = np.zeros((side // SCALE, side // SCALE, 3), np.uint8)
            cut = self.model.cut(blank, replace(settings, tile=side), 'blank')
            for _ in self._in_turn(steps.restored(self.model, cut)):
                end_if(stop)

    def settings(self, words: str) -> Settings:
        if words not in WORDS:
            raise UserError(f'say how: {", ".join(WORDS)}')
        return replace(self.base, fidelity=WORDS[words])

    def told(self, error: UserError) -> str:
        """An error for whoever looks at the page: without this machine's folders and without advice on commands."""
        text = re.sub(re.escape(str(self.store.root)) + r'/(?:[0-9a-f]+/)?(?:(?:in|out)/)?', '', str(error))
        return ENDING.sub('', text)

    def _in_turn(self, works: Iterator[Any]) -> Iterator[Any]:
        """What an iterator gives, each made while no other is."""
        ended = object()
        while True:
            with self.device:
                work = next(works, ended)
            if work is ended:
                return
            yield work

    def _jobs(self, place: Path, paths: Sequence[Path], settings: Settings) -> list[files.Job]:
        """Uploads under names of their own in a folder of their own, and where their results go; a UserError where no
        more results have room."""
        if self.store.is_full():
            raise UserError('there is no room for more results at the moment: try again later')
        (place / 'in').mkdir()
        sources: list[Path] = []
        for path in paths:
            name, number = path.name, 1
            while place / 'in' / name in sources:
                number += 1
                name = f'{path.stem}-{number}{path.suffix}'
            sources.append(place / 'in' / name)
            try:
                os.link(path, sources[-1])
            except FileNotFoundError as error:
                raise UserError(f'{path.name} is no longer here: drop it again') from error
        naming = files.Naming(place / 'out')
        return files.plan_jobs([str(path) for path in sources], naming, settings, self.limits.max_pixels)[0]


def end_if(stop: threading.Event) -> None:
    """Cancelled, where somebody asked for the end."""
    if stop.is_set():
        raise Cancelled('stopped')


def previews(place: Path, number: int, picture: Picture, restored: np.ndarray) -> tuple[Path, Path]:
    """JPEG files of what [H, W, 3] looks like on white: one to compare, one to see at a glance."""
    alpha = None if picture.alpha is None else sized(picture.alpha, restored.shape[1], restored.shape[0])
    image = Image.fromarray(pictures.shown(Picture(restored, alpha)))
    paths = []
    for side in (PREVIEW, SMALL):
        path = place / f'step{number}-{side}.jpg'
        image.thumbnail((side, side))
        image.save(path, quality=95, subsampling=0)
        paths.append(path)
    return paths[0], paths[1]


def zipped(path: Path, jobs: Sequence[files.Job], left_out: Sequence[str]) -> Path:
    """The results that there are, and a text that says which are not and why."""
    with zipfile.ZipFile(path, 'w') as file:  # stored: pictures are compressed already
        for job in jobs:
            if job.target.exists():
                file.write(job.target, job.target.name)
                job.target.unlink()
        if left_out:
            file.writestr('left out.txt', ''.join(f'{line}\n' for line in left_out))
    return path
