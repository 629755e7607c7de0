"""Orbax checkpoints of a run: the state and the data position together, whole or not at all, and right or refused."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, LatestN

from addsr_jax import attempts, places, processes
from addsr_jax.errors import Momentary, UserError
from addsr_jax.training import record
from addsr_jax.training.record import Damage
from addsr_jax.trees import Tree
from addsr_jax.weights import older, orbax_folder

ASIDE = 'damaged'  # beside checkpoints/: what is not whole, and stands in nobody's way there
COMMITTED = 'commit_success.txt'  # of a checkpoint in a bucket, which Orbax writes last


@dataclass(frozen=True)
class Best:
    """Orbax's rule that the step with the highest score stays, the newest of several."""

    scores: dict[int, float]  # by step

    def should_preserve(self, checkpoints: Sequence[Any], **_: Any) -> list[bool]:
        scored = [c.step for c in checkpoints if c.step in self.scores]
        best = max(scored, key=lambda step: (self.scores[step], step), default=None)
        return [c.step == best for c in checkpoints]


@dataclass(frozen=True)
class Checkpoints:
    """DIR/checkpoints/STEP; the newest `keep` stay, and the best by the PSNR of held-out pictures."""

    workdir: Path
    keep: int

    @classmethod
    def open(cls, workdir: Path, keep: int) -> 'Checkpoints':
        return cls(places.absolute(workdir), keep)

    @property
    def folder(self) -> Path:
        return self.workdir / 'checkpoints'

    @cached_property
    def manager(self) -> ocp.CheckpointManager:
        """Opened for the first save, when nothing that is damaged is in its way any more."""
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy([LatestN(self.keep), Best(self.scores)]),
            cleanup_tmp_directories=True,
            enable_async_checkpointing=True,
        )
        attempts.quiet_in_background()
        with attempts.quiet():  # damaged notes of Orbax's own change nothing
            return ocp.CheckpointManager(self.folder, options=options)

    @cached_property
    def scores(self) -> dict[int, float]:
        """Of the steps that have one: those of earlier starts lie in their records, which Orbax does not read."""
        found = {step: record.score_of(record_of(self.folder / str(step))) for step in self.steps}
        return {step: score for step, score in found.items() if score is not None}

    @property
    def steps(self) -> list[int]:
        """In the folder, from the oldest to the newest."""
        with places.answering(self.folder, 'read'):
            found = ocp.path.step.standard_name_format().find_all(self.folder)
            return sorted(metadata.step for metadata in found)

    @property
    def latest(self) -> int | None:
        """The newest step, which may still be on its way to the disk."""
        return self.manager.latest_step() if 'manager' in self.__dict__ else max(self.steps, default=None)

    def check_steps(self, steps: int) -> None:
        """A UserError where the run is further than `steps`, which it shall go to."""
        done = self.latest or 0
        if done > steps:
            raise UserError(f'{self.workdir} is at step {done}, beyond --config.steps {steps}: raise steps')

    def save(self, step: int, state: Tree, score: float | None = None) -> None:
        """Saves in the background; every step took a batch. `score`: the held-out PSNR where there is one."""
        beside = ocp.args.JsonSave(record.made(state, step, score))
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), data=beside)

        def save() -> None:
            if step not in self.manager.all_steps():
                if score is not None:
                    self.scores[step] = score
                self.manager.save(step, args=items, force=True)

        self._write(save)

    def restore(self, abstract: Tree, shardings: Tree, report: Callable[[str], None]) -> tuple[Tree, int]:
        """(state, batches consumed) of the newest checkpoint that is whole, each leaf where `shardings` says.

        Newer ones are named and set aside; a UserError where none is whole, and Momentary where storage does not say
        whether one is. Nothing is moved then.
        """
        wanted = jax.tree.map(
            lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), abstract, shardings
        )
        broken: dict[int, str] = {}
        for step in reversed(self.steps):
            try:
                found = self._whole(step, wanted)
            except Damage as damage:
                broken[step] = str(damage)
                continue
            for damaged, reason in broken.items():
                report(f'{self.folder / str(damaged)} is damaged ({reason}): moved to {self._set_aside(damaged)}')
            return found
        newest = max(broken)
        others = f', nor is any of the {len(broken) - 1} before it' if len(broken) > 1 else ''
        raise UserError(
            f'{self.folder / str(newest)} is not whole ({broken[newest]}){others}: '
            'copy a whole one there, or choose another --workdir'
        )

    def _whole(self, step: int, wanted: Tree) -> tuple[Tree, int]:
        """What `restore` returns, of one step; Damage, which all processes raise together, where it is not whole."""
        folder = self.folder / str(step)
        restored, reason, kind = None, '', None
        try:
            restored = attempts.attempt(lambda: _read(folder, wanted))
        except attempts.Failed as error:
            reason, kind = str(error), error.kind
        except Momentary as error:
            reason, kind = str(error), Momentary
        worst = processes.from_all(np.asarray([0 if not reason else 1 if kind is None else 2])).max()
        if worst == 2:  # nobody knows what lies there
            if kind is UserError:
                raise UserError(f'{folder} cannot be read ({reason}): see that this user may read there')
            said = reason if kind else 'by another process'
            raise Momentary(f'{folder} cannot be read now ({said}): run the same command again')
        if worst == 1:
            raise Damage(reason or 'another process cannot read it')
        assert restored is not None
        if (batches := restored.record['batches']) != step:  # a folder that somebody renamed or exchanged
            raise Damage(f'it holds a state after {batches} steps')
        if wrong := record.damaged(restored.record, restored.saved):
            more = f' and {len(wrong) - 1} more tensors' if len(wrong) > 1 else ''
            raise Damage(f'{wrong[0]}{more} differ from what was written')
        return restored.state(wanted), restored.record['batches']

    def _set_aside(self, step: int) -> Path:
        """Moves a step to where it stands in nobody's way; the place."""
        source, target = self.folder / str(step), self.workdir / ASIDE / str(step)
        for n in itertools.count(2):
            if not target.exists():
                break
            target = self.workdir / ASIDE / f'{step}-{n}'
        if processes.first():
            try:
                places.move_folder(source, target, first=COMMITTED)
            except OSError as error:
                raise UserError(
                    f'{source} is damaged and cannot be moved to {target} ({error.strerror}): move it away'
                ) from error
        processes.wait('set aside')
        return target

    def _write(self, work: Callable[[], object]) -> None:
        """Whatever a save says, now or when something waits for it, is one line with what is left."""
        try:
            attempts.attempt(work)
        except attempts.Failed as error:
            newest = max(self.steps, default='none')
            raise error.of_write(
                f'{self.folder} cannot be written ({error}); the last whole checkpoint is {newest}'
            ) from error

    def close(self) -> None:
        """Joins what is still being written."""
        if 'manager' in self.__dict__:
            self._write(self.manager.close)


@dataclass(frozen=True)
class Restored:
    """What lies in a checkpoint, before it is known to be right."""

    record: dict[str, Any]
    saved: Tree
    older: bool

    def state(self, wanted: Tree) -> Tree:
        return older.state_with_parts(self.saved, wanted) if self.older else self.saved


def record_of(folder: Path) -> Path:
    """The file of a checkpoint's record."""
    return folder / 'data' / 'metadata'


def _read(folder: Path, wanted: Tree) -> Restored:
    """A checkpoint by this process alone: one that fails must not leave the others waiting.

    UserError where a whole checkpoint is of another kind of run; any other exception is damage, or storage's.
    """
    found = record.read(record_of(folder))
    orbax_folder.check(folder / 'state', len(found.get('leaves', jax.tree.leaves(wanted))))
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(me, {me}, 'restore')
    with ocp.StandardCheckpointer(multiprocessing_options=alone) as reader:
        tree = orbax_folder.described(reader, folder / 'state')
        before = 'params' not in tree
        form = older.state_without_parts(wanted) if before else wanted
        if wrong := record.differences(found, form):
            raise UserError(f'{folder} is of another run ({wrong[0]}): choose another --workdir')
        return Restored(found, reader.restore(folder / 'state', form), before)
