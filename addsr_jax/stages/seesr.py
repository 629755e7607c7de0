"""Stage `seesr`: the teacher, diffusion conditioned on the low-quality image (Wu et al. 2024, SeeSR, section 3.3).

loss = MSE(network(z_t, t; l, e(l), p), target), z_t = sqrt(abar_t) E(h) + sqrt(1 - abar_t) noise, where the
target is noise or velocity as the model's schedule says. With `huber_c` the pseudo-Huber loss takes the place of the
square (Song & Dhariwal 2023, section 3.3): large errors, in texture that nobody can predict, count less, and small
ones, grain on flat areas, count more.
"""

import jax
import jax.numpy as jnp

from addsr_jax import trees
from addsr_jax.diffusion.denoiser import Denoiser, to_unit
from addsr_jax.diffusion.methods import student_timesteps
from addsr_jax.networks.build import Networks, build
from addsr_jax.stages import base
from addsr_jax.stages.base import Batch, Recipe, Stage, State, Trainable
from addsr_jax.stages.objectives import SeesrObjective
from addsr_jax.trees import Tree

# What is trained of which part. Published: the whole ControlNet and the UNet's image attentions (train_seesr.py).
TRAINABLE = {
    'all': (Trainable('teacher', 'teacher'), Trainable('text_encoder', 'text_encoder')),
    'image_attentions': (Trainable('teacher', 'teacher', ('controlnet/.*', r'unet/.*image_attentions_\d+/.*')),),
}


def initial_parts(networks: Networks, key: jax.Array, bundle: Tree) -> Tree:
    """{'teacher': {'unet', 'controlnet'}, 'text_encoder'}: the bundle's where it has them, else drawn from `key`.

    From Stable Diffusion's own UNet (part 'unet'): image attentions are new, and the ControlNet begins as a copy of
    the UNet's way down, the new attentions included, with its zero convolutions (train_seesr.py).
    """

    def drawn(name: str) -> Tree:
        return networks.initial(name, base.stream(key, name))

    if 'teacher' in bundle:
        teacher = bundle['teacher']
    elif 'unet' in bundle:
        unet = trees.overlay(linear_draws(drawn('unet'), base.stream(key, 'linear')), bundle['unet'])
        source = trees.flatten(unet)
        own = trees.flatten(drawn('controlnet'))
        controlnet = trees.unflatten({path: source.get(path, value) for path, value in own.items()})
        teacher = {'unet': unet, 'controlnet': controlnet}
    else:
        teacher = {name: drawn(name) for name in ('unet', 'controlnet')}
    text_encoder = bundle['text_encoder'] if 'text_encoder' in bundle else drawn('text_encoder')
    return base.copy({'teacher': teacher, 'text_encoder': text_encoder})


def linear_draws(params: Tree, key: jax.Array) -> Tree:
    """The tree with kernels [I, O] and their biases drawn as the original's: uniform within 1 / sqrt(I)."""
    flat = trees.flatten(params)

    def drawn(path: str, value: jax.Array) -> jax.Array:
        layer, _, leaf = path.rpartition('/')
        weights = flat.get(f'{layer}/kernel')
        if leaf not in ('kernel', 'bias') or weights is None or weights.ndim != 2:
            return value
        bound = weights.shape[0] ** -0.5
        return jax.random.uniform(base.stream(key, path), value.shape, value.dtype, -bound, bound)

    return trees.unflatten({path: drawn(path, value) for path, value in flat.items()})


def huber(square: jax.Array, c: float) -> jax.Array:
    """Pseudo-Huber loss of a squared error e^2: 2 c (sqrt(e^2 + c^2) - c), e^2 for small e and 2 c |e| for large.

    c = 0: e^2 itself.
    """
    return 2 * c * square / (jnp.sqrt(square + c * c) + c) if c else square  # small e do not cancel in this form


