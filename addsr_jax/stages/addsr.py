"""Stage `addsr`: a student of four steps distilled from the teacher (AddSR, arXiv 2404.01717, section 3).

Symbols as in the paper: h the high-resolution image, l the low-resolution one at the size of h, E and D the
autoencoder, F_theta the student and F_psi the teacher as predictors of z0, s the student's timestep, t the
teacher's, c the condition image, e(.) the image prompt. The parts of the objective, in order:

    first prediction, condition    prediction-based self-refinement (PSR), section 3.2
    student                        x_theta = clip(D(F_theta(z_s, s; c, e(c)))), section 3.1
    distillation                   L_distill with d(s, t), timestep-adaptive ADD, section 3.3, eq. 5 to 7
    discriminator, adversarial     hinge losses on projected features, eq. 3 and 4
    update                         L_G = L_distill + 0.02 L_adv; who learns from what, and in which order

Where the published code differs from the paper a switch of `Objective` says so; `released` sets them all
(docs/differences.md).
"""

import dataclasses
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import optax

from addsr_jax import trees
from addsr_jax.diffusion import sampler, schedule
from addsr_jax.diffusion.denoiser import Conditioning, Denoiser, to_unit
from addsr_jax.networks.build import build
from addsr_jax.networks.discriminator import power_iteration
from addsr_jax.specs import ModelSpec
from addsr_jax.stages import base
from addsr_jax.stages.addsr_draws import Draws, draw
from addsr_jax.stages.addsr_objective import Objective, distillation_weight, step_index
from addsr_jax.stages.base import Batch, Metrics, Recipe, Stage, State
from addsr_jax.stages.projected import Projection, gradient_penalty, make_projection
from addsr_jax.trees import Tree

# Published training set: image attentions of both networks and the condition encoder (reference: train_addsr.py).
TRAINABLE = {
    'all': ('.*',),
    'image_attentions': (r'.*image_attentions_\d+/.*', 'controlnet/controlnet_cond_embedding/.*'),
}


