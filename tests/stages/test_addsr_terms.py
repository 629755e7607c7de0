"""The student's terms and its update against their formulas, on networks that are products."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import trees
from addsr_jax.diffusion import schedule
from addsr_jax.errors import UserError
from addsr_jax.networks.lora import Adapters
from addsr_jax.networks.perceptual import lpips
from addsr_jax.ops.spectrum import CHANCE, excess
from addsr_jax.stages.addsr import Heads, Prediction
from addsr_jax.stages.addsr_draws import draw
from addsr_jax.stages.addsr_objective import step_index, timestep_weight
from tests import tiny
from tests.networks.test_perceptual import random_params
from tests.stages import toy
from tests.stages.common import first_key, objective, stage

ABAR = schedule.alphas_cumprod(tiny.SPEC.schedule)
CHAIN = np.array([999, 749, 499, 249])
BATCH = tiny.batch(0, 4)
TRAINED = {'student': toy.bundle()['student']}  # frozen beside it is a teacher of other numbers
# switches of what precedes the graded step, and what of it they change
PREPARED = {
    'second_step_latent': ('hr', 'z_s'),
    'psr_range': ('signed', 'student'),
    'psr_train': (0.3, 'student'),
    'teacher_condition': ('lq', 'teacher'),
}


def drawn(**changes):
    """Draws of a batch of which the first sample takes one step and the others two, from every start."""
    made = draw(jax.random.key(0), tiny.SPEC, objective('addsr', **changes), BATCH)
    return dataclasses.replace(
        made, one_step=jnp.array([True, False, False, False]), chain_start=jnp.array([1, 0, 1, 2])
    )


def prepared(**changes):
    return toy.losses(**changes).prepare(TRAINED, toy.bundle(), BATCH, drawn(**changes))


@pytest.fixture(scope='module')
def paper():
    return prepared()


def unit(images):
    return np.asarray(images) / 2 + 0.5


def share(t):
    """(sqrt abar_t, sqrt(1 - abar_t)) of timesteps [B], for latents."""
    a = ABAR[np.asarray(t)][:, None, None, None].astype(np.float64)
    return np.sqrt(a), np.sqrt(1 - a)


def z0_of(part, z, t, conditioning):
    """v-prediction: sqrt(abar) z - sqrt(1 - abar) v."""
    model = toy.ToyDenoiser(tiny.networks(), part)
    params = {'student': TRAINED['student'], 'teacher': toy.bundle()['teacher']}
    signal, sigma = share(t)
    return signal * z - sigma * np.asarray(model.network_output(params, z, jnp.asarray(t), conditioning))


def z_hr(draws):
    return np.asarray(toy.pooled(BATCH['hr']) + 0.1 * draws.posterior)


def first_prediction(sample):
    """The first of two steps: E(h) noised at the chain's start, told the low-quality picture."""
    s = CHAIN[np.asarray(sample.draws.chain_start)]
    signal, sigma = share(s)
    return z0_of('student', signal * z_hr(sample.draws) + sigma * np.asarray(sample.draws.first_noise), s, sample.lq)


def decoded(z0):
    return np.asarray(toy.ToyDenoiser(tiny.networks()).decode({}, z0, BATCH['lq']))


@pytest.mark.parametrize('switch', PREPARED)
def test_switches_of_refinement_change_the_second_step_and_leave_the_rest(paper, switch):
    value, changed = PREPARED[switch]
    other = prepared(**{switch: value})
    for name in ('s', 'p', 'z_s', 'student', 'teacher', 'lq'):
        pairs = zip(*(jax.tree.leaves(getattr(s, name)) for s in (paper, other)), strict=True)
        assert any(bool(jnp.abs(a - b).max() > 1e-5) for a, b in pairs) == (name == changed), name


def test_refinement_leaves_samples_of_one_step_alone(paper):
    np.testing.assert_allclose(paper.student.image[0], paper.lq.image[0], atol=1e-6)
    assert float(jnp.abs(paper.student.image[1:] - paper.lq.image[1:]).max()) > 0.01
    assert paper.s[0] == objective('addsr').timesteps[0]
    assert paper.s[1:].tolist() == [objective('addsr').timesteps[i + 1] for i in paper.draws.chain_start[1:]]
    assert paper.p.tolist() == [1, 2, 3, 4]


