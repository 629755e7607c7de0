"""How much memory and disk a run may take, and what it will take: known before it starts."""

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax

from addsr_jax import places
from addsr_jax.errors import UserError
from addsr_jax.restoration.files import Job
from addsr_jax.restoration.finish import BLOCK
from addsr_jax.restoration.settings import Settings, half_of
from addsr_jax.runtime import free_memory

# Bytes of memory for every pixel of a result that is under way, at its peak: put together, finished, converted, encoded
HELD, DEEP = 15, 30  # of 8 bits, and of 16
ENCODERS = {'AVIF': 48, 'HEIF': 48}  # where the encoder takes more
FLOATS = 24  # for every pixel of the rows that are finished at a time
UNDER_WAY = 64_000_000  # pixels of results that are read or written at a time; always one picture
SHARE = 0.9  # of what is free, that is taken
# Bytes on disk for every pixel, a little more than photographs take
ON_DISK = {'PNG': 2.5, 'TIFF': 3.0, 'BMP': 3.0, 'JPEG': 0.8, 'WEBP': 0.5, 'AVIF': 0.4, 'HEIF': 0.4}


@dataclass(frozen=True)
class Room:
    """What was chosen, and what it takes."""

    settings: Settings
    tiles: int
    bytes: int  # of memory, at most, beside the weights
    pixels: int  # of results that may be under way at a time


def check_disk(jobs: Sequence[Job]) -> None:
    """A UserError where the results will not fit on their disk."""
    by_folder: dict[Path, float] = {}
    for job in jobs:
        if places.in_bucket(job.target):  # which has no end
            continue
        folder = next(path for path in (job.target.parent, *job.target.absolute().parents) if path.exists())
        by_folder[folder] = by_folder.get(folder, 0.0) + ON_DISK[job.format] * math.prod(job.result)
    by_disk: dict[int, tuple[Path, float]] = {}
    for folder, needed in by_folder.items():
        device = folder.stat().st_dev
        by_disk[device] = (folder, by_disk.get(device, (folder, 0.0))[1] + needed)
    for folder, needed in by_disk.values():
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise UserError(
                f'the results need about {needed / 1e9:.1f} GB, and the disk of {folder} has {free / 1e9:.1f} GB left: '
                'choose another -o, --format jpg, or a smaller --scale'
            )


def devices(jobs: Sequence[Job], settings: Settings) -> list[Any]:
    """All of this machine's, but no more than there are tiles: each has the weights, and a tile in every call."""
    each = settings.tile**2
    return jax.local_devices()[: sum(max(1, -(-job.pixels // each)) if each else 1 for job in jobs)]


def no_more_than_there_are(model: Any, jobs: Sequence[Job], settings: Settings) -> Settings:
    """With as many tiles in a call as all pictures together have, at most: a call makes up what is missing."""
    return replace(settings, batch=min(settings.batch, sum(model.tiles(job.size, settings) for job in jobs)))


def choose(model: Any, jobs: Sequence[Job], settings: Settings, limit: float | None) -> Room:
    """Settings whose calls fit into memory: fewer tiles at once, then smaller ones, if those asked for do not.

    limit: bytes; None: most of what the devices, and this machine, have left. UserError where a picture, or the
    smallest tile, is too much.
    """
    largest = max(jobs, key=lambda job: job.pixels)
    on_devices = limit or SHARE * model.free_memory()
    while (needed := model.need(largest.size, settings)) > on_devices:
        if settings.batch > 1:
            settings = replace(settings, batch=settings.batch // 2)
        elif not settings.tile and (less := settings.in_less_memory()):
            settings = less
        elif smaller := half_of(settings.tile):
            settings = replace(settings, tile=smaller)
        else:
            raise UserError(
                f'a call takes {needed / 1e9:.1f} GB of memory, and {on_devices / 1e9:.1f} GB may be used: '
                + ('close other programs, or raise --memory' if settings.tile else 'leave out --tile 0')
            )
    free = limit or SHARE * free_memory()
    left = max(free - needed, 0) if model.on_cpu else free
    most = max(jobs, key=held)
    if held(most) > left:
        raise UserError(
            f'the result of {most.source} has {most.pixels / 1e6:.0f} megapixels{_on_its_way(most)}, which takes about '
            f'{held(most) / 1e9:.1f} GB of memory, and {left / 1e9:.1f} GB may be used: {_less_than(most)}'
        )
    tiles = sum(model.tiles(job.size, settings) for job in jobs if job.pixels)
    each = max(_bytes_a_pixel(job) for job in jobs)
    return Room(settings, tiles, int(needed), max(1, int(min(UNDER_WAY, left / each / 2))))


def held(job: Job) -> int:
    """Bytes of memory that a result takes at most until it is written."""
    width, height = job.largest
    return job.pixels * _bytes_a_pixel(job) + FLOATS * width * min(height, BLOCK)


def _on_its_way(job: Job) -> str:
    return '' if job.largest == job.result else ' before it is made smaller'


def _less_than(job: Job) -> str:
    """What to do where a picture takes too much memory."""
    smaller = (
        'choose a smaller --scale or --max_side'
        if job.largest == job.result
        else 'raise --memory, or give a smaller picture'
    )
    return smaller + (', or --format png' if job.format in ENCODERS else '')


def _bytes_a_pixel(job: Job) -> int:
    return max(DEEP if job.bits > 8 else HELD, ENCODERS.get(job.format, 0))