@dataclass(frozen=True)
class Losses:
    """The terms of section 3, each (trained or x_theta, frozen, samples) -> (loss [B], metrics).

    `samples` is {'batch', 'draws'}; `context` is what `prepare` derived from them without gradient.
    """

    model: Denoiser
    projection: Projection
    objective: Objective

    def whole(self, trained: Tree, frozen: Tree) -> Tree:
        """The student's networks: what is trained, and the rest of what it started from."""
        return base.whole(trained, frozen[self.objective.start])

    def prepare(self, trained: Tree, frozen: Tree, samples: Tree) -> Tree:
        """Everything that precedes the graded step: z_s, s, its index p, the conditions, the texts."""
        o, batch, draws = self.objective, samples['batch'], samples['draws']
        hr, low = batch['hr'], to_unit(batch['lq'])
        text = self.model.embed_text(frozen, batch['tokens'])
        told_lq = self.model.condition(frozen, low, text, clip_view=True)
        sees_hr = o.teacher_condition == 'hr'  # plain ADD tells the teacher the LQ image
        told_teacher = self.model.condition(frozen, to_unit(hr), text, clip_view=True) if sees_hr else told_lq
        z_hr = self.model.encode(frozen, hr, draws.posterior)
        chain = jnp.asarray(o.timesteps)
        one_step = draws.one_step
        s = jnp.where(one_step, chain[0], chain[draws.chain_start + 1])

        def refined(_):
            return self.second_condition(trained, frozen, z_hr, told_lq, draws)

        def plain(_):
            return told_lq, z_hr

        if o.branch == 'per_batch':  # half the cost: whole batches take one branch
            told, z_start = jax.lax.cond(one_step[0], plain, refined, None)
        else:
            told, z_start = jax.tree.map(lambda a, b: _where(one_step, a, b), plain(None), refined(None))
        context = {
            's': s,
            'p': step_index(o, one_step, draws.chain_start),
            'z_s': self.model.add_noise(z_start, draws.noise, s),
            'student': told,
            'teacher': told_teacher,
            'lq': told_lq,
        }
        return jax.lax.stop_gradient(context)

    def second_condition(
        self, trained: Tree, frozen: Tree, z_hr: jax.Array, told_lq: Conditioning, draws: Draws
    ) -> tuple[Conditioning, jax.Array]:
        """PSR: the condition of a second step is the decoded first prediction, and so is its latent's start."""
        o = self.objective
        s_first = jnp.asarray(o.timesteps)[draws.chain_start]
        z_first = self.model.add_noise(z_hr, draws.first_noise, s_first)
        z0 = self.model.predict_z0({'student': self.whole(trained, frozen)}, z_first, s_first, told_lq)
        x = self.model.decode(frozen, z0)
        x = x if o.psr_range == 'signed' else to_unit(x)
        image = o.psr_train * x + (1 - o.psr_train) * told_lq.image
        told = self.model.condition(frozen, image, told_lq.text)
        return told, z0 if o.second_step_latent == 'student' else z_hr

    def student(self, trained: Tree, frozen: Tree, context: Tree) -> tuple[jax.Array, jax.Array]:
        """(x_theta [B, H, W, 3], z0_theta): the graded prediction, section 3.1."""
        params = {'student': self.whole(trained, frozen)}
        z0 = self.model.predict_z0(params, context['z_s'], context['s'], context['student'])
        return self.model.decode(frozen, z0), z0

    def distillation(
        self, x: jax.Array, z0: jax.Array, frozen: Tree, samples: Tree, context: Tree
    ) -> tuple[jax.Array, Metrics]:
        """mean_k d(s, t_k) mean((x_theta - x_psi,k)^2 / 4): the teacher repairs the re-noised student, told h."""
        draws = samples['draws']
        z0 = jax.lax.stop_gradient(z0)

        def one_teacher(total, k):
            t, noise = k
            z_t = self.model.add_noise(z0, noise, t)
            x_psi = self.model.decode(
                frozen,
                dataclasses.replace(self.model, part='teacher').predict_z0(frozen, z_t, t, context['teacher']),
            )
            error = ((x - jax.lax.stop_gradient(x_psi)) ** 2 / 4).mean(axis=(1, 2, 3))
            return total + distillation_weight(self.objective, self.model.abar, context['p'], t) * error, None

        times = draws.teacher_timesteps.T  # [K, B]
        loss, _ = jax.lax.scan(one_teacher, jnp.zeros(x.shape[0]), (times, draws.teacher_noise.swapaxes(0, 1)))
        loss = loss / times.shape[0]
        return loss, {'distill': loss.mean()}

    def discriminator(
        self, params: Tree, spectral: tuple[Tree, Tree], x: jax.Array, frozen: Tree, samples: Tree, context: Tree
    ) -> tuple[jax.Array, Metrics]:
        """mean(relu(1 - H(h))) + mean(relu(1 + H(sg(x_theta)))), eq. 3; vectors of the norm for each forward."""
        draws, hr, look, judge = samples['draws'], samples['batch']['hr'], self.projection.look, self.projection.judge
        for_real, for_fake = spectral
        seen = look(hr, draws.augment_real, frozen, context['lq'])
        real = judge(params, for_real, seen)
        fake = judge(params, for_fake, look(x, draws.augment_fake, frozen, context['lq']))
        loss = jax.nn.relu(1 - real).mean(axis=1) + jax.nn.relu(1 + fake).mean(axis=1)
        if self.objective.r1:
            loss = loss + self.objective.r1 * gradient_penalty(partial(judge, params, for_real), seen)
        return loss, {'d_loss': loss.mean(), 'd_real': real.mean(), 'd_fake': fake.mean()}

    def adversarial(
        self, x: jax.Array, params: Tree, spectral: Tree, frozen: Tree, samples: Tree, context: Tree
    ) -> tuple[jax.Array, Metrics]:
        """-mean(H(x_theta)), eq. 4."""
        seen = self.projection.look(x, samples['draws'].augment_student, frozen, context['lq'])
        loss = -self.projection.judge(params, spectral, seen).mean(axis=1)
        return loss, {'adversarial': loss.mean()}