def test_a_second_step_starts_from_the_noised_first_prediction_and_a_single_step_from_the_picture(paper):
    z0 = np.concatenate([z_hr(paper.draws)[:1], first_prediction(paper)[1:]])
    signal, sigma = share(paper.s)
    np.testing.assert_allclose(paper.z_s, signal * z0 + sigma * np.asarray(paper.draws.noise), atol=1e-5)


def test_a_second_step_may_start_from_the_picture_as_the_published_code_has_it():
    sample = prepared(second_step_latent='hr')
    signal, sigma = share(sample.s)
    wanted = signal * z_hr(sample.draws) + sigma * np.asarray(sample.draws.noise)
    np.testing.assert_allclose(sample.z_s, wanted, atol=1e-5)


@pytest.mark.parametrize('weight', [1.0, 0.3])
def test_a_second_step_is_told_the_decoded_first_prediction_mixed_with_the_low_quality_picture(weight):
    sample = prepared(psr_train=weight)
    image = weight * unit(decoded(first_prediction(sample))) + (1 - weight) * unit(BATCH['lq'])
    np.testing.assert_allclose(sample.student.image[1:], image[1:], atol=1e-5)
    np.testing.assert_allclose(sample.student.image_tokens[1:, 0], image[1:].mean(axis=(1, 2)), atol=1e-5)
    latents = np.asarray(sample.student.latents)
    np.testing.assert_allclose(latents[1:], toy.pooled(2 * image - 1)[1:], atol=1e-5)


def test_the_signed_range_tells_the_student_the_prediction_as_it_was_decoded():
    sample = prepared(psr_range='signed')
    np.testing.assert_allclose(sample.student.image[1:], decoded(first_prediction(sample))[1:], atol=1e-5)


def test_the_teacher_is_told_the_clean_picture_and_the_student_the_low_quality_one(paper):
    np.testing.assert_allclose(paper.teacher.image, unit(BATCH['hr']), atol=1e-6)
    np.testing.assert_allclose(paper.teacher.image_tokens[:, 0], unit(BATCH['hr']).mean(axis=(1, 2)), atol=1e-5)
    np.testing.assert_allclose(paper.lq.image, unit(BATCH['lq']), atol=1e-6)
    np.testing.assert_allclose(paper.student.text, paper.teacher.text)


