"""Stage `addsr`: a student of four steps distilled from the teacher (AddSR, arXiv 2404.01717, section 3).

Symbols as in the paper: h the high-resolution image, l the low-resolution one at the size of h, E and D the
autoencoder, F_theta the student and F_psi the teacher as predictors of z0, s the student's timestep, t the
teacher's, c the condition image, e(.) the image prompt. The parts of the objective, in order:

    prepare, second condition      prediction-based self-refinement (PSR), section 3.2
    student                        x_theta = clip(D(F_theta(z_s, s; c, e(c)))), section 3.1
    distillation                   L_distill with d(s, t), timestep-adaptive ADD, section 3.3, eq. 5 to 7
    discriminator, adversarial     hinge losses on projected features, eq. 3 and 4
    terms                          L_G = L_distill + 0.02 L_adv: a weight and a function in a row each
    update                         who learns from what, and in which order

Where the published code differs from the paper there is a switch in `AddsrObjective`; `configs/addsr.py:sd2_released`
sets them all (docs/differences.md, which also lists what was broken there and is repaired).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from addsr_jax import trees
from addsr_jax.diffusion import sampler
from addsr_jax.diffusion.denoiser import Conditioning, Denoiser, to_unit
from addsr_jax.diffusion.methods import STUDENT, TEACHER
from addsr_jax.diffusion.sampler import Inputs, Sampling
from addsr_jax.networks.build import build
from addsr_jax.networks.discriminator import power_iteration, spectral_vectors
from addsr_jax.networks.lora import Adapters
from addsr_jax.networks.perceptual import lpips_from
from addsr_jax.ops.spectrum import excess
from addsr_jax.stages import base
from addsr_jax.stages.addsr_draws import Draws, draw
from addsr_jax.stages.addsr_objective import ADAPTED, PATTERNS, step_index, timestep_weight
from addsr_jax.stages.base import Batch, Metrics, Recipe, Stage, State, Trainable
from addsr_jax.stages.objectives import AddsrObjective
from addsr_jax.stages.projected import Projection, gradient_penalty, make_projection
from addsr_jax.trees import Tree


@struct.dataclass
class Sample:
    """One micro-batch and what `prepare` derived from it, all without gradient."""

    frozen: Tree  # {part: tree}
    batch: Batch
    draws: Draws
    s: jax.Array  # [B] int32, timestep of the step that is trained
    p: jax.Array  # [B] its index along the chain, 1 is the first
    z_s: jax.Array  # [B, h, w, C]
    student: Conditioning  # the student's at s
    teacher: Conditioning
    lq: Conditioning
    embedding: Any  # [B, E] of the LQ image, for the discriminator; None where it rests


@struct.dataclass
class Prediction:
    """The student's answer at s."""

    x: jax.Array  # [B, H, W, 3] in [-1, 1], x_theta
    z0: jax.Array  # [B, h, w, C]


@struct.dataclass
class Heads:
    """The discriminator's parameters, and the vectors of its spectral norm that one forward uses."""

    params: Tree
    spectral: Tree


Term = Callable[[Prediction, Heads, Sample], tuple[jax.Array, Metrics]]  # -> loss [B]