def make(recipe: Recipe, objective: Objective) -> Stage:
    spec = recipe.spec
    networks = build(spec, recipe.dtype)
    model = Denoiser(networks)
    projection = make_projection(networks, objective.c_norm)
    losses = Losses(model, projection, objective)
    trains = TRAINABLE[objective.trainable]
    parts = ('autoencoder', 'text_encoder', 'prompt_extractor', 'teacher', *projection.parts)

    def graded(trained: Tree, frozen: Tree, samples: Tree):
        """x_theta, its pullback to the trained parameters, and z0_theta; one forward."""
        context = losses.prepare(trained, frozen, samples)
        x, pullback, z0 = jax.vjp(lambda p: losses.student(p, frozen, context), trained, has_aux=True)
        return context, x, pullback, z0

    def discriminator_gradient(params: Tree, vectors: Tree, x: jax.Array, frozen: Tree, samples: Tree, context: Tree):
        def mean_loss(p):
            loss, metrics = losses.discriminator(p, vectors, jax.lax.stop_gradient(x), frozen, samples, context)
            return loss.mean(), metrics

        return jax.grad(mean_loss, has_aux=True)(params)

    def cotangent(x: jax.Array, z0: jax.Array, heads: Tree, vectors: Tree, frozen: Tree, samples: Tree, context: Tree):
        """Gradient of L_G in x_theta alone (and in the heads, which only the published code's leak uses)."""

        def mean_loss(image, params):
            distill, metrics = losses.distillation(image, z0, frozen, samples, context)
            adversarial, more = losses.adversarial(image, params, vectors, frozen, samples, context)
            total = distill + objective.adversarial_weight * adversarial
            return total.mean(), {**metrics, **more, 'loss': total.mean()}

        wanted = (0, 1) if objective.d_grad_leak else (0,)
        grads, metrics = jax.grad(mean_loss, argnums=wanted, has_aux=True)(x, heads)
        return grads, metrics

    def spectral_vectors(state: State) -> tuple[Tree, Tree]:
        """Norm vectors for D's look at h and at x_theta: power iteration depends on the weights alone."""
        heads = state.discriminator
        first = power_iteration(heads['params'], heads['spectral'])
        second = power_iteration(heads['params'], first) if objective.spectral_steps == 3 else first
        return first, second

    def update_discriminator(state: State, grads: Tree) -> tuple[Tree, Tree]:
        if objective.d_grad_leak:
            grads = jax.tree.map(jnp.add, grads, state.discriminator['leak'])
        return base.apply_gradients(
            recipe.optimizers.discriminator, grads, state.discriminator_optimizer, state.discriminator['params']
        )

    def update(state: State, frozen: Tree, batch: Batch) -> tuple[State, Metrics]:
        """D learns from sg(x_theta); then the student from the D just updated. One forward, one pullback."""
        key = jax.random.fold_in(jax.random.key(recipe.seed), state.step)
        samples = {'batch': batch, 'draws': draw(key, spec, objective, batch)}
        vectors = spectral_vectors(state)
        heads = state.discriminator['params']
        if recipe.accumulate == 1:
            context, x, pullback, z0 = graded(state.student, frozen, samples)
            d_grads, d_metrics = discriminator_gradient(heads, vectors, x, frozen, samples, context)
            heads, d_optimizer = update_discriminator(state, d_grads)
            last = power_iteration(heads, vectors[1]) if objective.spectral_steps == 3 else vectors[1]
            (x_bar, *leak), metrics = cotangent(x, z0, heads, last, frozen, samples, context)
            (grads,) = pullback(x_bar)
        else:
            micro = base.split(samples, recipe.accumulate)

            def look(part):  # without gradient to the student: x_theta and the gradient of D
                context, x, _, _ = graded(state.student, frozen, part)
                return discriminator_gradient(heads, vectors, x, frozen, part, context)

            d_grads, d_metrics = _scan_mean(look, micro)
            new_heads, d_optimizer = update_discriminator(state, d_grads)
            last = power_iteration(new_heads, vectors[1]) if objective.spectral_steps == 3 else vectors[1]

            def learn(part):
                context, x, pullback, z0 = graded(state.student, frozen, part)
                (x_bar, *leak), metrics = cotangent(x, z0, new_heads, last, frozen, part, context)
                return pullback(x_bar)[0], leak, metrics

            grads, leak, metrics = _scan_mean(learn, micro)
            heads = new_heads
        student, optimizer = base.apply_gradients(recipe.optimizers.student, grads, state.optimizer, state.student)
        discriminator = {'params': heads, 'spectral': last}
        if objective.d_grad_leak:
            discriminator['leak'] = leak[0]
        metrics = {
            **metrics,
            **d_metrics,
            'gradient_norm': optax.tree.norm(grads),
            'd_gradient_norm': optax.tree.norm(d_grads),
        }
        return State(
            step=state.step + 1,
            student=student,
            ema=base.ema_update(state.ema, student, recipe.ema, state.step),
            optimizer=optimizer,
            discriminator=discriminator,
            discriminator_optimizer=d_optimizer,
        ), metrics

    def init(key: jax.Array, bundle: Tree) -> State:
        student = base.copy(trees.select(bundle[objective.start], trains))
        heads = projection.init(base.stream(key, 'heads'))
        discriminator = {'params': heads['params'], 'spectral': heads['spectral']}
        if objective.d_grad_leak:
            discriminator['leak'] = jax.tree.map(jnp.zeros_like, heads['params'])
        state = State(
            step=jnp.zeros((), jnp.int32),
            student=student,
            ema=base.copy(student),
            optimizer=recipe.optimizers.student.init(student),
            discriminator=discriminator,
            discriminator_optimizer=recipe.optimizers.discriminator.init(heads['params']),
        )
        return base.resumed(state, bundle['training']) if 'training' in bundle else state

    def freeze(bundle: Tree) -> Tree:
        picked = base.pick(bundle, parts, 'addsr')
        if objective.start == 'student':
            picked['student'] = trees.remove(base.pick(bundle, ('student',), 'addsr')['student'], trains)
        return trees.cast(picked, recipe.dtype)

    def preview(state: State, frozen: Tree, batch: Batch) -> dict[str, jax.Array]:
        shared = {name: frozen[name] for name in ('autoencoder', 'text_encoder', 'prompt_extractor')}
        student = {**shared, 'student': losses.whole(state.ema, frozen)}
        few_steps = partial(sampler.addsr, psr_weight=objective.psr_preview)
        key = jax.random.key(recipe.seed)
        images = {}
        for name, params, method, run, steps in (
            ('student', student, 'addsr', few_steps, objective.timesteps),
            (
                'teacher',
                {**shared, 'teacher': frozen['teacher']},
                'seesr',
                sampler.seesr,
                schedule.teacher_timesteps(10),
            ),
        ):
            b, h, w, _ = batch['lq'].shape
            f, c = spec.autoencoder.factor, spec.autoencoder.latent_channels
            shape = (sampler.noise_count(method, len(steps)), h // f, w // f, c)
            noise = base.per_sample(key, name, b, lambda k, shape=shape: jax.random.normal(k, shape)).swapaxes(0, 1)
            images[name] = run(networks, params, batch['lq'], batch['tokens'], noise, timesteps=steps)
        return {'LQ': batch['lq'], **images, 'HR': batch['hr']}

    def export(state: State, bundle: Tree) -> Tree:
        return {'student': base.whole(state.ema, bundle[objective.start])}

    def spec_update(state: State, frozen: Tree, batch: Batch) -> ModelSpec:
        return spec

    continues = objective.start == 'student'
    return Stage('addsr', init, freeze, update, preview, 'student', export, spec_update, continues)


def _where(choose_first: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    """Per sample: a where choose_first [B], else b."""
    return jnp.where(choose_first.reshape(-1, *(1,) * (a.ndim - 1)), a, b)


def _scan_mean(f, parts: Tree) -> Tree:
    """Mean of f over the first axis of `parts`."""
    shapes = jax.eval_shape(f, jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    total, count = zeros, jax.tree.leaves(parts)[0].shape[0]
    total, _ = jax.lax.scan(lambda t, part: (jax.tree.map(jnp.add, t, f(part)), None), total, parts)
    return jax.tree.map(lambda x: x / count, total)