@pytest.mark.parametrize('one_step', [True, False])
def test_a_branch_for_the_whole_batch_prepares_what_its_samples_would(one_step):
    draws = dataclasses.replace(drawn(), one_step=jnp.full(4, one_step))
    each, whole = (
        toy.losses(branch=branch).prepare(TRAINED, toy.bundle(), BATCH, draws) for branch in ('per_sample', 'per_batch')
    )
    for a, b in zip(jax.tree.leaves(each), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def prediction(sample):
    x = tiny.batch(1, 4)['hr']
    return Prediction(jnp.asarray(x), jnp.asarray(toy.pooled(x)))


# the toy's small decoder halves
@pytest.mark.parametrize(
    ('changes', 'part'),
    [
        ({}, 1),
        ({'teacher_decoder': 'tiny'}, 0.5),
        ({'teacher_together': 2}, 1),
    ],
    ids=str,
)
def test_distillation_is_the_weighted_mean_distance_from_what_the_teacher_makes_of_the_student(paper, changes, part):
    losses, told = toy.losses(**changes), prediction(paper)
    loss, metrics = losses.distillation(told, Heads({}, {}), paper)
    wanted, to_x = np.zeros(4), np.zeros(told.x.shape)
    for k in range(losses.objective.teacher_samples):
        t, noise = np.asarray(paper.draws.teacher_timesteps[:, k]), np.asarray(paper.draws.teacher_noise[:, k])
        signal, sigma = share(t)
        x = part * decoded(z0_of('teacher', signal * np.asarray(told.z0) + sigma * noise, t, paper.teacher))
        d = np.sqrt(ABAR[t]) * 0.5 * 2.1 ** (np.asarray(paper.p) - 1) / losses.objective.teacher_samples
        wanted += d * ((np.asarray(told.x) - x) ** 2 / 4).mean(axis=(1, 2, 3))
        to_x += d[:, None, None, None] * (np.asarray(told.x) - x) / 2 / x[0].size
    np.testing.assert_allclose(loss, wanted, rtol=1e-4)
    assert float(metrics['distill']) == pytest.approx(wanted.mean(), rel=1e-4)
    # the teacher and what it is shown are constants: the gradient passes through x_theta alone
    gradient = jax.grad(lambda p: losses.distillation(p, Heads({}, {}), paper)[0].sum())(told)
    np.testing.assert_allclose(gradient.x, to_x, rtol=1e-3, atol=1e-8)
    np.testing.assert_array_equal(gradient.z0, 0)


def test_the_weighting_switches_change_the_distillation_by_their_closed_form(paper):
    told = Prediction(tiny.batch(1, 4)['hr'], jnp.zeros_like(paper.z_s))
    draws = dataclasses.replace(paper.draws, teacher_timesteps=paper.draws.teacher_timesteps[:, :1])
    draws = dataclasses.replace(draws, teacher_noise=draws.teacher_noise[:, :1])

    def distillation(**changes):
        losses = toy.losses(**changes)
        p = step_index(losses.objective, draws.one_step, draws.chain_start)
        loss = losses.distillation(told, Heads({}, {}), dataclasses.replace(paper, draws=draws, p=p))[0]
        return losses.objective, p, np.asarray(loss)

    made, p, loss = distillation()
    t = draws.teacher_timesteps[:, 0]
    for changes in ({'ta_index': 'first_step'}, {'ta_form': 'constant'}, {'ta_form': 'linear'}):
        other, q, changed = distillation(**changes)
        ratio = timestep_weight(other, ABAR, q, t) / timestep_weight(made, ABAR, p, t)
        np.testing.assert_allclose(changed, loss * ratio, rtol=1e-4)
        assert np.abs(changed / loss - 1).max() > 0.1


def test_a_step_encodes_the_target_once_and_looks_at_the_lq_picture_once_for_all_judgements():
    encoded, embedded = [], []

    class Counting(toy.ToyDenoiser):
        def posterior(self, params, images):
            encoded.append(images)
            return super().posterior(params, images)

    made = toy.losses()
    projection, model = made.projection, made.student_model

    def embed(frozen, lq):
        embedded.append(lq)
        return projection.embed(frozen, lq)

    counting = Counting(model.networks, model.part, model.windows)
    made = dataclasses.replace(made, projection=dataclasses.replace(projection, embed=embed), student_model=counting)
    sample = made.prepare(TRAINED, toy.bundle(), BATCH, drawn())
    first = toy.start(toy.stage('addsr')).discriminator
    made.discriminator(first['params'], (first['spectral'],) * 2, BATCH['lq'], sample)
    made.adversarial(prediction(sample), Heads(first['params'], first['spectral']), sample)
    assert len(encoded) == 3  # target, LQ picture, and the prediction that is the second condition
    assert len(embedded) == 1
    wanted = counting.encode({}, BATCH['hr'], jnp.zeros(()))
    np.testing.assert_allclose(sample.teacher.latents, wanted, atol=1e-6)


def test_hinge_losses_push_pictures_up_and_predictions_down(paper):
    made, told = toy.losses(), prediction(paper)
    first = toy.start(toy.stage('addsr')).discriminator
    params, vectors = first['params'], first['spectral']

    def logits(x, augment):
        features = made.projection.features(x, augment, paper.frozen, paper.lq, paper.embedding)
        return np.asarray(made.projection.logits(params, vectors, features))

    real, fake = logits(BATCH['hr'], paper.draws.augment_real), logits(told.x, paper.draws.augment_fake)
    loss, metrics = made.discriminator(params, (vectors, vectors), told.x, paper)
    hinge = np.maximum(1 - real, 0).mean(axis=1) + np.maximum(1 + fake, 0).mean(axis=1)
    np.testing.assert_allclose(loss, hinge, rtol=1e-4)
    assert float(metrics['d_real']) == pytest.approx(real.mean(), rel=1e-3)
    assert float(metrics['d_fake']) == pytest.approx(fake.mean(), rel=1e-3)
    adversarial, _ = made.adversarial(told, Heads(params, vectors), paper)
    np.testing.assert_allclose(adversarial, -logits(told.x, paper.draws.augment_student).mean(axis=1), rtol=1e-4)


def test_a_new_loss_is_one_row():
    losses = toy.losses()
    assert [weight for weight, _ in losses.terms] == [1.0, losses.objective.adversarial_weight]


def test_players_without_weight_rest():
    """No teacher is asked and no head learns; what is left is the pixels' difference."""
    made = toy.stage('addsr', distillation_weight=0.0, adversarial_weight=0.0, pixel_weight=1.0)
    before = toy.start(made)
    after, metrics = toy.run(made)
    assert set(metrics) == {'pixels', 'loss', 'gradient_norm'}
    assert metrics['loss'] == metrics['pixels'] > 0
    jax.tree.map(np.testing.assert_array_equal, after.discriminator, before.discriminator)
    jax.tree.map(np.testing.assert_array_equal, after.discriminator_optimizer, before.discriminator_optimizer)
    with pytest.raises(UserError, match=r'nothing would be learned: give one of distillation_weight, .* more than 0'):
        toy.stage('addsr', distillation_weight=0.0, adversarial_weight=0.0)
    moved = [
        float(jnp.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (after.params, before.params)), strict=True)
    ]
    assert min(moved) > 0


