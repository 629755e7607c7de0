"""The sampling program: lowered from shapes alone it is the one that the pipeline runs."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import keep, sharding
from addsr_jax.diffusion.methods import METHODS, STUDENT, TEACHER
from addsr_jax.diffusion.sampler import Sampling
from addsr_jax.diffusion.windows import Windows
from addsr_jax.restoration import pipeline, program
from addsr_jax.restoration.settings import Settings
from tests import tiny


@pytest.fixture(scope='module')
def model():
    return pipeline.built(tiny.bundle(tiny.LEAST), sharding.make_mesh('data:2', jax.devices()[:2]), jnp.float32)


def test_a_program_lowered_from_shapes_gives_the_pipeline_s_numbers(model):
    lq = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    wanted = model.sample(lq, jax.random.key(3), steps=2, psr_weight=0.5)
    sampling = model._sampling(Settings(steps=2, psr_weight=0.5))
    compiled = program.Shaped(tiny.LEAST, sampling, model.mesh, 2, 64, 64).trace().lower().compile()
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(3), i))(jnp.arange(2))
    noise = jax.vmap(lambda key: jax.random.normal(key, (3, 16, 16, 4)))(keys)
    prompts = tiny.LEAST.prompts
    ids = model.tokenizer([prompts.student_added, prompts.negative])
    batch = {'lq': lq, 'noise': noise, 'tokens': np.repeat(ids[None], 2, axis=0)}
    params = {part: model.params[part] for part in program.parts(sampling)}
    batch = jax.device_put(batch, sharding.batch_sharding(model.mesh))
    got = compiled(params, batch, {'guidance_scale': 1.0, 'psr_weight': 0.5})
    np.testing.assert_array_equal(got, wanted)


def test_a_traced_program_that_is_kept_gives_the_same_bits_and_is_not_traced_again(tmp_path, monkeypatch):
    monkeypatch.setattr(keep, 'place', lambda: tmp_path)
    mesh = sharding.make_mesh('data:1', jax.devices()[3:4])  # not the first
    own = pipeline.built(tiny.bundle(tiny.LEAST), mesh, jnp.float32)
    lq = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)
    settings = Settings(steps=1, tile=0, batch=1)
    sampling, params = own.sampling_and_params(settings)
    noise = np.random.default_rng(1).normal(size=(1, sampling.noise_fields, 16, 16, 4)).astype(np.float32)
    batch = {'lq': lq, 'noise': noise, 'tokens': own.words(settings)[None]}
    asked = program.Shaped(tiny.LEAST, sampling, mesh, 1, 64, 64, 'float32', 'chunked')
    wanted = asked.trace().lower().compile()(params, batch, own.scalars(settings))
    asked.compile()
    monkeypatch.setattr(program, 'jitted', None)
    np.testing.assert_array_equal(asked.compile()(params, batch, own.scalars(settings)), wanted)
    assert own.bytes_of((64, 64), settings) > 0
    np.testing.assert_array_equal(own._sample(lq, noise, batch['tokens'], None, settings), wanted)


@pytest.mark.parametrize('method', METHODS.values(), ids=METHODS)
def test_what_is_lowered_has_the_shapes_of_its_method(method):
    sampling = Sampling.of(method, 3, 1000, guided=True)
    (params, batch, scalars), _ = (
        program.Shaped(tiny.LEAST, sampling, sharding.make_mesh('data:4,fsdp:2'), 8, 64, 96).trace().lower().in_avals
    )
    assert set(params) == {'autoencoder', 'text_encoder', 'prompt_extractor', method.part}
    assert batch['lq'].shape == (8, 64, 96, 3)
    assert batch['noise'].shape == (8, method.noise_fields(3), 16, 24, 4)
    assert set(batch) == {'lq', 'noise', 'tokens'}
    assert set(scalars) == {'guidance_scale', 'psr_weight'}


def test_tokens_of_the_file_are_inputs_where_the_model_looks_at_files():
    spec = dataclasses.replace(tiny.LEAST, view=dataclasses.replace(tiny.LEAST.view, tokens_of='file'))
    sampling = Sampling.of(STUDENT, 1, 1000)
    (_, batch, _), _ = program.Shaped(spec, sampling, sharding.make_mesh('data:8'), 8, 64, 64).trace().lower().in_avals
    bundle = dataclasses.replace(tiny.bundle(tiny.LEAST), spec=spec)
    own = pipeline.built(bundle, sharding.make_mesh('data:1', jax.devices()[:1]), jnp.float32)
    tokens = own._file_tokens(np.zeros((20, 30, 3), np.uint8))
    assert batch['image_tokens'].shape[1:] == tokens.shape[1:]
    assert batch['image_tokens'].dtype == tokens.dtype


@pytest.mark.parametrize(('dtype', 'wanted'), [('auto', 'float32'), ('bfloat16', 'bfloat16')])
def test_weights_have_the_asked_dtype_or_that_of_the_mesh(dtype, wanted):
    mesh = sharding.make_mesh('data:8')
    lowered = program.Shaped(tiny.LEAST, Sampling.of(STUDENT, 1, 1000), mesh, 8, 64, 64, dtype).trace()
    (params, batch, _), _ = lowered.in_avals
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(params)} == {wanted}
    assert batch['lq'].dtype == jnp.float32


@pytest.mark.parametrize(('platform', 'wanted'), [('cpu', jnp.float32), ('tpu', jnp.bfloat16), ('gpu', jnp.bfloat16)])
def test_the_devices_of_a_mesh_decide_the_dtype_and_not_this_machine_s(platform, wanted):
    mesh = SimpleNamespace(devices=np.array([SimpleNamespace(platform=platform)]))
    assert sharding.compute_dtype(mesh) == wanted
    assert sharding.compute_dtype(mesh, 'float32') == jnp.float32


def test_two_pictures_share_a_program_unless_what_it_is_compiled_for_differs():
    base = Sampling.of(TEACHER, 5, 1000)
    assert hash(base) == hash(Sampling.of(TEACHER, 5, 1000))
    others = [
        Sampling.of(STUDENT, 5, 1000),
        Sampling.of(STUDENT, 5, 1000, antithetic=True),
        Sampling.of(TEACHER, 6, 1000),
        *(
            dataclasses.replace(base, **changed)
            for changed in (
                {'guided': True},
                {'start_point': 'noise'},
                {'start_timestep': 500},
                {'windows': Windows(16, 4)},
            )
        ),
    ]
    assert len({base, *others}) == len(others) + 1


def test_weights_of_settings_that_are_numbers_compile_nothing_new(model):
    lq = np.zeros((2, 64, 64, 3), np.float32)
    model.sample(lq, jax.random.key(0), steps=1, guidance_scale=2.0, psr_weight=0.1)
    before = set(model._programs)
    model.sample(lq, jax.random.key(0), steps=1, guidance_scale=3.0, psr_weight=0.9, prompt='red')
    assert set(model._programs) == before
