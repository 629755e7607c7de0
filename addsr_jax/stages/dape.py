"""Stage `dape`: the degradation-aware prompt extractor (Wu et al. 2024, SeeSR, section 3.2).

loss = MSE(tokens of the degraded picture, target tokens of the clean one)
     + BCE(tags of the degraded picture, target tags of the clean one).
Targets are the frozen network's own answer to the clean picture (`clean_tokens`, low-rank adaptation of a
pretrained RAM), or statistics of the clean picture (`statistics`, a network trained from nothing).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from addsr_jax import trees
from addsr_jax.diffusion.denoiser import to_unit
from addsr_jax.errors import UserError
from addsr_jax.networks.build import Networks, apply, build
from addsr_jax.networks.prompt_extractor import dape, preprocess
from addsr_jax.ops.image import resize
from addsr_jax.stages import base, picture_statistics
from addsr_jax.stages.base import Batch, Recipe, Stage, State, Trainable
from addsr_jax.stages.objectives import DapeObjective
from addsr_jax.trees import Tree


def clean_tokens(networks: Networks, frozen: Tree, hr: jax.Array, interpolation: str) -> tuple[jax.Array, jax.Array]:
    """The frozen network's tokens [B, 1 + n, D] and tag probabilities [B, K] of the clean picture."""
    size = networks.spec.prompt_extractor.swin.image_size
    seen = preprocess(hr, size, kind=interpolation)
    tokens, logits = apply(networks.prompt_extractor, frozen['prompt_extractor'], seen, method='tokens_and_logits')
    return tokens, jax.nn.sigmoid(logits)


def statistics(networks: Networks, frozen: Tree, hr: jax.Array, interpolation: str) -> tuple[jax.Array, jax.Array]:
    """Colour and orientation statistics per token, and 32 words."""
    swin = networks.spec.prompt_extractor.swin
    cells = swin.image_size // swin.patch // 2 ** (len(swin.depths) - 1)
    clean = jnp.clip(resize(hr, (swin.image_size, swin.image_size), interpolation), 0, 1)
    return picture_statistics.token_targets(clean, cells), picture_statistics.word_targets(clean)


TARGETS: dict[str, Callable[[Networks, Tree, jax.Array, str], tuple[jax.Array, jax.Array]]] = {
    'clean_tokens': clean_tokens,
    'statistics': statistics,
}


def binary_cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean over tags of -[p log q + (1 - p) log(1 - q)], q = sigmoid(logits): [B]."""
    return (jax.nn.softplus(logits) - targets * logits).mean(axis=-1)


def make(recipe: Recipe, objective: DapeObjective) -> Stage:
    spec = recipe.spec
    networks = build(spec, recipe.dtype, recipe.attention)
    size = spec.prompt_extractor.swin.image_size
    targets = TARGETS[objective.targets]
    adapters, adapt = dape(spec.prompt_extractor), objective.trainable == 'lora'
    has = (spec.prompt_extractor.token_dim, spec.prompt_extractor.tagging.classes)
    fits = (picture_statistics.TOKEN_DIM, len(picture_statistics.WORDS))
    if objective.targets == 'statistics' and has != fits:
        raise UserError(
            f'statistics are {fits[0]} numbers a token and {fits[1]} words, which size {spec.name} does not have: '
            'set --config.objective.targets=clean_tokens'
        )

    learner = networks.prompt_extractor.clone(dropout=objective.dropout)

    def look(params: Tree, images: jax.Array, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Tokens and logits of images [B, S, S, 3], what is dropped drawn by each sample's own key [B]."""

        def one(key: jax.Array, image: jax.Array) -> tuple[jax.Array, jax.Array]:
            tokens, logits = apply(learner, params, image[None], method='tokens_and_logits', rngs={'dropout': key})
            return tokens[0], logits[0]

        return jax.vmap(one)(keys, images)

    trains = (Trainable('prompt_extractor', 'prompt_extractor', adapters=adapters if adapt else None),)

    def loss(trained: Tree, frozen: Tree, samples: Tree) -> tuple[jax.Array, base.Metrics]:
        batch = samples['batch']
        wanted_tokens, wanted_tags = targets(networks, frozen, to_unit(batch['hr']), objective.interpolation)
        lq = preprocess(jnp.clip(to_unit(batch['lq']), 0, 1), size, kind=objective.interpolation)
        params = base.assemble(trained, frozen, trains)['prompt_extractor']
        tokens, logits = base.recomputing(look, recipe.remat)(params, lq, samples['draws'])
        error = ((tokens.astype(jnp.float32) - wanted_tokens) ** 2).mean(axis=(1, 2))
        tags = binary_cross_entropy(logits.astype(jnp.float32), wanted_tags)
        total = objective.token_weight * error + objective.tag_weight * tags
        return total, {'token_mse': error.mean(), 'tag_bce': tags.mean()}

    def init(key: jax.Array, bundle: Tree) -> State:
        if adapt and 'dape' in bundle:
            params = base.copy(bundle['dape'])
        elif adapt or 'prompt_extractor' in bundle:
            params = trains[0].begin(key, bundle['prompt_extractor'])
        else:
            params = networks.initial('prompt_extractor', key)
        return base.simple_state({'prompt_extractor': params}, recipe.optimizers.params)

    def freeze(bundle: Tree) -> Tree:
        # the network that answers for the clean picture stays as it was, whatever is trained
        parts = ('prompt_extractor',) if adapt or objective.targets == 'clean_tokens' else ()
        return trees.cast(base.pick(bundle, parts, 'dape'), recipe.dtype)

    def export(state: State, bundle: Tree) -> Tree:
        learned = state.ema['prompt_extractor']
        # factors that the weights may hold were of another network
        return {'dape': learned} if adapt else {'prompt_extractor': learned, 'dape': None}

    def draw(key: jax.Array, batch: Batch) -> Tree:
        return base.per_sample(key, 'dropout', len(batch['hr']), lambda sample: sample)

    return Stage(
        name='dape',
        init=init,
        freeze=freeze,
        update=base.simple_update(loss, draw, recipe),
        preview=lambda state, frozen, batch: {'LQ': batch['lq'], 'HR': batch['hr']},
        scored='',
        export=export,
        spec_update=lambda state, frozen, make_batch: spec,
        adapts=True,
    )
