"""What every stage of training is: a few pure functions, a state, and the names of what it trains.

The loop knows nothing else. Parameters are {part: tree} everywhere, with the parts of a bundle. `update` gets the
state, the frozen parts and a batch
{'hr': [B, H, W, 3] in [-1, 1], 'lq': the same size and range, 'tokens': [B, 77] int32}.
"""

import dataclasses
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from addsr_jax import trees
from addsr_jax.errors import UserError
from addsr_jax.networks.layers import BLOCK
from addsr_jax.networks.lora import Adapters
from addsr_jax.specs import ModelSpec
from addsr_jax.trees import Tree

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


DECODER = ('decoder/.*', 'post_quant_conv/.*')  # paths of an autoencoder that its latents do not depend on


@struct.dataclass
class State:
    """Everything that training changes, and nothing else."""

    step: jax.Array  # [] int32, updates done
    params: Tree  # {part: tree} of what is trained, float32
    ema: Tree  # exponential moving average of `params`
    optimizer: Tree
    discriminator: Tree  # {'params', 'spectral'}, or None
    discriminator_optimizer: Tree  # or None


@dataclass(frozen=True)
class Trainable:
    """What is trained of one part: tensors of their own, or low-rank adapters of tensors that stay."""

    part: str
    source: str  # the part that it begins as, whose other tensors it keeps
    patterns: tuple[str, ...] = ('.*',)  # regexes of the paths that are trained; not used with adapters
    adapters: Adapters | None = None
    under: str | None = None  # the part whose tensors stand where `source` has none of its own: held once

    def whole(self, parts: Tree) -> Tree:
        """The tree of `source` in these parts."""
        own = parts.get(self.source, {})
        return own if self.under is None else trees.overlay(parts[self.under], own)

    def begin(self, key: jax.Array, params: Tree) -> Tree:
        """The trained tensors as they begin, in float32; `params` is the tree of `source`."""
        if self.adapters is not None:
            return self.adapters.init(key, params)
        return copy(trees.select(params, self.patterns))

    def rest(self, params: Tree) -> Tree:
        """The tensors of `source` that stay as they are."""
        return params if self.adapters is not None else trees.remove(params, self.patterns)


def assemble(trained: Tree, frozen: Tree, trainables: Sequence[Trainable]) -> Tree:
    """Whole networks {part: tree}: trained tensors laid over the frozen ones of their source, adapters merged."""
    networks = dict(frozen)
    for t in trainables:
        base, own = t.whole(frozen), trained[t.part]
        networks[t.part] = t.adapters.merge(base, own) if t.adapters is not None else trees.overlay(base, own)
    return networks


@dataclass(frozen=True)
class Optimizers:
    params: optax.GradientTransformation
    discriminator: optax.GradientTransformation


@dataclass(frozen=True)
class Recipe:
    """What every stage is made from, whatever its objective."""

    spec: ModelSpec
    optimizers: Optimizers
    ema: float  # decay of the exponential moving average, 0..1
    ema_warmup: bool  # whether it begins lower
    seed: int  # root of all random numbers
    accumulate: int  # micro-batches an update is split into
    dtype: Any  # of compute; what is trained stays float32
    remat: str = 'none'  # what the backward pass recomputes: see `recomputing`
    attention: str = 'chunked'  # a kernel of ops.attention


@dataclass(frozen=True, kw_only=True)
class Stage:
    """`init` and `update` are pure and not jitted; `freeze` and `export` only pick and merge trees."""

    name: str
    init: Callable[[jax.Array, Tree], State]  # (key, bundle) -> state; never aliases its inputs
    freeze: Callable[[Tree], Tree]  # bundle -> frozen parts, in the dtype that they compute in
    update: Callable[[State, Tree, Batch], tuple[State, Metrics]]
    preview: Callable[[State, Tree, Batch], dict[str, jax.Array]]  # name -> images [B, H, W, 3] in [-1, 1], as shown
    scored: str  # the picture of `preview` that is scored against its 'HR'; '' where a stage makes no pictures
    export: Callable[[State, Tree], Tree]  # (state, bundle) -> the parts that changed, EMA weights; None: drop it
    # the spec that `final/` records; the batch of a stage that measures it is made when it is asked for
    spec_update: Callable[[State, Tree, Callable[[], Batch]], ModelSpec]
    distances: tuple[str, ...] = ()  # networks of losses among the frozen parts, which no weights hold: 'lpips'
    continues: bool = False  # `init` takes the 'training' part that an earlier `final/` keeps beside its weights
    adapts: bool = False  # works on the prompt extractor's low-rank adaptation, which it gets apart from the weights
    adapters: Callable[[State], Tree] | None = None  # {network: averaged low-rank factors, scale inside lora_B}


@dataclass(frozen=True)
class StageKind:
    """How the door makes a stage: the part of a bundle that is new after it, its objective's dataclass, the maker."""

    part: str
    objective: type
    make: Callable[[Recipe, Any], Stage]


def pick(bundle: Tree, parts: tuple[str, ...], stage: str) -> Tree:
    """These parts of a bundle; a UserError names those it lacks."""
    missing = [part for part in parts if part not in bundle]
    if missing:
        raise UserError(
            f'stage {stage} needs {", ".join(missing)}, which --config.weights does not hold: '
            'train the earlier stages first, or convert weights that have them'
        )
    return {part: bundle[part] for part in parts}


def copy(tree: Tree, dtype: Any = jnp.float32) -> Tree:
    """A copy in new buffers, so that a donated state never shares memory with its source."""
    return jax.tree.map(lambda x: jnp.copy(x.astype(dtype)), tree)


