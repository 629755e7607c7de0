"""From encoded photographs to batches: one random-access Grain chain.

    source -> shuffle -> repeat -> random_map -> this process's rows -> batch

Example n of the endless, shuffled stream depends on (seed, n) alone, and batching comes before any thread or worker.
So the batches are the same for any number of processes, threads and workers, and the saved state is one number: batches
consumed.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import grain
import numpy as np
from PIL import Image

from addsr_jax.data.captions import CLEAN, degrade_target
from addsr_jax.data.degradation import SCALE, degrade, draw_degradation, sharpen
from addsr_jax.data.degradation_tables import TABLES, Table
from addsr_jax.data.options import DataOptions
from addsr_jax.data.pairs import matched
from addsr_jax.data.pictures import decode
from addsr_jax.data.resize import resize
from addsr_jax.data.sources import Source
from addsr_jax.data.tokens import LENGTH
from addsr_jax.errors import Momentary, UserError, printable

Tokenizer = Callable[[list[str]], np.ndarray]
Shapes = dict[str, tuple[tuple[int, ...], Any]]  # of arrays by name: (shape, dtype)
MOST = 2**48  # examples of a run, more than any will see
TRIES = 50  # unusable records in a row before giving up
LEAST = 16  # pixels of a photograph's shorter side: a crop of less is hardly more than its own reflections


def photograph(record: dict[str, Any]) -> np.ndarray:
    """A source's record -> uint8 [H, W, 3]; a UserError that begins with its name where training cannot use it."""
    image = decode(record['image'], record['name'])
    height, width, _ = image.shape
    if min(height, width) < LEAST:
        raise UserError(f'{record["name"]} is too small, {width} x {height}: training takes {LEAST} pixels a side')
    return image


def pictures_of(record: dict[str, Any]) -> dict[str, np.ndarray]:
    """A source's record -> {'image'}, and of a pair {'lq'}, a quarter as large; uint8, refused as by `photograph`."""
    found = {'image': photograph(record)}
    if 'lq' in record:
        found['lq'] = decode(record['lq'], f'{record["name"]} (its low-quality picture)')
        matched(found['lq'], found['image'], SCALE, 'its low-quality picture', record['name'])
    return found


def described(source: Source, index: int) -> str:
    """The name of a record that was replaced, and why."""
    name = source.name_of(index)
    try:
        pictures_of(source[index])
    except Exception as error:
        return f'{name} ({printable(str(error).removeprefix(name)) or type(error).__name__})'
    return name


@dataclass(frozen=True)
class Decoded:
    """A source whose record i is the first one from i on that can be used; `replaced` is i, or -1.

    Whatever reading or decoding a record raises makes it one that cannot be used.
    """

    source: Source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: Any) -> dict[str, Any]:
        index, tries = int(index), min(TRIES, len(self.source))
        for offset in range(tries):
            try:
                record = self.source[(index + offset) % len(self.source)]
                found = pictures_of(record)
            except Exception:  # whatever a file, a decoder or a data set raises: `described` says what it was
                continue
            return {**found, 'caption': record['caption'], 'replaced': index if offset else -1}
        first = described(self.source, index)
        raise UserError(f'none of {tries} records can be used, from {first} on: check --config.data.path')


