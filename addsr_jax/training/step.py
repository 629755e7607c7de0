"""The train step of a stage as one program, lowered from shapes alone, for the devices of a mesh."""

from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh

from addsr_jax import sharding
from addsr_jax.data.batches import Shapes
from addsr_jax.runtime import compiler_options, return_freed_memory
from addsr_jax.stages.base import Stage, State
from addsr_jax.trees import Tree


@dataclass(frozen=True)
class StateShapes:
    """Shapes of what a step takes beside its batch, and where the state lies on the mesh."""

    state: Tree
    shardings: Tree
    frozen: Tree
    frozen_shardings: Tree


def state_shapes(stage: Stage, params: Tree, mesh: Mesh) -> StateShapes:
    """params: {part: tree} of arrays or of shapes; nothing is allocated."""
    frozen = jax.eval_shape(stage.freeze, params)  # first: it says which part is missing
    state = jax.eval_shape(lambda given: stage.init(jax.random.key(0), given), params)
    return StateShapes(state, sharding.state_shardings(mesh, state), frozen, sharding.state_shardings(mesh, frozen))


def first_state(stage: Stage, params: Tree, shapes: StateShapes, seed: int) -> State:
    """The state before the first step, born sharded."""
    return jax.jit(stage.init, out_shardings=shapes.shardings)(jax.random.key(seed), params)


def trace_step(stage: Stage, shapes: StateShapes, batch: Shapes, mesh: Mesh) -> Any:
    """(state, frozen parameters, batch) -> (state, metrics), traced for the devices of `mesh`; the state is donated."""
    everywhere = sharding.replicated(mesh)
    step = jax.jit(
        stage.update,
        donate_argnums=0,
        in_shardings=(shapes.shardings, shapes.frozen_shardings, sharding.batch_sharding(mesh)),
        out_shardings=(shapes.shardings, everywhere),
        compiler_options=compiler_options(mesh),
    )
    arrays = {name: jax.ShapeDtypeStruct(shape, dtype) for name, (shape, dtype) in batch.items()}
    with jax.set_mesh(mesh):
        return step.trace(shapes.state, shapes.frozen, arrays)


def compile_step(stage: Stage, shapes: StateShapes, batch: Shapes, mesh: Mesh) -> Any:
    """The step as a program of this machine."""
    step = trace_step(stage, shapes, batch, mesh).lower().compile()
    return_freed_memory()
    return step
