"""Where a run's numbers go: TensorBoard through clu, and one line of progress. Imports tensorflow: training only.

A bucket gets the files of TensorBoard with every checkpoint, so that they end where a killed run goes on.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from clu import metric_writers, parameter_overview, periodic_actions

from addsr_jax import attempts, places, processes

Value = TypeVar('Value')
COLUMNS = ('LQ', 'student', 'teacher', 'reconstruction', 'HR')  # of a grid, from left to right


@dataclass
class Writers:
    """Scalars and image grids under DIR/tensorboard; `report` gets the progress line."""

    writer: metric_writers.MetricWriter
    outbox: places.Outbox
    progress: Callable[[int, float], Any]
    report: Callable[[str], None]
    steps: int
    batch_size: int
    started: float = field(default_factory=time.monotonic)
    first_step: int = 0

    @classmethod
    def open(
        cls, workdir: Path, steps: int, batch_size: int, log_every: int, report: Callable[[str], None]
    ) -> 'Writers':
        outbox = places.Outbox(workdir / 'tensorboard')
        make = partial(metric_writers.create_default_writer, just_logging=not processes.first(), asynchronous=False)
        writer = written(outbox.here, partial(make, str(outbox.here)))
        progress = periodic_actions.ReportProgress(
            num_train_steps=steps, every_steps=log_every, every_secs=None, writer=writer
        )
        return cls(writer, outbox, lambda step, t: progress(step, t), report, steps, batch_size)

    def start(self, step: int, params: Any) -> None:
        """The clock starts after compilation; parameters are listed once."""
        self.first_step, self.started = step, time.monotonic()
        parameter_overview.log_parameter_overview(params, include_stats=False)  # they may lie on other hosts

    def scalars(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes metrics and the progress line: step, loss terms, images/s, time to the end."""
        done = max(step - self.first_step, 1)
        seconds = time.monotonic() - self.started
        speed = done / seconds
        extra = {'images_per_second': speed * self.batch_size, 'seconds': seconds}
        self._write(partial(self.writer.write_scalars, step, {**metrics, **extra}))
        terms = ' '.join(f'{name} {value:.4g}' for name, value in sorted(metrics.items()))
        left = int((self.steps - step) / speed)
        self.report(
            f'step {step}/{self.steps}  {terms}  {speed * self.batch_size:.1f} images/s  '
            f'ETA {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}'
        )

    def score(self, step: int, name: str, value: float) -> None:
        """A figure on the held-out pictures."""
        self._write(partial(self.writer.write_scalars, step, {name: value}))
        self.report(f'step {step}  {name} {value:.3f}')

    def images(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """One grid, columns in the order of COLUMNS, then others: {name: [B, H, W, 3] in [-1, 1]}."""
        pictures = {**{name: pictures[name] for name in COLUMNS if name in pictures}, **pictures}
        columns = [np.concatenate(list(np.asarray(images[:4], np.float32)), axis=0) for images in pictures.values()]
        grid = np.clip(np.concatenate(columns, axis=1) / 2 + 0.5, 0, 1)
        self._write(partial(self.writer.write_images, step, {' | '.join(pictures): grid[None]}))

    def passed(self, step: int) -> None:
        """A step was dispatched."""
        self._write(partial(self.progress, step, time.time()))

    def keep(self) -> None:
        """What was written so far stays, whatever comes."""
        self._write(self.writer.flush)
        self.outbox.send(self.report)

    def close(self) -> None:
        self._write(self.writer.flush)
        self._write(self.writer.close)
        self.outbox.send(self.report)

    def _write(self, work: Callable[[], object]) -> None:
        written(self.outbox.here, work)


def written(folder: Path, work: Callable[[], Value]) -> Value:
    """What `work` returns, which writes to `folder`; a UserError for whatever tensorflow raises where it cannot."""
    try:
        return attempts.attempt(work)
    except attempts.Failed as error:
        raise error.of_write(f'{folder} cannot be written ({error})') from error