@dataclass(frozen=True)
class MakePair:
    """Decoded record and its generator -> training example."""

    options: DataOptions
    tokenizer: Tokenizer

    def __call__(self, record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        options = self.options
        hr, lq = self._taken(record, rng) if 'lq' in record else self._made(record, rng)
        caption = CLEAN if options.captions == 'record' else record['caption']
        if rng.random() < options.degraded_target:
            hr, caption = degrade_target(hr, rng)
        if rng.random() < options.null_text:
            caption = ''
        return {
            'hr': to_signed(hr),
            'lq': to_signed(lq),
            'tokens': self.tokenizer([caption])[0],
            'replaced': np.int32(record['replaced']),
        }

    def _made(self, record: dict[str, Any], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        hr = FRAMES[self.options.frame](record['image'], self.options.hr_size, rng)
        if rng.random() < 0.5:
            hr = hr[:, ::-1]
        return pair(_unit(hr), TABLES[self.options.degradation], rng)

    def _taken(self, record: dict[str, Any], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The same of a pair as it was recorded: nothing is degraded, and nothing sharpened."""
        high, low, size = record['image'], record['lq'], self.options.hr_size
        if self.options.frame == 'whole':
            hr, small = squeezed(high, size, rng), squeezed(low, size // SCALE, rng)
        else:
            hr, small = random_pair(high, low, size, rng)
        if rng.random() < 0.5:
            hr, small = hr[:, ::-1], small[:, ::-1]
        return _unit(hr), enlarged(_unit(small))


def random_crop(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """[H, W, 3] -> [size, size, 3]; smaller images are reflected up to the size first, from 2 pixels a side on."""
    h, w, _ = image.shape
    if min(h, w) < 2:
        raise UserError(f'a picture of {w} x {h} pixels has nothing to reflect')
    while h < size or w < size:  # one reflection reaches at most twice the side
        image = np.pad(image, ((0, min(max(size - h, 0), h - 1)), (0, min(max(size - w, 0), w - 1)), (0, 0)), 'reflect')
        h, w, _ = image.shape
    top, left = int(rng.integers(h - size + 1)), int(rng.integers(w - size + 1))
    return image[top : top + size, left : left + size]


def squeezed(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """[H, W, 3] uint8 -> [size, size, 3] by Lanczos's window, all of it; nothing is drawn."""
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS))


# of `data.frame`
FRAMES: dict[str, Callable[[np.ndarray, int, np.random.Generator], np.ndarray]] = {
    'crop': random_crop,
    'whole': squeezed,
}


def random_pair(
    high: np.ndarray, low: np.ndarray, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """[4 h, 4 w, 3] and [h, w, 3] -> the same place of both, [size, size, 3] and [size / 4, size / 4, 3].

    Smaller pictures are mirrored up to the size first, with their last pixel: so mirrors of both lie alike.
    """
    side = size // SCALE
    h, w, _ = low.shape
    more = [(0, max(side - n, 0)) for n in (h, w)]
    if any(behind for _, behind in more):
        low = np.pad(low, (*more, (0, 0)), 'symmetric')
        high = np.pad(high, (*((0, SCALE * behind) for _, behind in more), (0, 0)), 'symmetric')
    top, left = (int(rng.integers(n - side + 1)) for n in low.shape[:2])
    place = np.s_[top : top + side, left : left + side]
    above = np.s_[SCALE * top : SCALE * (top + side), SCALE * left : SCALE * (left + side)]
    return high[above], low[place]


def enlarged(small: np.ndarray) -> np.ndarray:
    """[h, w, 3] in [0, 1] -> [4 h, 4 w, 3] on the grid of 8 bits, as training shows low-quality pictures."""
    size = (SCALE * small.shape[0], SCALE * small.shape[1])
    return round8(resize(small, size, 'bicubic', float(SCALE)))


def _unit(image: np.ndarray) -> np.ndarray:
    """uint8 -> float32 in [0, 1]."""
    return np.ascontiguousarray(image, np.float32) / np.float32(255)


def pair(clean: np.ndarray, table: Table, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Target and degraded image at its size, both [H, W, 3] in [0, 1] on the grid of 8 bits, as the original stores."""
    hr = sharpen(clean) if table.sharpen else clean
    small = degrade(hr, draw_degradation(rng, table), rng)
    return round8(hr), round8(resize(small, hr.shape[:2], 'bicubic', float(SCALE)))


def round8(image: np.ndarray) -> np.ndarray:
    """[0, 1] rounded to 8 bit and saturated."""
    return np.clip(np.rint(image * np.float32(255)), 0, 255).astype(np.float32) / np.float32(255)


def to_signed(image: np.ndarray) -> np.ndarray:
    """[0, 1] -> [-1, 1]."""
    return image.astype(np.float32) * 2 - 1


def degrade_image(hr: np.ndarray, seed: int, degradation: str = 'standard') -> np.ndarray:
    """[H, W, 3] uint8 -> [H / 4, W / 4, 3] uint8 by the training's degradation; the same for the same seed."""
    rng = np.random.default_rng(seed)
    clean = hr.astype(np.float32) / np.float32(255)
    small = degrade(clean, draw_degradation(rng, TABLES[degradation]), rng)
    return np.rint(small * 255).astype(np.uint8)


@dataclass(frozen=True)
class Rows:
    """The rows of every batch that one process makes: those which its devices hold, in their order."""

    examples: grain.MapDataset  # of all processes
    batch_size: int  # of all processes
    first: int
    count: int

    def __len__(self) -> int:
        return len(self.examples) // self.batch_size * self.count

    def __getitem__(self, index: Any) -> Any:
        batch, row = divmod(int(index), self.count)
        return self.examples[batch * self.batch_size + self.first + row]


@dataclass(frozen=True)
class Batches:
    """Called with n: an iterator over this process's share of the batches from number n on."""

    dataset: grain.MapDataset
    threads: int
    workers: int
    shapes: Shapes  # of the global batch, without 'replaced'

    def __call__(self, start: int) -> Iterator[dict[str, np.ndarray]]:
        return make_iterator(self.dataset, start, self.threads, self.workers)


def batch_shapes(options: DataOptions, batch_size: int) -> Shapes:
    """{name: (shape, dtype)} of a batch of all processes together."""
    images = ((batch_size, options.hr_size, options.hr_size, 3), np.dtype(np.float32))
    return {'hr': images, 'lq': images, 'tokens': ((batch_size, LENGTH), np.dtype(np.int32))}


def make_batches(
    options: DataOptions,
    source: Source,
    tokenizer: Tokenizer,
    *,
    batch_size: int,
    seed: int,
    process_index: int,
    process_count: int,
) -> Batches:
    """This process's rows of endless batches; batch_size is that of all processes together."""
    if batch_size % process_count:
        raise UserError(f'--config.batch_size {batch_size} is not divisible by {process_count} processes')
    cv2.setNumThreads(0)  # Grain's threads are the parallelism
    # an endless repetition counts more examples than Python's len() can say, which batches of one need
    records = grain.MapDataset.source(Decoded(source)).seed(seed).shuffle().repeat(MOST // len(source) + 1)
    examples = records.random_map(MakePair(options, tokenizer))
    count = batch_size // process_count
    if process_count > 1:
        examples = grain.MapDataset.source(Rows(examples, batch_size, process_index * count, count))
    dataset = examples.batch(count)
    return Batches(dataset, options.threads, options.workers, batch_shapes(options, batch_size))


def make_iterator(dataset: grain.MapDataset, start: int, threads: int, workers: int) -> Iterator[dict[str, np.ndarray]]:
    """Batches from number `start` on; threads decode in this process, or `workers` processes do."""
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    rest = dataset[start:]
    iterable = rest.to_iter_dataset(options)
    if workers:
        from absl import flags

        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # Grain's worker processes read absl's flags
        iterable = iterable.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers), worker_init_fn=end_with_parent
        )
        return OfWorkers(iter(iterable))
    return iter(iterable)


@dataclass(frozen=True)
class OfWorkers(Iterator[dict[str, np.ndarray]]):
    """What worker processes make. Where memory is short the system kills one of them: that is no fault of the code."""

    batches: Any  # Grain's iterator

    def __next__(self) -> dict[str, np.ndarray]:
        try:
            return next(self.batches)
        except RuntimeError as error:
            if f'exit code -{signal.SIGKILL:d}' not in str(error):
                raise
            raise Momentary(
                'a data worker was killed, as the system does where memory is short: run the same command again with '
                'fewer --config.data.workers'
            ) from error

    def close(self) -> None:
        self.batches.close()


def end_with_parent(index: int, count: int) -> None:
    """Called in a worker, which ends with the process that started it, however that ends: what they share is freed.

    A terminal's Ctrl-C and the SIGTERM of timeout, systemd or SLURM reach workers too, and are the starting process's
    to answer: it writes a checkpoint first. As there, OpenCV uses one thread.
    """
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