def make(recipe: Recipe, objective: SeesrObjective) -> Stage:
    spec = recipe.spec
    networks = build(spec, recipe.dtype, recipe.attention)
    teacher = Denoiser(networks, 'teacher')
    trains = TRAINABLE[objective.trainable]

    def loss(trained: Tree, frozen: Tree, samples: Tree) -> tuple[jax.Array, base.Metrics]:
        params = base.assemble(trained, frozen, trains)
        batch, draws = samples['batch'], samples['draws']
        z0 = jax.lax.stop_gradient(teacher.encode(frozen, batch['hr'], draws['posterior']))
        z = teacher.add_noise(z0, draws['noise'], draws['timesteps'])
        text = teacher.embed_text(params, batch['tokens'])
        condition = teacher.condition(frozen, to_unit(batch['lq']), text, clip_view=True)
        network_output = base.recomputing(teacher.network_output, recipe.remat)
        output = network_output({'teacher': params['teacher']}, z, draws['timesteps'], condition)
        square = (output - teacher.training_target(z0, draws['noise'], draws['timesteps'])) ** 2
        return huber(square, objective.huber_c).mean(axis=(1, 2, 3)), {'mse': square.mean()}

    def draw(key: jax.Array, batch: Batch) -> Tree:
        b, h, w, _ = batch['hr'].shape
        shape = (h // spec.autoencoder.factor, w // spec.autoencoder.factor, spec.unet.out_channels)
        uniform = base.per_sample(key, 'timestep', b, lambda k: jax.random.randint(k, (), 0, spec.schedule.steps))
        chain = jnp.asarray(student_timesteps(4, spec.schedule.steps))
        late = base.per_sample(key, 'late', b, lambda k: chain[jax.random.randint(k, (), 0, 4)])
        use_late = base.per_sample(key, 'is_late', b, lambda k: jax.random.uniform(k)) < objective.late_timesteps
        return {
            'timesteps': jnp.where(use_late, late, uniform),
            'noise': base.per_sample(key, 'noise', b, lambda k: jax.random.normal(k, shape)),
            'posterior': base.per_sample(key, 'posterior', b, lambda k: jax.random.normal(k, shape)),
        }

    def init(key: jax.Array, bundle: Tree) -> State:
        parts = initial_parts(networks, key, bundle)
        return base.simple_state({t.part: t.begin(key, parts[t.source]) for t in trains}, recipe.optimizers.params)

    def kept(bundle: Tree) -> Tree:
        """{part: tensors} that stay: of Stable Diffusion's own UNet where there is no teacher yet."""
        started = {'teacher': {'unet': bundle['unet']}} if 'unet' in bundle and 'teacher' not in bundle else {}
        parts = {**{name: bundle[name] for name in ('teacher', 'text_encoder') if name in bundle}, **started}
        patterns = {t.source: t for t in trains}
        return {name: patterns[name].rest(tree) if name in patterns else tree for name, tree in parts.items()}

    def freeze(bundle: Tree) -> Tree:
        parts = base.pick(bundle, ('autoencoder', 'prompt_extractor'), 'seesr')
        if objective.trainable != 'all':
            base.pick(bundle, ('unet' if 'unet' in bundle else 'teacher', 'text_encoder'), 'seesr')
        return trees.cast({**parts, **kept(bundle)}, recipe.dtype)

    def preview(state: State, frozen: Tree, batch: Batch) -> dict[str, jax.Array]:
        """One step from pure noise level: the prediction at the last timestep, given the LQ image."""
        params = base.assemble(state.ema, frozen, trains)
        text = teacher.embed_text(params, batch['tokens'])
        condition = teacher.condition(frozen, to_unit(batch['lq']), text, clip_view=True)
        latents = teacher.encode(frozen, batch['lq'], jnp.zeros(()))
        t = jnp.full(latents.shape[:1], spec.schedule.steps - 1)
        noise = jax.random.normal(jax.random.key(recipe.seed), latents.shape[1:])
        z0 = teacher.predict_z0(params, teacher.add_noise(latents, noise, t), t, condition)
        return {'LQ': batch['lq'], 'teacher': teacher.decode(frozen, z0, batch['lq']), 'HR': batch['hr']}

    def export(state: State, bundle: Tree) -> Tree:
        params = base.assemble(state.ema, kept(bundle), trains)
        # its UNet holds all of Stable Diffusion's own
        return {'text_encoder': params['text_encoder'], 'teacher': params['teacher'], 'unet': None}

    return Stage(
        name='seesr',
        init=init,
        freeze=freeze,
        update=base.simple_update(loss, draw, recipe),
        preview=preview,
        scored='teacher',
        export=export,
        spec_update=lambda state, frozen, make_batch: spec,
    )
