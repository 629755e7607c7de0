"""Both samplers against recorded runs of the original pipelines, noise field by noise field."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from addsr_jax.diffusion import methods, sampler
from addsr_jax.diffusion.methods import METHODS
from addsr_jax.diffusion.sampler import Inputs, Sampling
from addsr_jax.diffusion.windows import Windows
from addsr_jax.networks.build import apply
from addsr_jax.networks.prompt_extractor import normalise
from addsr_jax.ops.image import adain, resize, wavelet
from tests import golden
from tests.diffusion import parts
from tests.golden import model, pictures

pytestmark = pytest.mark.parity
CHAIN = (999, 749, 499, 249)
ADDSR = ('psr_0.4', 'psr_0.5', 'psr_1.0', 'start_noise', 'odd_size', 'conditioning_scale', 'cfg_repaired')
TILED = ('seesr_cfg', 'seesr_nocfg')
PSR = ('psr_0.4', 'psr_0.5', 'psr_1.0', 'conditioning_scale')  # one program does for all of them
SEESR = ('steps3_cfg5.5_lr', 'steps5_cfg5.5_lr', 'steps3_cfg5.5_noise', 'steps3_nocfg_lr', 'steps5_cond0.8_start')


# Recorded runs that are one program here, as users run them; such a program takes long to compile.
WHOLE = (*(('pipeline_addsr', name, CHAIN) for name in PSR), ('pipeline_seesr', SEESR[0], (667, 334, 1)))


def fields(case: dict, *names: str) -> np.ndarray:
    """Noise [N, 1, h, w, 4] of these names. A pair's fields belong to the negative prompt first; its encoder's are
    those of the one picture that both halves share. A run from noise has none of the encoder: zeros."""
    made = []
    for name in names:
        kind = next((text for key, text in case['fields'].items() if key.endswith(f'.{name}')), None)
        if kind is None:
            assert (name, case['call']['start_point']) == ('vae_eps', 'noise')
            made.append(np.zeros_like(fields(case, 'latents')[0]))
            continue
        shape = tuple(int(n) for n in re.findall(r'\d+', kind[kind.index('[') :]))
        made.append(golden.to_nhwc(pictures.normal(kind[7 : kind.index(',')], shape))[:1])
    return np.stack(made)


def small_picture(case: dict) -> np.ndarray:
    """The low-quality file, uint8 [h, w, 3]."""
    match = re.fullmatch(r'image_u8\(([\w.]+),(\d+),(\d+)\)', case['lq_u8'])
    assert match is not None
    name, h, w = match.groups()
    return pictures.picture_u8(name, int(h), int(w))


def low_quality(case: dict) -> np.ndarray:
    """The picture at output size, [1, H, W, 3] in [-1, 1]."""
    small = small_picture(case)
    large = Image.fromarray(small).resize((4 * small.shape[1], 4 * small.shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(large).astype(np.float32)[None] / np.float32(127.5) - 1


def first_tokens(case: dict) -> jax.Array:
    """What the prompt extractor says of the file itself, [1, 17, 512]."""
    small = jnp.asarray(small_picture(case)[None] / np.float32(255))
    side = model.spec().prompt_extractor.swin.image_size
    return look(model.frozen()['prompt_extractor'], normalise(resize(small, (side, side), 'bilinear')))


@jax.jit
def look(params, seen: jax.Array) -> jax.Array:
    return apply(model.networks().prompt_extractor, params, seen)


@partial(jax.jit, static_argnums=0)
def whole(sampling, params, inputs):
    """One program, as users run it."""
    return sampler.sample(model.networks(), sampling, params, inputs)


def by_parts(sampling, params, inputs):
    """Step by step with a program for each network, which other samplings of that shape use too."""
    with parts.stepwise(parts.one_by_one):
        return sampler.sample(model.networks(), sampling, params, inputs)


def restored(
    group: str, name: str, timesteps: tuple[int, ...], noise: np.ndarray, method: str | None = None
) -> np.ndarray:
    case = golden.cases(group)[name]['inputs']
    call = case['call']
    chosen = METHODS[method or group.removeprefix('pipeline_')]
    tiles = {**call.get('args', {}), **call} if group == 'pipeline_tiled' else {}
    options = {'windows': Windows(tiles['latent_tiled_size'], tiles['latent_tiled_overlap'])} if tiles else {}
    if not chosen.refines:
        options['start_timestep'] = call.get('start_steps', 999)
    sampling = Sampling(
        chosen, timesteps, guided=call['guidance_scale'] > 1, start_point=call['start_point'], **options
    )
    inputs = Inputs(
        lq=low_quality(case),
        tokens=model.tokens(case['ids']),
        noise=noise,
        negative_tokens=model.tokens(model.NEGATIVE),
        guidance_scale=call['guidance_scale'],
        psr_weight=call.get('PSR_weight', 0.0),
        conditioning_scale=call.get('conditioning_scale', 1.0),
        image_tokens=first_tokens(case),
    )
    params = {**model.frozen(), 'student': model.frozen()['teacher']}
    run = whole if (group, name, timesteps) in WHOLE else by_parts
    return np.asarray(run(sampling, params, inputs))


@pytest.mark.parametrize('name', ADDSR)
def test_addsr_restores_as_recorded(name):
    case = golden.cases('pipeline_addsr')[name]['inputs']
    noise = fields(case, 'vae_eps', 'latents', 'noise.749', 'noise.499', 'noise.249')
    image = restored('pipeline_addsr', name, CHAIN, noise) / 2 + 0.5
    pictures.check('pipeline_addsr', name, 'image', golden.to_nchw(image))
    pictures.check_bytes('pipeline_addsr', name, 'image_u8', np.rint(image * 255))


@pytest.mark.parametrize(('steps', 'output'), [(1, 'x0_999'), (2, 'x0_749')])
def test_fewer_steps_are_the_recorded_run_stopped_there(steps, output):
    case = golden.cases('pipeline_addsr')['psr_0.5']['inputs']
    noise = fields(case, 'vae_eps', 'latents', 'noise.749')[: steps + 1]
    image = restored('pipeline_addsr', 'psr_0.5', CHAIN[:steps], noise)
    pictures.check('pipeline_addsr', 'psr_0.5', output, golden.to_nchw(image))


def test_colour_fixes_of_the_recorded_picture_are_as_recorded():
    case = golden.cases('pipeline_addsr')['psr_0.5']['inputs']
    noise = fields(case, 'vae_eps', 'latents', 'noise.749', 'noise.499', 'noise.249')
    image, lq = restored('pipeline_addsr', 'psr_0.5', CHAIN, noise)[0] / 2 + 0.5, low_quality(case)[0] / 2 + 0.5
    image = np.rint(image * 255) / np.float32(255)
    for fix, output in ((adain, 'adain_u8'), (wavelet, 'wavelet_u8')):
        fixed = np.clip(np.asarray(fix(image, lq)), 0, 1) * 255
        pictures.check_bytes('pipeline_addsr', 'psr_0.5', output, np.floor(fixed))  # the original truncates


@pytest.mark.parametrize('name', SEESR)
def test_seesr_restores_as_recorded(name):
    case = golden.cases('pipeline_seesr')[name]['inputs']
    timesteps = methods.teacher_timesteps(case['call']['num_inference_steps'])
    noise = fields(case, 'vae_eps', 'latents', *(f'step.{t}' for t in case['timesteps']))
    image = restored('pipeline_seesr', name, timesteps, noise) / 2 + 0.5
    pictures.check('pipeline_seesr', name, 'image', golden.to_nchw(image))
    pictures.check_bytes('pipeline_seesr', name, 'image_u8', np.rint(image * 255))


def test_addsr_restores_through_windows_as_recorded():
    case = golden.cases('pipeline_tiled')['addsr_repaired']['inputs']
    noise = fields(case, 'vae_eps', 'latents', 'noise.749', 'noise.499', 'noise.249')
    image = restored('pipeline_tiled', 'addsr_repaired', CHAIN, noise, 'addsr') / 2 + 0.5
    pictures.check('pipeline_tiled', 'addsr_repaired', 'image', golden.to_nchw(image))
    pictures.check_bytes('pipeline_tiled', 'addsr_repaired', 'image_u8', np.rint(image * 255))


@pytest.mark.parametrize('name', TILED)
def test_seesr_restores_through_windows_as_recorded(name):
    case = golden.cases('pipeline_tiled')[name]['inputs']
    timesteps = methods.teacher_timesteps(case['call']['num_inference_steps'])
    noise = fields(case, 'vae_eps', 'latents', *(f'step.{t}' for t in case['timesteps']))
    image = restored('pipeline_tiled', name, timesteps, noise, 'seesr') / 2 + 0.5
    pictures.check('pipeline_tiled', name, 'image', golden.to_nchw(image))
    pictures.check_bytes('pipeline_tiled', name, 'image_u8', np.rint(image * 255))
