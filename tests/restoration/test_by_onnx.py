"""Pictures by ONNX Runtime: those of XLA, from a sampler that is made once, or a line that says why not."""

import dataclasses
import importlib.util
import json
import re
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from addsr_jax import keep, sharding, upscale
from addsr_jax.errors import UserError, guard
from addsr_jax.installation import with_extra
from addsr_jax.restoration import by_onnx, pipeline
from addsr_jax.restoration.settings import Settings

SMALL = np.random.default_rng(0).integers(0, 256, (20, 60, 3)).astype(np.uint8)
TILED = {'steps': 1, 'tile': 192}  # of 80 x 240 pixels: two tiles of 128 x 192
needs_onnx = pytest.mark.skipif(importlib.util.find_spec('jax2onnx') is None, reason="pip install '.[onnx]'")


@pytest.fixture(scope='module')
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp('cache') / 'kept'


@pytest.fixture
def told(kept, monkeypatch):
    """Lines of conversions; what they make is kept for the whole module."""
    monkeypatch.setattr(keep, 'place', lambda: kept)
    return []


@pytest.fixture
def model(folder, told):
    return pipeline.load(folder, runtime='onnx', tell=told.append)


def largest_difference(one, other) -> int:
    return int(np.abs(np.asarray(one, np.int32) - np.asarray(other, np.int32)).max())


@needs_onnx
def test_a_picture_of_several_tiles_is_xla_s_and_its_sampler_is_made_once(model, folder, told, kept):
    found = model.upscale(SMALL, name='a', **TILED)
    assert largest_difference(found, pipeline.load(folder).upscale(SMALL, name='a', **TILED)) <= 1
    assert told[0] == 'making the ONNX sampler for tiles of 128 x 192 pixels: about a minute, once'
    assert told[1].startswith('made in ')
    again = pipeline.load(folder, runtime='onnx', tell=told.append)
    np.testing.assert_array_equal(again.upscale(SMALL, name='a', **TILED), found)
    assert len(told) == 2
    assert again.need((60, 20), Settings(**TILED)) > 0
    assert sum(path.name.startswith('onnx-') for path in kept.iterdir()) == 1


@needs_onnx
def test_mirror_images_and_the_sampler_alone_go_through_it_too(model, folder, told):
    xla = pipeline.load(folder)
    mirrored = {**TILED, 'tta': True}
    assert largest_difference(model.upscale(SMALL, **mirrored), xla.upscale(SMALL, **mirrored)) <= 1
    lq = np.random.default_rng(1).uniform(-1, 1, (1, 128, 192, 3)).astype(np.float32)
    alone = model.sample(lq, jax.random.key(0), steps=1)
    assert isinstance(alone, jax.Array)
    np.testing.assert_allclose(alone, xla.sample(lq, jax.random.key(0), steps=1), atol=2 / 255)


def test_a_whole_picture_for_it_has_sides_that_a_tile_can_have_and_for_xla_no_more_than_latents_need():
    whole = {None: (36, 44), 'a runtime': (48, 48)}
    for runtime, shape in whole.items():
        model: Any = SimpleNamespace(runtime=runtime, factor=4, grid=16)
        assert pipeline.Pipeline.plan(model, 36, 41, tile=0).shape == shape


@needs_onnx
def test_the_command_restores_by_it_and_the_result_says_so(model, folder, told, tmp_path, monkeypatch, capsys):
    one = jax.local_devices()[:1]
    monkeypatch.setattr(jax, 'local_devices', lambda *_, **__: one)
    Image.fromarray(SMALL).save(tmp_path / 'a.png')
    words = [str(tmp_path / 'a.png'), '-o', str(tmp_path), '--weights', str(folder), '--steps', '1', '--tile', '192']
    assert guard(upscale.main, [*words, '--runtime', 'onnx']) == 0
    capsys.readouterr()
    with Image.open(tmp_path / 'a_x4.png') as result:
        assert json.loads(result.info['addsr'])['runtime'] == 'onnx'
        assert largest_difference(result, model.upscale(SMALL, name='a.png', **TILED)) == 0


@needs_onnx
@pytest.mark.parametrize(
    ('changes', 'settings', 'line'),
    [
        ({}, {'int8': True}, 'does not multiply in int8: leave out --int8'),
        ({}, {'steps': 9}, 'writes out every step, 8 at most, and these are 9'),
        ({}, {'tile': 0, 'latent_tile': 32}, 'takes tiles in one piece: leave out --tile 0'),
        ({'mesh': 2}, {}, 'is for one device, and these are 2'),
        ({'params': 'bfloat16'}, {}, 'computes in float32, not in bfloat16: leave out --dtype'),
        ({'tokens_of': 'file'}, {}, 'weights that look at the whole file beside each tile'),
        (
            {'vocabulary': True},
            {'tags': None},
            'has one prompt for all pictures, .*: add --no_tags',
        ),
        ({'LARGEST': 1000}, {}, 'takes less than 2 GB of weights, and these have'),
    ],
)
def test_what_it_cannot_do_is_one_line_before_anything_is_made(model, told, monkeypatch, changes, settings, line):
    if 'mesh' in changes:
        model = dataclasses.replace(model, mesh=sharding.make_mesh('data:2', jax.devices()[:2]))
    if 'params' in changes:
        model = dataclasses.replace(model, params=jax.tree.map(lambda leaf: leaf.astype('bfloat16'), model.params))
    if 'tokens_of' in changes:
        spec = model.networks.spec
        seen = dataclasses.replace(spec, view=dataclasses.replace(spec.view, tokens_of='file'))
        model = dataclasses.replace(model, networks=dataclasses.replace(model.networks, spec=seen))
    if 'vocabulary' in changes:
        model = dataclasses.replace(model, vocabulary=SimpleNamespace())
    if 'LARGEST' in changes:
        monkeypatch.setattr(by_onnx, 'LARGEST', 1000)
    with pytest.raises(UserError, match=line):
        model.need((60, 20), Settings(**{'tags': '', **settings}))
    assert not told


def test_steps_are_not_shown_by_it(told):
    runtime = by_onnx.ByOnnx(told.append)
    steps = pipeline.Pipeline(*[None] * 4, runtime=runtime).upscale_steps(SMALL)
    with pytest.raises(UserError, match='ONNX Runtime shows no step but the last'):
        next(steps)


def test_a_runtime_that_is_not_there_is_one_line(monkeypatch, folder):
    with pytest.raises(UserError, match="runtime is 'torch': choose one of xla, onnx"):
        pipeline.load(folder, runtime='torch')
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match=f'needs jax2onnx, onnx, onnxruntime: {re.escape(with_extra("onnx"))}'):
        pipeline.load(folder, runtime='onnx')


def test_a_call_without_memory_is_what_makes_tiles_smaller():
    def run(names, arrays):
        raise RuntimeError('Failed to allocate memory for requested buffer of size 1')

    with pytest.raises(jax.errors.JaxRuntimeError, match='RESOURCE_EXHAUSTED'):
        by_onnx.called(SimpleNamespace(run=run), SMALL, SMALL)