@dataclass(frozen=True)
class Losses:
    """The terms of section 3; losses are [B], beside metrics."""

    student_model: Denoiser
    teacher_model: Denoiser
    projection: Projection
    objective: AddsrObjective
    trains: tuple[Trainable, ...]
    dtype: Any = jnp.float32  # of LPIPS's convolutions
    remat: str = 'none'  # of the student's forward

    def prepare(self, trained: Tree, frozen: Tree, batch: Batch, draws: Draws) -> Sample:
        """Everything that precedes the trained step: z_s, s, its index p, the conditions, the texts."""
        o, model = self.objective, self.student_model
        text = model.embed_text(frozen, batch['tokens'])
        lq = model.condition(frozen, to_unit(batch['lq']), text, clip_view=True)
        sees_hr = o.teacher_condition == 'hr'  # plain ADD tells the teacher the LQ image
        moments = model.posterior(frozen, batch['hr'])  # one pass for what is noised and for what the teacher sees
        z_hr, latents = model.drawn(moments, draws.posterior), model.drawn(moments, jnp.zeros(()))
        of_hr = partial(model.condition, frozen, to_unit(batch['hr']), text, clip_view=True, latents=latents)
        teacher = of_hr() if sees_hr else lq
        chain = jnp.asarray(o.timesteps)
        s = jnp.where(draws.one_step, chain[0], chain[draws.chain_start + 1])

        def refined(_):
            return self.second_condition(trained, frozen, z_hr, lq, batch['lq'], draws)

        def plain(_):
            return lq, z_hr

        if o.branch == 'per_batch':  # half the cost: whole batches take one branch
            student, z_start = jax.lax.cond(draws.one_step[0], plain, refined, None)
        else:
            student, z_start = jax.tree.map(partial(_where, draws.one_step), plain(None), refined(None))
        sample = Sample(
            frozen=frozen,
            batch=batch,
            draws=draws,
            s=s,
            p=step_index(o, draws.one_step, draws.chain_start),
            z_s=model.add_noise(z_start, draws.noise, s),
            student=student,
            teacher=teacher,
            lq=lq,
            embedding=self.projection.embed(frozen, lq) if o.adversarial_weight else None,
        )
        return jax.lax.stop_gradient(sample)

    def second_condition(
        self, trained: Tree, frozen: Tree, z_hr: jax.Array, lq: Conditioning, low: jax.Array, draws: Draws
    ) -> tuple[Conditioning, jax.Array]:
        """PSR: of a second step the condition, with the first prediction decoded, and its latents, [B, h, w, C]."""
        o, model = self.objective, self.student_model
        s_first = jnp.asarray(o.timesteps)[draws.chain_start]
        z_first = model.add_noise(z_hr, draws.first_noise, s_first)
        params = base.assemble(trained, frozen, self.trains)
        z0 = model.predict_z0(params, z_first, s_first, lq)
        x = model.decode(params, z0, low)
        x = x if o.psr_range == 'signed' else to_unit(x)
        condition = model.condition(frozen, o.psr_train * x + (1 - o.psr_train) * lq.image, lq.text)
        return condition, z0 if o.second_step_latent == 'student' else z_hr

    def student(self, trained: Tree, sample: Sample) -> tuple[jax.Array, jax.Array]:
        """(x_theta [B, H, W, 3] in [-1, 1], z0_theta [B, h, w, C]): the prediction that is trained, section 3.1."""
        params = base.assemble(trained, sample.frozen, self.trains)
        predict_z0, decode = (
            base.recomputing(f, self.remat) for f in (self.student_model.predict_z0, self.student_model.decode)
        )
        z0 = predict_z0({'student': params['student']}, sample.z_s, sample.s, sample.student)
        return decode({'autoencoder': params['autoencoder']}, z0, sample.batch['lq']), z0

    def distillation(self, prediction: Prediction, heads: Heads, sample: Sample) -> tuple[jax.Array, Metrics]:
        """mean_k d(s, t_k) mean((x_theta - x_psi,k)^2 / 4): the teacher sees h and repairs the re-noised student."""
        model, g = self.teacher_model, self.objective.teacher_together
        told = (prediction.x, jax.lax.stop_gradient(prediction.z0), sample.p, sample.teacher, sample.batch['lq'])
        x, z0, p, condition, low = jax.tree.map(lambda leaf: jnp.repeat(leaf, g, axis=0), told)  # [B * g, ...]

        def some_teachers(total, some):
            t, noise = some  # [B * g], [B * g, h, w, C]
            z_t = model.add_noise(z0, noise, t)
            z_psi = model.predict_z0(sample.frozen, z_t, t, condition)
            small = self.objective.teacher_decoder == 'tiny'
            x_psi = model.decode_tiny(sample.frozen, z_psi) if small else model.decode(sample.frozen, z_psi, low)
            error = ((x - jax.lax.stop_gradient(x_psi)) ** 2 / 4).mean(axis=(1, 2, 3))
            weighed = timestep_weight(self.objective, model.abar, p, t) * error
            return total + weighed.reshape(-1, g).sum(axis=1), None

        loss, _ = jax.lax.scan(some_teachers, jnp.zeros(len(prediction.x)), sample.draws.of_teachers(g))
        loss = loss / sample.draws.teacher_timesteps.shape[1]
        return loss, {'distill': loss.mean()}

    def discriminator(
        self, params: Tree, spectral: tuple[Tree, Tree], x: jax.Array, sample: Sample
    ) -> tuple[jax.Array, Metrics]:
        """mean(relu(1 - H(h))) + mean(relu(1 + H(sg(x_theta)))), eq. 3: [B]; vectors of the norm for each forward."""
        draws, logits, (for_real, for_fake) = sample.draws, self.projection.logits, spectral
        told = (sample.frozen, sample.lq, sample.embedding)
        of_real = self.projection.features(sample.batch['hr'], draws.augment_real, *told)
        real = logits(params, for_real, of_real)
        fake = logits(params, for_fake, self.projection.features(x, draws.augment_fake, *told))
        loss = jax.nn.relu(1 - real).mean(axis=1) + jax.nn.relu(1 + fake).mean(axis=1)
        if self.objective.r1:
            loss = loss + self.objective.r1 * gradient_penalty(partial(logits, params, for_real), of_real)
        return loss, {'d_loss': loss.mean(), 'd_real': real.mean(), 'd_fake': fake.mean()}

    def adversarial(self, prediction: Prediction, heads: Heads, sample: Sample) -> tuple[jax.Array, Metrics]:
        """-mean(H(x_theta)), eq. 4."""
        told = (sample.frozen, sample.lq, sample.embedding)
        features = self.projection.features(prediction.x, sample.draws.augment_student, *told)
        loss = -self.projection.logits(heads.params, heads.spectral, features).mean(axis=1)
        return loss, {'adversarial': loss.mean()}

    def likeness(self, prediction: Prediction, heads: Heads, sample: Sample) -> tuple[jax.Array, Metrics]:
        """LPIPS(x_theta, h) on VGG16, from a corner of its own: no part of the paper (docs/differences.md)."""
        x, h = (image.astype(self.dtype) for image in (prediction.x, sample.batch['hr']))
        loss = lpips_from('vgg', sample.frozen['lpips'], x, h, sample.draws.corners)
        return loss, {'lpips': loss.mean()}

    def pixels(self, prediction: Prediction, heads: Heads, sample: Sample) -> tuple[jax.Array, Metrics]:
        """mean(|x_theta - h|) / 2: no part of the paper (docs/differences.md)."""
        loss = jnp.abs(prediction.x - sample.batch['hr']).mean(axis=(1, 2, 3)) / 2
        return loss, {'pixels': loss.mean()}

    def spectrum(self, prediction: Prediction, heads: Heads, sample: Sample) -> tuple[jax.Array, Metrics]:
        """Texture of x_theta that h has not, by local spectra: no part of the paper (docs/differences.md)."""
        loss = excess(prediction.x, sample.batch['hr'])
        return loss, {'spectrum': loss.mean()}

    @property
    def terms(self) -> tuple[tuple[float, Term], ...]:
        """L_G: a weight and a function of x_theta in a row each; a row without weight is left out."""
        rows: tuple[tuple[float, Term], ...] = (
            (self.objective.distillation_weight, self.distillation),
            (self.objective.adversarial_weight, self.adversarial),
            (self.objective.lpips_weight, self.likeness),
            (self.objective.pixel_weight, self.pixels),
            (self.objective.spectrum_weight, self.spectrum),
        )
        return tuple(row for row in rows if row[0])


