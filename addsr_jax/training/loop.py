"""The one loop that runs every stage.

Order: mesh and shapes, frozen networks, compile, restore or initialise, steps, end. Metrics of step n are fetched
after step n + 1 was dispatched, through `fetch` alone; batches reach the devices through `prefetch` alone.
"""

import math
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from addsr_jax import sharding
from addsr_jax.errors import UserError
from addsr_jax.evaluation.metrics import psnr_y
from addsr_jax.stages.base import Stage, State
from addsr_jax.training.checkpoints import Checkpoints
from addsr_jax.training.writers import Writers

Tree = Any
Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class LoopConfig:
    """The numbers of a run that the loop itself needs; 0 switches an `every` off."""

    steps: int
    batch_size: int
    accumulate: int
    checkpoint_every: int
    keep: int
    eval_every: int
    log_every: int
    preview_every: int
    profile_start: int
    profile_steps: int

    def __post_init__(self):
        for name in ('steps', 'batch_size', 'accumulate', 'keep', 'log_every', 'checkpoint_every'):
            if getattr(self, name) < 1:
                raise UserError(f'--config.{name} is {getattr(self, name)}: it must be at least 1')
        for name in ('eval_every', 'preview_every', 'profile_start', 'profile_steps'):
            if getattr(self, name) < 0:
                raise UserError(f'{name} of the config is {getattr(self, name)}: it must be 0 or more')


@dataclass(frozen=True)
class Result:
    """Where a run stands when `train` returns."""

    state: State
    frozen: Tree
    finished: bool  # False: a signal asked for an early end; the checkpoint is written


def fetch(metrics: Mapping[str, jax.Array]) -> dict[str, float]:
    """The only way from device to host inside the loop."""
    return {name: float(value) for name, value in jax.device_get(dict(metrics)).items()}


def train(
    stage: Stage,
    bundle: Tree,
    batches: Callable[[int], Iterator[Batch]],
    config: LoopConfig,
    *,
    workdir: Path,
    mesh: Mesh,
    seed: int,
    held_out: Batch | None,
    record_name: Callable[[int], str],
    report: Callable[[str], None],
) -> Result:
    """Trains to `config.steps`, resuming what `workdir` holds.

    batches(n) iterates host batches from number n on, each with 'replaced' [B] (index of an undecodable record, or -1).
    held_out: one host batch for evaluation and previews, or None.
    """
    sharding.check_batch(mesh, config.batch_size, config.accumulate)
    checkpoints = Checkpoints.open(workdir, config.keep)

    # Shapes first: the step is compiled before any data is touched.
    key = jax.random.key(seed)
    abstract = jax.eval_shape(stage.init, key, bundle)
    places = sharding.state_shardings(mesh, abstract)
    frozen = sharding.put_replicated(stage.freeze(bundle), mesh)
    update = _compile(stage, abstract, places, frozen, config, mesh, batches)

    # Resume, else a new state, born sharded.
    if checkpoints.latest is not None:
        state, start = checkpoints.restore(abstract, places)
        report(f'resuming at step {start}')
    else:
        state, start = jax.jit(stage.init, out_shardings=places)(key, bundle), 0
    if start > config.steps:
        raise UserError(f'{workdir} is at step {start}, beyond --config.steps {config.steps}: raise steps')

    writers = Writers.open(workdir, config.steps, config.batch_size, config.log_every, report)
    run = _Run(stage, frozen, config, checkpoints, writers, held_out, mesh, record_name)
    writers.start(start, state.student)
    try:
        with _Signals() as signals, prefetch(batches(start), mesh, run.replacements) as source:
            for step in range(start, config.steps):
                if signals.caught:
                    break
                run.profile(step)
                state, metrics = update(state, frozen, next(source))
                run.after(step + 1, state, metrics)
            stopped_at = run.settle(state)
    finally:
        checkpoints.close()
        writers.close()
    if stopped_at < config.steps:
        report(f'stopped at step {stopped_at}, checkpoint written: run the same command to go on')
    return Result(state, frozen, stopped_at >= config.steps)


def _compile(stage, abstract, places, frozen, config, mesh, batches):
    """The donated, sharded step, lowered from shapes alone."""
    everywhere = sharding.replicated(mesh)
    jitted = jax.jit(
        stage.update,
        donate_argnums=0,
        in_shardings=(places, everywhere, sharding.batch_sharding(mesh)),
        out_shardings=(places, everywhere),
    )
    shapes = {name: jax.ShapeDtypeStruct(shape, dtype) for name, (shape, dtype) in _batch_shapes(batches).items()}
    return jitted.lower(abstract, jax.eval_shape(lambda: frozen), shapes).compile()


def _batch_shapes(batches: Callable[[int], Iterator[Batch]]) -> dict[str, tuple[tuple[int, ...], Any]]:
    shapes = getattr(batches, 'shapes', None)
    if shapes is None:
        raise ValueError('batches needs an attribute `shapes`: {name: (shape, dtype)} of the global batch')
    return shapes


