"""Orbax checkpoints of a run: the state and the data position together, whole or not at all."""

from dataclasses import dataclass
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from addsr_jax import places
from addsr_jax.errors import UserError
from addsr_jax.trees import Tree
from addsr_jax.weights import older


@dataclass(frozen=True)
class Checkpoints:
    """DIR/checkpoints/STEP; the newest `keep` stay, and the best by the held-out metric."""

    manager: ocp.CheckpointManager

    @classmethod
    def open(cls, workdir: Path, keep: int) -> 'Checkpoints':
        best = BestN(get_metric_fn=lambda m: m['psnr'], n=1, keep_checkpoints_without_metrics=False)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy([LatestN(keep), best]),
            cleanup_tmp_directories=True,
            enable_async_checkpointing=True,
        )
        folder = places.absolute(workdir / 'checkpoints')
        with places.answering(folder, 'opened'):
            return cls(ocp.CheckpointManager(folder, options=options))

    @property
    def latest(self) -> int | None:
        return self.manager.latest_step()

    def save(self, step: int, state: Tree, batches: int, metrics: dict[str, float] | None) -> None:
        """Saves in the background; `batches` is the data position."""
        if step in self.manager.all_steps():
            return
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), data=ocp.args.JsonSave({'batches': batches}))
        self.manager.save(step, args=items, metrics=metrics, force=True)

    def restore(self, abstract: Tree, shardings: Tree) -> tuple[Tree, int]:
        """(state, batches consumed) of the newest checkpoint, each leaf where `shardings` says."""
        wanted = jax.tree.map(
            lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), abstract, shardings
        )
        try:
            before = 'params' not in self._saved_tree()
            form = older.state_without_parts(wanted) if before else wanted
            items = ocp.args.Composite(state=ocp.args.StandardRestore(form), data=ocp.args.JsonRestore())
            restored = self.manager.restore(self.latest, args=items)
            state = older.state_with_parts(restored['state'], wanted) if before else restored['state']
        except (ValueError, KeyError, FileNotFoundError, AttributeError) as error:
            first = str(error).strip().splitlines()[0]
            raise UserError(
                f'{self.manager.directory}/{self.latest} cannot be restored ({first}): '
                'delete that step to go on from an earlier one, or choose another --workdir'
            ) from error
        return state, restored['data']['batches']

    def _saved_tree(self) -> Tree:
        """The newest state's tree of names, without its arrays."""
        with ocp.StandardCheckpointer() as reader:
            found = reader.metadata(self.manager.directory / str(self.latest) / 'state')
        return found.item_metadata.tree

    def close(self) -> None:
        """Joins what is still being written."""
        self.manager.wait_until_finished()
        self.manager.close()
