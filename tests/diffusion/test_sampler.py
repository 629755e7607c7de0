"""The samplers against plain loops over their formulas, and what must not depend on the batch."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax.diffusion import sampler, schedule
from addsr_jax.diffusion.denoiser import Denoiser, to_unit
from addsr_jax.diffusion.methods import STUDENT, TEACHER
from addsr_jax.diffusion.sampler import Inputs, Sampling
from tests import tiny
from tests.diffusion import parts

MODEL = Denoiser(tiny.networks())


@pytest.fixture(scope='module')
def setting():
    bundle, batch = tiny.on_device(tiny.bundle().params), tiny.batch(0, 2)
    params = {**bundle, 'teacher': bundle['student']}
    noise = jax.random.normal(jax.random.key(1), (8, 2, 8, 8, 4))
    return params, batch['lq'], batch['tokens'], noise


@pytest.fixture(autouse=True)
def networks_are_programs():
    """Of formulas and of samplers that go network by network."""
    with parts.programs():
        yield


@partial(jax.jit, static_argnums=0)
def whole(sampling, params, inputs):
    """One program, as users run it."""
    return sampler.sample(MODEL.networks, sampling, params, inputs)


def by_parts(sampling, params, inputs):
    with parts.stepwise():
        return sampler.sample(MODEL.networks, sampling, params, inputs)


def few(setting, timesteps, noise=None, antithetic=False, run=by_parts, **options):
    params, lq, tokens, fields = setting
    sampling = Sampling(STUDENT, timesteps, guided='negative_tokens' in options, antithetic=antithetic)
    fields = fields if noise is None else noise
    return run(sampling, params, Inputs(lq, tokens, fields[: sampling.noise_fields], **{'psr_weight': 0.4, **options}))


def test_addsr_is_predict_decode_condition_renoise(setting):
    params, lq, tokens, noise = setting
    text = MODEL.embed_text(params, tokens)
    z0, x = MODEL.encode(params, lq, noise[0]), None
    for i, t in enumerate((999, 749, 499)):
        image = to_unit(lq) if x is None else 0.4 * to_unit(x) + 0.6 * to_unit(lq)
        told = MODEL.condition(params, image, text)
        t = jnp.full(2, t)
        z0 = MODEL.predict_z0(params, MODEL.add_noise(z0, noise[1 + i], t), t, told)
        x = MODEL.decode(params, z0, lq)
    np.testing.assert_allclose(few(setting, (999, 749, 499), run=whole), x, atol=2e-4)


@pytest.mark.parametrize('steps', [1, 2, 4, 6])
def test_any_number_of_student_steps_gives_pictures_in_range(setting, steps):
    x = few(setting, STUDENT.timesteps(steps, 1000))
    assert x.shape == (2, tiny.SIDE, tiny.SIDE, 3)
    assert -1 <= float(x.min()) <= float(x.max()) <= 1


def test_the_psr_weight_matters_from_the_second_step_on(setting):
    one = [few(setting, (999,), psr_weight=w) for w in (0.0, 1.0)]
    two = [few(setting, (999, 749), psr_weight=w) for w in (0.0, 1.0)]
    np.testing.assert_array_equal(one[0], one[1])
    assert float(jnp.abs(two[0] - two[1]).max()) > 1e-3


def test_antithetic_steps_are_the_mean_under_both_signs_of_the_noise(setting):
    params, lq, tokens, noise = setting
    text = MODEL.embed_text(params, tokens)
    told = MODEL.condition(params, to_unit(lq), text)
    z0, t = MODEL.encode(params, lq, noise[0]), jnp.full(2, 999)
    both = [MODEL.predict_z0(params, MODEL.add_noise(z0, sign * noise[1], t), t, told) for sign in (1, -1)]
    wanted = MODEL.decode(params, sum(both) / 2, lq)
    np.testing.assert_allclose(few(setting, (999,), antithetic=True), wanted, atol=2e-4)


def test_antithetic_steps_do_not_know_the_sign_of_the_noise_guidance_included(setting):
    noise, negative = setting[3], tiny.batch(5, 2)['tokens']
    mirrored = noise.at[1:].multiply(-1)
    options = {'antithetic': True, 'guidance_scale': 3.0, 'negative_tokens': negative}
    a, b, plain = (
        few(setting, (999, 749), **o)
        for o in (options, {**options, 'noise': mirrored}, {**options, 'antithetic': False})
    )
    np.testing.assert_allclose(a, b, atol=2e-4)
    assert float(jnp.abs(a - plain).max()) > 1e-3


def test_what_a_method_cannot_do_is_an_error_before_anything_is_traced(setting):
    with pytest.raises(ValueError, match='no antithetic steps'):
        Sampling(TEACHER, (999,), antithetic=True)
    with pytest.raises(ValueError, match='start_timestep is of others'):
        Sampling(STUDENT, (999,), start_timestep=500)
    params, lq, tokens, noise = setting
    with pytest.raises(ValueError, match='needs negative_tokens'):
        whole(Sampling(STUDENT, (999,), guided=True), params, Inputs(lq, tokens, noise[:2]))


def test_guidance_of_one_is_no_guidance_and_more_is_something_else(setting):
    negative = tiny.batch(5, 2)['tokens']
    plain = few(setting, (999, 749))
    guided = [few(setting, (999, 749), guidance_scale=s, negative_tokens=negative) for s in (1.0, 3.0)]
    np.testing.assert_allclose(guided[0], plain, atol=2e-4)
    assert float(jnp.abs(guided[1] - plain).max()) > 1e-4


def test_seesr_is_the_ancestral_chain_of_its_table(setting):
    params, lq, tokens, noise = setting
    timesteps = TEACHER.timesteps(4, 1000)
    text = MODEL.embed_text(params, tokens)
    told = MODEL.condition(params, to_unit(lq), text)
    z = MODEL.add_noise(MODEL.encode(params, lq, noise[0]), noise[1], jnp.full(2, 999))
    for i, (t, row) in enumerate(zip(timesteps, schedule.ddpm_coefficients(MODEL.abar, timesteps, 4), strict=True)):
        z0 = MODEL.predict_z0(params, z, jnp.full(2, t), told)
        z = row[0] * z0 + row[1] * z + row[2] * noise[2 + i]
    wanted = MODEL.decode(params, z, lq)
    got = whole(Sampling(TEACHER, timesteps), params, Inputs(lq, tokens, noise[:6]))
    np.testing.assert_allclose(got, wanted, atol=2e-4)


def test_a_picture_does_not_depend_on_its_neighbours_in_the_batch(setting):
    params, lq, tokens, noise = setting
    both = few(setting, (999, 749))
    swapped = few((params, lq[::-1], tokens[::-1], noise[:, ::-1]), (999, 749))
    assert np.abs(np.asarray(both - swapped[::-1])).max() * 127.5 < 1


def test_conditioning_scale_weighs_the_controlnet(setting):
    a, b = (few(setting, (999,), conditioning_scale=s) for s in (1.0, 0.0))
    assert float(jnp.abs(a - b).max()) > 1e-3


def test_the_number_of_noise_fields_is_posterior_start_and_one_a_later_step():
    assert Sampling.of(STUDENT, 4, 1000).noise_fields == 5
    assert Sampling.of(TEACHER, 50, 1000).noise_fields == 52