@dataclass(frozen=True)
class Forward:
    """The one forward of a micro-batch: what it saw, what it says, and the way back to the trained parameters."""

    sample: Sample
    prediction: Prediction
    pullback: Callable[[jax.Array], tuple[Tree]]


def forward(losses: Losses, trained: Tree, frozen: Tree, samples: Tree) -> Forward:
    """x_theta and z0_theta of {'batch', 'draws'}, with the pullback from x_theta."""
    sample = losses.prepare(trained, frozen, samples['batch'], samples['draws'])
    x, pullback, z0 = jax.vjp(lambda p: losses.student(p, sample), trained, has_aux=True)
    return Forward(sample, Prediction(x, z0), pullback)


def discriminator_gradient(
    losses: Losses, params: Tree, vectors: tuple[Tree, Tree], f: Forward
) -> tuple[Tree, Metrics]:
    """(gradient of L_D in the heads, metrics); x_theta is a constant."""

    def mean_loss(p: Tree) -> tuple[jax.Array, Metrics]:
        loss, metrics = losses.discriminator(p, vectors, jax.lax.stop_gradient(f.prediction.x), f.sample)
        return loss.mean(), metrics

    return jax.grad(mean_loss, has_aux=True)(params)


def student_gradient(losses: Losses, heads: Heads, f: Forward) -> tuple[Tree, Tree | None, Metrics]:
    """(gradient of L_G in the trained parameters, in the heads' or None, metrics).

    L_G is differentiated in x_theta alone, and pulled back once; in the heads only for the published code's leak.
    """

    def mean_loss(x: jax.Array, params: Tree) -> tuple[jax.Array, Metrics]:
        prediction, discriminator = Prediction(x, f.prediction.z0), Heads(params, heads.spectral)
        total, found = jnp.zeros(len(x)), {}
        for weight, term in losses.terms:
            loss, metrics = term(prediction, discriminator, f.sample)
            total, found = total + weight * loss, {**found, **metrics}
        return total.mean(), {**found, 'loss': total.mean()}

    wanted = (0, 1) if losses.objective.d_grad_leak else (0,)
    (cotangent, *leak), metrics = jax.grad(mean_loss, argnums=wanted, has_aux=True)(f.prediction.x, heads.params)
    (gradient,) = f.pullback(cotangent)
    return gradient, leak[0] if leak else None, metrics


