"""From files to files: pictures read ahead, restored together, and written behind, each whole or not at all."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from addsr_jax.data import pictures
from addsr_jax.data.pictures import Picture
from addsr_jax.errors import UserError
from addsr_jax.restoration import results, stream
from addsr_jax.restoration.cut import Cut
from addsr_jax.restoration.files import Job, Making, check_size
from addsr_jax.restoration.settings import Settings


@dataclass(frozen=True)
class How:
    """What all pictures of a run have in common."""

    settings: Settings
    made_by: Making
    quality: int
    compression: int
    limit: int  # pixels; a picture of more is not read
    most: int  # pixels of results that are read ahead, and that are written behind


@dataclass(frozen=True)
class Done:
    """A result that is written."""

    job: Job
    size: tuple[int, int]  # width and height
    seconds: float  # since it was read
    remarks: tuple[str, ...]  # what of the file plays no part


@dataclass(frozen=True)
class LeftOut:
    """A picture without a result."""

    job: Job
    error: UserError


@dataclass
class Opened:
    """A job on its way."""

    job: Job
    start: float = 0.0
    picture: Picture | None = None


def restore_all(
    model: Any,
    jobs: Sequence[Job],
    how: How,
    *,
    clock: stream.Clock | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Iterator[Done | LeftOut]:
    """Every job once, as it is written or left out. Leaving the iterator early waits for what is being written."""

    def read(opened: Opened) -> Cut:
        opened.start = time.monotonic()
        picture = pictures.open_picture(opened.job.source, how.limit)
        picture = opened.picture = picture.part(*how.settings.part(*picture.size))
        check_size(opened.job, max(how.settings.size(*picture.size)))  # of a bucket's picture not known before
        return model.cut(results.visible(picture), how.settings, opened.job.source.name)

    def write(work: stream.Work) -> Done | LeftOut:
        opened: Opened = work.item
        assert opened.picture is not None
        try:
            restored = model.joined(*work.taken())
            lost = results.write(
                opened.job.target,
                opened.picture,
                restored,
                format=opened.job.format,
                quality=how.quality,
                compression=how.compression,
                made_by=how.made_by(opened.job, opened.picture.content),
            )
        except UserError as error:
            return LeftOut(opened.job, error)
        remarks = ((opened.job.remark,) if opened.job.remark else ()) + opened.picture.remarks + lost
        seconds = time.monotonic() - opened.start
        return Done(opened.job, (restored.shape[1], restored.shape[0]), seconds, remarks)

    works = stream.restored(
        model,
        map(Opened, jobs),
        read,
        how.settings.batch,
        pixels=lambda opened: opened.job.pixels,
        most=how.most,
        clock=clock,
        tell=tell,
    )
    writing: deque[tuple[Future[Done | LeftOut], int]] = deque()
    with ThreadPoolExecutor(2, 'write') as pool:
        for work in works:
            if isinstance(work, stream.Failed):
                yield LeftOut(work.item.job, work.error)
            else:
                writing.append((pool.submit(write, work), work.item.job.pixels))
            while writing and (writing[0][0].done() or sum(pixels for _, pixels in writing) > how.most):
                yield writing.popleft()[0].result()
        while writing:
            yield writing.popleft()[0].result()