def test_teacher_samples_that_do_not_fill_their_batches_are_refused():
    with pytest.raises(UserError, match=r'teacher_together=3 does not divide teacher_samples=2'):
        toy.losses(teacher_together=3)


def test_an_update_teaches_the_discriminator_and_then_the_student_by_what_was_just_taught():
    made, terms = toy.stage('addsr'), toy.losses()
    before, frozen = toy.start(made), made.freeze(toy.bundle())
    after, metrics = toy.run(made)

    def by_hand(state):
        draws = draw(first_key(), tiny.SPEC, terms.objective, BATCH)
        sample = terms.prepare(state.params, frozen, BATCH, draws)
        x, _ = terms.student(state.params, sample)
        vectors = after.discriminator['spectral']  # one iteration of the weights before
        d_gradient = jax.grad(lambda p: terms.discriminator(p, (vectors, vectors), x, sample)[0].mean())(
            state.discriminator['params']
        )
        heads = Heads(jax.tree.map(lambda p, g: p - 0.1 * g, state.discriminator['params'], d_gradient), vectors)

        def of_student(trained):
            told = Prediction(*terms.student(trained, sample))
            distill, adversarial = (f(told, heads, sample)[0].mean() for f in (terms.distillation, terms.adversarial))
            return distill + terms.objective.adversarial_weight * adversarial, adversarial

        gradient, adversarial = jax.grad(of_student, has_aux=True)(state.params)
        return heads.params, jax.tree.map(lambda p, g: p - 0.1 * g, state.params, gradient), adversarial

    heads, params, adversarial = by_hand(before)
    assert metrics['adversarial'] == pytest.approx(float(adversarial), rel=1e-3)
    for a, b in zip(jax.tree.leaves(after.discriminator['params']), jax.tree.leaves(heads), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    for first, a, b in zip(*map(jax.tree.leaves, (before.params, after.params, params)), strict=True):
        assert float(jnp.abs(a - first).max()) > 0
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_the_average_follows_the_student_by_a_tenth_and_then_by_two_elevenths():
    made = toy.stage('addsr')
    zero = toy.start(made)
    one, _ = toy.run(made)
    two, _ = toy.run(made, one)
    for p0, p1, p2, e1, e2 in zip(
        *map(jax.tree.leaves, (zero.params, one.params, two.params, one.ema, two.ema)), strict=True
    ):
        wanted = np.asarray(p1) + (np.asarray(p0) - p1) / 10  # d = (1 + 0) / (10 + 0)
        np.testing.assert_allclose(e1, wanted, atol=1e-7)
        np.testing.assert_allclose(e2, p2 + (wanted - p2) * 2 / 11, atol=1e-7)
        assert np.abs(np.asarray(e1) - p0).max() > 1e-6
        assert np.abs(np.asarray(e2) - p2).max() > 1e-6
    exported = made.export(two, toy.bundle())['student']
    for path, value in trees.flatten(two.ema['student']).items():
        np.testing.assert_array_equal(trees.flatten(exported)[path], value)


def test_every_step_draws_anew_and_the_same_step_the_same():
    made = toy.stage('addsr')
    first = toy.start(made)
    (_, a), (_, again) = (toy.run(made, first) for _ in range(2))
    _, b = toy.run(made, dataclasses.replace(first, step=jnp.ones((), jnp.int32)))
    assert a == again
    assert a['d_loss'] != b['d_loss']
    assert a['distill'] != b['distill']


def test_the_leak_of_the_published_code_and_its_power_iterations_reach_the_discriminator():
    plain, of_plain = toy.run(toy.stage('addsr'))
    made = toy.stage('addsr', d_grad_leak=True, spectral_steps=3)
    state, metrics = toy.run(made)
    assert metrics['d_loss'] != of_plain['d_loss']  # the second look sees vectors of one more iteration
    a, b = (trees.flatten(s.discriminator['spectral']) for s in (state, plain))
    assert any((np.abs(a[k] - b[k]) > 1e-4).any() for k in a)

    leak = state.discriminator['leak']
    assert all(float(jnp.abs(g).max()) > 0 for g in jax.tree.leaves(leak))
    without = dataclasses.replace(
        state, discriminator={**state.discriminator, 'leak': jax.tree.map(jnp.zeros_like, leak)}
    )
    first, second = (toy.run(made, s)[0].discriminator['params'] for s in (state, without))
    # plain descent at 0.1: the leak moves the next update by exactly its share
    for moved, other, part in zip(*map(jax.tree.leaves, (first, second, leak)), strict=True):
        np.testing.assert_allclose(moved - other, -0.1 * part, atol=2e-6)


def test_micro_batches_equal_one_batch():
    (whole, m1), (parts, m2) = (toy.run(toy.stage('addsr', accumulate=m)) for m in (1, 2))
    for name in m1:
        assert m2[name] == pytest.approx(m1[name], rel=2e-4, abs=1e-6), name
    for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(parts.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6)
    for a, b in zip(jax.tree.leaves(whole.discriminator), jax.tree.leaves(parts.discriminator), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6)


@pytest.mark.parametrize('start', ['teacher', 'student'])
def test_what_is_not_named_stays_as_it_began(start):
    made = toy.stage('addsr', trainable='image_attentions', start=start)
    state, _ = toy.run(made)
    exported = trees.flatten(made.export(state, toy.bundle())['student'])
    before = trees.flatten(toy.bundle()[start])
    moved = {p for p in before if (exported[p] != before[p]).any()}
    assert set(exported) == set(before)
    assert moved == {p for p in before if 'image_attentions' in p or 'controlnet_cond_embedding' in p}


@pytest.fixture(scope='module')
def low_rank():
    """(stage, state before, state after two steps): B begins as zero, so A learns from the second step on."""
    made = toy.stage('addsr', trainable='lora', lora_rank=2, lora_alpha=6.0)
    first = toy.start(made)
    return made, first, toy.run(made, toy.run(made)[0])[0]


def test_of_a_student_with_adapters_only_factors_are_trained(low_rank):
    _, before, after = low_rank
    a, b = trees.flatten(before.params['student']), trees.flatten(after.params['student'])
    kernels = {p for p in toy.SHAPES if 'attentions_' in p}
    assert set(b) == {f'{p.removesuffix("/kernel")}/{name}' for p in kernels for name in ('lora_A', 'lora_B')}
    assert all((a[p] != b[p]).any() for p in a)


def test_a_student_with_fresh_adapters_is_its_teacher(low_rank):
    made, before, _ = low_rank
    exported = made.export(before, toy.bundle())['student']
    assert 'student' not in made.freeze({p: t for p, t in toy.bundle().items() if p != 'student'})  # held once
    for path, value in trees.flatten(exported).items():
        np.testing.assert_array_equal(value, trees.flatten(toy.bundle()['teacher'])[path])


def test_an_exported_student_is_its_teacher_with_the_averaged_factors_added(low_rank):
    made, _, after = low_rank
    factors, teacher = trees.flatten(after.ema['student']), trees.flatten(toy.bundle()['teacher'])
    exported = trees.flatten(made.export(after, toy.bundle())['student'])
    assert set(exported) == set(teacher)
    for path, weight in teacher.items():
        layer = path.removesuffix('/kernel')
        if f'{layer}/lora_A' in factors:
            weight = weight + 6 / 2 * (factors[f'{layer}/lora_B'] @ factors[f'{layer}/lora_A']).T
            assert float(jnp.abs(weight - teacher[path]).max()) > 1e-6
        np.testing.assert_allclose(exported[path], weight, atol=1e-6)


def test_the_adapters_of_a_state_make_its_student_out_of_the_teacher_without_a_scale(low_rank):
    made, _, after = low_rank
    merged = trees.flatten(Adapters((), 2, 1.0).merge(toy.bundle()['teacher'], made.adapters(after)))
    for path, value in trees.flatten(made.export(after, toy.bundle())['student']).items():
        np.testing.assert_allclose(merged[path], value, atol=1e-6)


def test_only_a_student_with_adapters_has_any_and_goes_on_from_nothing_kept():
    assert toy.stage('addsr').adapters is None
    assert toy.stage('addsr', start='student').continues
    assert not toy.stage('addsr', start='student', trainable='lora').continues


def test_lpips_is_a_row_with_its_weight_and_none_without(paper):
    rng, params = np.random.default_rng(0), random_params('vgg')
    h, x = (rng.uniform(-1, 1, (2, 48, 40, 3)).astype(np.float32) for _ in range(2))
    draws = dataclasses.replace(paper.draws, corners=np.array([[0, 7], [3, 2]]))
    sample = dataclasses.replace(paper, frozen={'lpips': params}, batch={'hr': h}, draws=draws)
    losses = toy.losses(lpips_weight=0.3)
    (weight, term), *more = [row for row in losses.terms if row[1] == losses.likeness]
    loss, told = term(Prediction(x, x), Heads({}, {}), sample)
    assert (weight, more) == (0.3, [])
    seen = [[image[0, :40, 7:39], image[1, 3:43, 2:34]] for image in (x, h)]  # eight less a side
    np.testing.assert_allclose(loss, lpips('vgg', params, *map(np.stack, seen)), rtol=1e-4)
    assert set(told) == {'lpips'}
    assert len(toy.losses().terms) == len(losses.terms) - 1


def test_the_distance_of_pixels_is_a_row_with_its_weight_of_pictures_between_0_and_1(paper):
    rng = np.random.default_rng(0)
    h, x = (rng.uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32) for _ in range(2))
    losses = toy.losses(pixel_weight=0.7)
    (weight, term), *more = [row for row in losses.terms if row[1] == losses.pixels]
    loss, told = term(Prediction(x, x), Heads({}, {}), dataclasses.replace(paper, batch={'hr': h}))
    assert (weight, more) == (0.7, [])
    np.testing.assert_allclose(loss, np.abs((x + 1) / 2 - (h + 1) / 2).mean(axis=(1, 2, 3)), rtol=1e-5)
    assert set(told) == {'pixels'}
    assert len(toy.losses().terms) == len(losses.terms) - 1


def test_texture_that_the_target_has_not_is_a_row_with_its_weight(paper):
    rng = np.random.default_rng(0)
    h, x = (rng.normal(0, scale, (2, 32, 48, 3)).astype(np.float32) for scale in (0.1, 0.4))
    losses = toy.losses(spectrum_weight=0.7)
    (weight, term), *more = [row for row in losses.terms if row[1] == losses.spectrum]
    assert (weight, more) == (0.7, [])
    loss, told = term(Prediction(x, x), Heads({}, {}), dataclasses.replace(paper, batch={'hr': h}))
    np.testing.assert_array_equal(loss, excess(x, h))
    assert float(told['spectrum']) == pytest.approx(np.log(16) - CHANCE, rel=0.1)
    np.testing.assert_array_equal(
        term(Prediction(h, h), Heads({}, {}), dataclasses.replace(paper, batch={'hr': x}))[0], 0
    )


def test_only_a_stage_with_lpips_asks_for_its_network():
    assert stage('addsr').distances == ()
    assert stage('addsr', lpips_weight=0.3).distances == ('lpips',)