def make(recipe: Recipe, objective: AddsrObjective) -> Stage:
    losses = make_losses(recipe, objective)
    projection, trains = losses.projection, losses.trains
    source, adapters = objective.source, trains[0].adapters
    distances = ('lpips',) if objective.lpips_weight else ()
    judges = projection.parts if objective.adversarial_weight else ()  # who rests is not asked for
    small = ('tiny_decoder',) if objective.distillation_weight and objective.teacher_decoder == 'tiny' else ()
    parts = ('autoencoder', 'text_encoder', 'prompt_extractor', 'teacher', *small, *judges, *distances)

    def update(state: State, frozen: Tree, batch: Batch) -> tuple[State, Metrics]:
        """The heads learn from sg(x_theta); then the student from the heads just updated."""
        key = jax.random.fold_in(jax.random.key(recipe.seed), state.step)
        samples = {'batch': batch, 'draws': draw(key, recipe.spec, objective, batch)}
        run = partial(forward, losses, state.params, frozen)
        if recipe.accumulate == 1:  # one forward serves both players
            whole_batch = run(samples)
            run = lambda _: whole_batch  # noqa: E731
        over = partial(base.mean_over, samples=samples, micro_batches=recipe.accumulate)

        heads, d_optimizer, d_metrics = discriminate(state, lambda gradient: over(lambda part: gradient(run(part))))
        gradient, leak, metrics = over(lambda part: student_gradient(losses, heads, run(part)))
        trained, optimizer = base.apply_gradients(recipe.optimizers.params, gradient, state.optimizer, state.params)
        return State(
            step=state.step + 1,
            params=trained,
            ema=base.ema_update(state.ema, trained, recipe.ema, state.step, warmup=recipe.ema_warmup),
            optimizer=optimizer,
            discriminator={'params': heads.params, 'spectral': heads.spectral}
            | ({} if leak is None else {'leak': leak}),
            discriminator_optimizer=d_optimizer,
        ), {**metrics, **d_metrics, 'gradient_norm': optax.tree.norm(gradient)}

    def discriminate(state: State, over: Callable[[Callable[[Forward], Tree]], Tree]) -> tuple[Heads, Tree, Metrics]:
        """The updated heads, their optimiser and metrics; heads rest where no loss asks them."""
        params = state.discriminator['params']
        if not objective.adversarial_weight:
            return Heads(params, state.discriminator['spectral']), state.discriminator_optimizer, {}
        vectors = spectral_vectors(params, state.discriminator['spectral'], objective.spectral_steps)
        gradient, metrics = over(partial(discriminator_gradient, losses, params, vectors))
        leaked = jax.tree.map(jnp.add, gradient, state.discriminator['leak']) if objective.d_grad_leak else gradient
        params, optimizer = base.apply_gradients(
            recipe.optimizers.discriminator, leaked, state.discriminator_optimizer, params
        )
        last = power_iteration(params, vectors[1]) if objective.spectral_steps == 3 else vectors[1]
        return Heads(params, last), optimizer, {**metrics, 'd_gradient_norm': optax.tree.norm(gradient)}

    def init(key: jax.Array, bundle: Tree) -> State:
        params = {t.part: t.begin(base.stream(key, 'lora'), t.whole(bundle)) for t in trains}
        heads = projection.init(base.stream(key, 'heads'))
        discriminator = {'params': heads['params'], 'spectral': heads['spectral']}
        if objective.d_grad_leak:
            discriminator['leak'] = jax.tree.map(jnp.zeros_like, heads['params'])
        state = State(
            step=jnp.zeros((), jnp.int32),
            params=params,
            ema=base.copy(params),
            optimizer=recipe.optimizers.params.init(params),
            discriminator=discriminator,
            discriminator_optimizer=recipe.optimizers.discriminator.init(heads['params']),
        )
        return base.resumed(state, bundle['training']) if 'training' in bundle else state

    def freeze(bundle: Tree) -> Tree:
        picked = base.pick(bundle, parts, 'addsr')
        if source != 'teacher':  # else all of the student's frozen tensors are the teacher's
            picked[source] = trains[0].rest(base.pick(bundle, (source,), 'addsr')[source])
        return trees.cast(picked, recipe.dtype)

    def export(state: State, bundle: Tree) -> Tree:
        learned = base.assemble(state.ema, bundle, trains)
        return {t.part: learned[t.part] for t in trains}

    return Stage(
        name='addsr',
        init=init,
        freeze=freeze,
        update=update,
        preview=partial(preview, losses, recipe),
        scored='student',
        export=export,
        spec_update=lambda state, frozen, make_batch: recipe.spec,
        distances=distances,
        continues=source == 'student' and objective.trainable != 'lora',
        adapters=None if adapters is None else lambda state: adapters.scaled(state.ema['student']),
    )