@dataclass
class _Run:
    """What happens after a step: one-late metrics, logs, evaluation, checkpoints."""

    stage: Stage
    frozen: Tree
    config: LoopConfig
    checkpoints: Checkpoints
    writers: Writers
    held_out: Batch | None
    mesh: Mesh
    record_name: Callable[[int], str]
    pending: tuple[int, Any] | None = None
    window: list[dict[str, float]] = field(default_factory=list)
    step: int = 0
    replaced: list[int] = field(default_factory=list)
    records: int = 0
    _preview: Any = None

    def after(self, step: int, state: State, metrics: Any) -> None:
        previous, self.pending, self.step = self.pending, (step, metrics), step
        if previous is not None:
            self._arrived(*previous)
        self.writers.progress(step, time.time())
        pictures = None
        if self._due(step, self.config.preview_every) or self._due(step, self.config.eval_every):
            pictures = self._look(state)
        if pictures and self._due(step, self.config.preview_every):
            self.writers.images(step, pictures)
        score = self._score(step, pictures) if self._due(step, self.config.eval_every) else None
        if self._due(step, self.config.checkpoint_every) or score is not None:
            self._save(step, state, score)

    def settle(self, state: State) -> int:
        """The last metrics and the last checkpoint; returns the number of steps done."""
        step = int(state.step)
        self._flush()
        if step and (self.checkpoints.latest or 0) < step:
            self._save(step, state, None)
        return step

    def _due(self, step: int, every: int) -> bool:
        return bool(every) and (step % every == 0 or step == self.config.steps)

    def _flush(self) -> None:
        if self.pending is not None:
            previous, self.pending = self.pending, None
            self._arrived(*previous)

    def _arrived(self, step: int, metrics: Any) -> None:
        values = fetch(metrics)
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad:
            raise UserError(
                f'training stopped at step {step}: {", ".join(bad)} is not finite; the last checkpoint is '
                f'{self.checkpoints.latest or "none"}: lower the learning rate and run again'
            )
        self.window.append(values)
        if self._due(step, self.config.log_every):
            means = {name: float(np.mean([w[name] for w in self.window])) for name in values}
            if self.replaced:
                means['replaced_records'] = float(len(self.replaced))
            self.writers.scalars(step, means)
            self.window.clear()

    def _save(self, step: int, state: State, score: float | None) -> None:
        self._flush()  # a state whose own metrics are not finite is never written
        metrics = None if score is None else {'psnr': score}
        self.checkpoints.save(step, state, step, metrics)

    def _look(self, state: State) -> dict[str, np.ndarray] | None:
        if self.held_out is None:
            return None
        if self._preview is None:
            self._preview = jax.jit(self.stage.preview)
        pictures = self._preview(state, self.frozen, sharding.put_batch(self.held_out, self.mesh))
        return {name: np.asarray(value) for name, value in jax.device_get(pictures).items()}

    def _score(self, step: int, pictures: dict[str, np.ndarray] | None) -> float | None:
        """Mean PSNR-Y of the stage's own picture (its preview's first) against HR."""
        if not pictures:
            return None
        names = [name for name in pictures if name not in ('LQ', 'HR', 'teacher')] or ['teacher']
        images, wanted = (_to_uint8(pictures[name]) for name in (names[0], 'HR'))
        score = float(np.mean([psnr_y(a, b) for a, b in zip(images, wanted, strict=True)]))
        self.writers.writer.write_scalars(step, {'held_out_psnr_y': score})
        self.writers.report(f'step {step}: held-out PSNR-Y {score:.2f} dB ({names[0]})')
        return score

    def replacements(self, flags: np.ndarray) -> None:
        """Counts undecodable records; names the first ten; above 1 % the run stops."""
        self.records += len(flags)
        for index in flags[flags >= 0].tolist():
            self.replaced.append(index)
            if len(self.replaced) <= 10:
                self.writers.report(f'cannot decode {self.record_name(index)}: replaced by the next record')
        if len(self.replaced) > max(0.01 * self.records, 10):
            raise UserError(
                f'{len(self.replaced)} of {self.records} records cannot be decoded, more than 1 %; the first is '
                f'{self.record_name(self.replaced[0])}: mend or remove them'
            )

    def profile(self, step: int) -> None:
        start, steps = self.config.profile_start, self.config.profile_steps
        if steps and step == start:
            jax.profiler.start_trace(str(self.checkpoints.manager.directory.parent / 'profile'))
        if steps and step == start + steps:
            jax.profiler.stop_trace()


def _to_uint8(images: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(images / 2 + 0.5, 0, 1) * 255).astype(np.uint8)


class _Signals:
    """SIGTERM and Ctrl-C ask for an orderly end after the step in flight."""

    def __enter__(self) -> '_Signals':
        self.caught = False
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._catch) for s in (signal.SIGTERM, signal.SIGINT)}
        return self

    def _catch(self, number: int, frame: Any) -> None:
        self.caught = True

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class prefetch:  # noqa: N801, used like a function
    """Batches on the devices, two ahead, put there by one thread; `inspect` sees each batch's 'replaced' first."""

    def __init__(self, source: Iterator[Batch], mesh: Mesh, inspect: Callable[[np.ndarray], None], ahead: int = 2):
        self._queue: queue.Queue = queue.Queue(ahead)
        self._inspect, self._stop = inspect, threading.Event()
        self._thread = threading.Thread(target=self._work, args=(source, mesh), daemon=True)

    def __enter__(self) -> Iterator[dict[str, jax.Array]]:
        self._thread.start()
        return self._batches()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=10)

    def _batches(self) -> Iterator[dict[str, jax.Array]]:
        while True:
            item = self._queue.get()
            if isinstance(item, BaseException):
                raise item
            batch, flags = item
            self._inspect(flags)
            yield batch

    def _work(self, source: Iterator[Batch], mesh: Mesh) -> None:
        try:
            for batch in source:
                flags = batch['replaced']
                numbers = {name: value for name, value in batch.items() if name != 'replaced'}
                self._offer((sharding.put_batch(numbers, mesh), flags))
                if self._stop.is_set():
                    return
            raise ValueError('the data ended: a data set for training repeats without end')
        except BaseException as error:  # noqa: BLE001, handed to the thread that waits for it
            self._offer(error)

    def _offer(self, item: Any) -> None:
        while not self._stop.is_set():
            try:
                return self._queue.put(item, timeout=0.2)
            except queue.Full:
                continue