def stream(key: jax.Array, name: str) -> jax.Array:
    """The key of a named stream of random numbers."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)


def per_sample(key: jax.Array, name: str, batch: int, draw: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """`draw` with one key per sample: sample i gets the same numbers whatever the batch it stands in."""
    named = stream(key, name)
    return jax.vmap(lambda i: draw(jax.random.fold_in(named, i)))(jnp.arange(batch))


def ema_update(ema: Tree, params: Tree, decay: float, step: jax.Array, *, warmup: bool) -> Tree:
    """ema <- d ema + (1 - d) params; d is `decay`, with warmup no more than (1 + step) / (10 + step)."""
    d = jnp.minimum(decay, (1.0 + step) / (10.0 + step)) if warmup else decay
    return jax.tree.map(lambda e, p: e * d + p * (1 - d), ema, params)


def apply_gradients(
    optimizer: optax.GradientTransformation, gradients: Tree, state: Tree, params: Tree
) -> tuple[Tree, Tree]:
    """(new parameters, new optimiser state)."""
    updates, state = optimizer.update(gradients, state, params)
    return optax.apply_updates(params, updates), state


def recomputing(f: Callable[..., Any], remat: str) -> Callable[..., Any]:
    """A network's function of (parameters, inputs), whose backward pass keeps less and computes it again.

    remat: 'none'; 'blocks' keeps the results of blocks alone, for one more forward; 'full' the inputs, for two.
    """
    if remat == 'none':
        return f
    blocks = jax.checkpoint(f, policy=jax.checkpoint_policies.save_only_these_names(BLOCK))
    return blocks if remat == 'blocks' else jax.checkpoint(blocks)


def mean_over(f: Callable[[Tree], Tree], samples: Tree, micro_batches: int) -> Tree:
    """Mean of f(samples) over equal micro-batches, one after the other; f itself where there is one.

    `samples` is a tree of arrays whose first axis is the batch (data and draws alike), so means over M micro-batches
    equal those of one batch to float32 rounding.
    """
    if micro_batches == 1:
        return f(samples)
    parts = split(samples, micro_batches)
    shapes = jax.eval_shape(f, jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    total, _ = jax.lax.scan(lambda t, part: (jax.tree.map(jnp.add, t, f(part)), None), zeros, parts)
    return jax.tree.map(lambda x: x / micro_batches, total)


def split(samples: Tree, micro_batches: int) -> Tree:
    """[B, ...] leaves as [M, B / M, ...]; sample i of a shard stays on its device (i = b * M + m)."""
    return jax.tree.map(lambda x: x.reshape(-1, micro_batches, *x.shape[1:]).swapaxes(0, 1), samples)


def join(parts: Tree) -> Tree:
    """The inverse of `split`."""
    return jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), parts)


def simple_update(
    loss: Callable[[Tree, Tree, Tree], tuple[jax.Array, Metrics]],
    draw: Callable[[jax.Array, Batch], Tree],
    recipe: Recipe,
) -> Callable[[State, Tree, Batch], tuple[State, Metrics]]:
    """The update of a stage with one player: `loss(trained, frozen, {batch and draws}) -> (loss [B], metrics)`."""

    def update(state: State, frozen: Tree, batch: Batch) -> tuple[State, Metrics]:
        def mean_loss(trained: Tree, samples: Tree) -> tuple[jax.Array, Metrics]:
            value, metrics = loss(trained, frozen, samples)
            return value.mean(), metrics

        def gradient(samples: Tree) -> Tree:
            return jax.value_and_grad(mean_loss, has_aux=True)(state.params, samples)

        key = jax.random.fold_in(jax.random.key(recipe.seed), state.step)
        samples = {'batch': batch, 'draws': draw(key, batch)}
        (value, metrics), gradients = mean_over(gradient, samples, recipe.accumulate)
        params, optimizer = apply_gradients(recipe.optimizers.params, gradients, state.optimizer, state.params)
        metrics = {**metrics, 'loss': value, 'gradient_norm': optax.tree.norm(gradients)}
        return dataclasses.replace(
            state,
            step=state.step + 1,
            params=params,
            ema=ema_update(state.ema, params, recipe.ema, state.step, warmup=recipe.ema_warmup),
            optimizer=optimizer,
        ), metrics

    return update


def resumable(state: State) -> Tree:
    """What `final/` keeps beside the weights, as its 'training' part: optimisers and discriminator."""
    kept = {
        'optimizer': state.optimizer,
        'discriminator': state.discriminator,
        'discriminator_optimizer': state.discriminator_optimizer,
    }
    return {name: value for name, value in kept.items() if value is not None}


def resumed(state: State, training: Tree) -> State:
    """A first state with the 'training' part of an earlier run; learning rates start over, moments do not."""
    schedule = optax.ScaleByScheduleState

    def rewound(leaf: Any) -> Any:
        return schedule(jnp.zeros_like(leaf.count)) if isinstance(leaf, schedule) else jnp.copy(leaf)

    parts = jax.tree.map(rewound, training, is_leaf=lambda leaf: isinstance(leaf, schedule))
    return dataclasses.replace(state, **parts)


def simple_state(params: Tree, optimizer: optax.GradientTransformation) -> State:
    """The first state of a stage without a discriminator."""
    return State(
        step=jnp.zeros((), jnp.int32),
        params=params,
        ema=copy(params),
        optimizer=optimizer.init(params),
        discriminator=None,
        discriminator_optimizer=None,
    )