def make_losses(recipe: Recipe, objective: AddsrObjective) -> Losses:
    networks = build(recipe.spec, recipe.dtype, recipe.attention)
    under = 'teacher' if objective.source == 'student' else None
    if objective.trainable == 'lora':
        adapters = Adapters(ADAPTED, objective.lora_rank, objective.lora_alpha / objective.lora_rank)
        student = Trainable('student', objective.source, adapters=adapters, under=under)
    else:
        student = Trainable('student', objective.source, PATTERNS[objective.trainable], under=under)
    # the teacher's pictures keep the decoder that the run began with
    decoder = (Trainable('autoencoder', 'autoencoder', base.DECODER),) if objective.train_decoder else ()
    return Losses(
        student_model=Denoiser(networks, 'student'),
        teacher_model=Denoiser(networks, 'teacher'),
        projection=make_projection(networks, objective.c_norm),
        objective=objective,
        trains=(student, *decoder),
        dtype=recipe.dtype,
        remat=recipe.remat,
    )


def preview(losses: Losses, recipe: Recipe, state: State, frozen: Tree, batch: Batch) -> dict[str, jax.Array]:
    """The held-out pictures by the averaged student's chain and by ten steps of the teacher."""
    o, spec, params = losses.objective, recipe.spec, base.assemble(state.ema, frozen, losses.trains)
    few_steps = Sampling(STUDENT, o.timesteps)
    many_steps = Sampling.of(TEACHER, 10, spec.schedule.steps)
    b, h, w, _ = batch['lq'].shape
    f, c = spec.autoencoder.factor, spec.autoencoder.latent_channels
    images = {}
    for name, sampling in (('student', few_steps), ('teacher', many_steps)):
        shape = (sampling.noise_fields, h // f, w // f, c)
        draw_one = partial(jax.random.normal, shape=shape)
        noise = base.per_sample(jax.random.key(recipe.seed), name, b, draw_one).swapaxes(0, 1)
        inputs = Inputs(lq=batch['lq'], tokens=batch['tokens'], noise=noise, psr_weight=o.psr_preview)
        images[name] = sampler.sample(losses.student_model.networks, sampling, params, inputs)
    return {'LQ': batch['lq'], **images, 'HR': batch['hr']}


def _where(choose_first: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    """Per sample: a where choose_first [B], else b."""
    return jnp.where(choose_first.reshape(-1, *(1,) * (a.ndim - 1)), a, b)
