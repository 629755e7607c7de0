"""The one loop that runs every stage.

Order: mesh and shapes, frozen networks, compile, restore or initialise, steps, end. Metrics of step n are fetched
after step n + 1 was dispatched, through `fetch` alone; batches reach the devices through `prefetch` alone.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from addsr_jax import sharding
from addsr_jax.data.batches import Batches
from addsr_jax.errors import UserError
from addsr_jax.evaluation.metrics import psnr_y
from addsr_jax.runtime import compiler_options, return_freed_memory
from addsr_jax.stages.base import Stage, State
from addsr_jax.training.checkpoints import Checkpoints
from addsr_jax.training.prefetch import prefetch
from addsr_jax.training.writers import Writers
from addsr_jax.trees import Tree

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


def fetch(tree: Mapping[str, jax.Array]) -> dict[str, np.ndarray]:
    """The only way from device to host inside the loop."""
    return {name: np.asarray(value) for name, value in jax.device_get(dict(tree)).items()}


def train(
    stage: Stage,
    bundle: Tree,
    batches: Batches,
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

    bundle: parameters by part, on the host. held_out: one host batch for evaluation and previews, or None.
    record_name: of a record that could not be decoded, by its index. report: gets lines for people.
    """
    check(stage, config, mesh)
    checkpoints = Checkpoints.open(workdir, config.keep)

    placed = place(stage, bundle, batches.shapes, mesh, seed)  # the step is compiled before any data is touched

    # Resume, else a new state, born sharded.
    if checkpoints.latest is not None:
        state, start = checkpoints.restore(placed.abstract, placed.places)
        report(f'resuming at step {start}')
    else:
        state, start = placed.new_state(), 0
    if start > config.steps:
        raise UserError(f'{workdir} is at step {start}, beyond --config.steps {config.steps}: raise steps')

    writers = Writers.open(workdir, config.steps, config.batch_size, config.log_every, report)
    run = _Run(stage, placed.frozen, config, checkpoints, writers, held_out, mesh, record_name, start)
    writers.start(start, state.params)
    try:
        with _Signals() as signals, prefetch(batches(start), mesh, run.replacements) as source:
            for step in range(start, config.steps):
                if signals.caught:
                    break
                run.profile(step)
                state, metrics = placed.update(state, placed.frozen, next(source))
                run.after(step + 1, state, metrics)
            stopped_at = run.settle(state)
    finally:
        checkpoints.close()
        writers.close()
    if stopped_at < config.steps:
        report(f'stopped at step {stopped_at}, checkpoint written: run the same command to go on')
    return Result(state, placed.frozen, stopped_at >= config.steps)


def check(stage: Stage, config: LoopConfig, mesh: Mesh) -> None:
    """What can be refused before anything is read or written."""
    sharding.check_batch(mesh, config.batch_size, config.accumulate)
    if not stage.scored and (config.eval_every or config.preview_every):
        raise UserError(f'stage {stage.name} makes no pictures: set --config.eval_every=0 --config.preview_every=0')


@dataclass(frozen=True)
class Placed:
    """A stage on the devices of a mesh: its compiled step, its frozen parameters, and where its state goes."""

    abstract: Tree
    places: Tree
    frozen: Tree
    update: Any
    new_state: Callable[[], State]  # born sharded


def place(stage: Stage, bundle: Tree, batch_shapes: Mapping[str, Any], mesh: Mesh, seed: int) -> Placed:
    """From shapes alone but for the frozen parameters; batch_shapes: name -> (shape, dtype)."""
    key = jax.random.key(seed)
    abstract = jax.eval_shape(stage.init, key, bundle)
    places = sharding.state_shardings(mesh, abstract)
    frozen = sharding.put_replicated(stage.freeze(bundle), mesh)
    update = compile_step(stage, abstract, places, frozen, mesh, batch_shapes)
    return Placed(abstract, places, frozen, update, lambda: jax.jit(stage.init, out_shardings=places)(key, bundle))


def compile_step(
    stage: Stage, abstract: Tree, places: Tree, frozen: Tree, mesh: Mesh, batch_shapes: Mapping[str, Any]
) -> Any:
    """The donated, sharded step, lowered from shapes alone."""
    everywhere = sharding.replicated(mesh)
    jitted = jax.jit(
        stage.update,
        donate_argnums=0,
        in_shardings=(places, everywhere, sharding.batch_sharding(mesh)),
        out_shardings=(places, everywhere),
        compiler_options=compiler_options(mesh),
    )
    batch = {name: jax.ShapeDtypeStruct(shape, dtype) for name, (shape, dtype) in batch_shapes.items()}
    step = jitted.lower(abstract, jax.eval_shape(lambda: frozen), batch).compile()
    return_freed_memory()
    return step


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
    step: int  # done
    pending: tuple[int, Any] | None = None
    window: list[dict[str, float]] = field(default_factory=list)
    replaced: list[int] = field(default_factory=list)
    records: int = 0
    _preview: Any = None

    def after(self, step: int, state: State, metrics: Any) -> None:
        previous, self.pending, self.step = self.pending, (step, metrics), step
        if previous is not None:
            self._arrived(*previous)
        self.writers.progress(step, time.time())
        show, judge = (self._due(step, every) for every in (self.config.preview_every, self.config.eval_every))
        pictures = self._look(state) if show or judge else {}
        if pictures and show:
            self.writers.images(step, pictures)
        score = self._score(step, pictures) if pictures and judge else None
        if self._due(step, self.config.checkpoint_every) or score is not None:
            self._save(step, state, score)

    def settle(self, state: State) -> int:
        """The last metrics and the last checkpoint; returns the number of steps done."""
        self._flush()
        if self.step > (self.checkpoints.latest or 0):
            self._save(self.step, state, None)
        return self.step

    def _due(self, step: int, every: int) -> bool:
        return bool(every) and (step % every == 0 or step == self.config.steps)

    def _flush(self) -> None:
        if self.pending is not None:
            previous, self.pending = self.pending, None
            self._arrived(*previous)

    def _arrived(self, step: int, metrics: Any) -> None:
        values = {name: float(value) for name, value in fetch(metrics).items()}
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

    def _look(self, state: State) -> dict[str, np.ndarray]:
        """The stage's pictures of the held-out batch; none where there is no such batch."""
        if self.held_out is None:
            return {}
        if self._preview is None:
            self._preview = jax.jit(self.stage.preview, compiler_options=compiler_options(self.mesh))
        return fetch(self._preview(state, self.frozen, sharding.put_replicated(self.held_out, self.mesh)))

    def _score(self, step: int, pictures: dict[str, np.ndarray]) -> float:
        """Mean PSNR-Y of the judged picture against HR."""
        images, wanted = (_to_uint8(pictures[name]) for name in (self.stage.scored, 'HR'))
        score = float(np.mean([psnr_y(a, b) for a, b in zip(images, wanted, strict=True)]))
        self.writers.score(step, 'held_out_psnr_y', score)
        return score

    def replacements(self, flags: np.ndarray) -> None:
        """Counts undecodable records; names the first ten; above 1 % the run stops."""
        self.records += len(flags)
        for index in flags[flags >= 0].tolist():
            known = index in self.replaced  # from an earlier epoch
            self.replaced.append(index)
            if not known and len(self.replaced) <= 10:
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
            self.writers.report(f'profile of steps {start} to {step} written')


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
