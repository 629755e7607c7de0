"""Artefacts: the same picture as the pipeline's, by jax and by ONNX, and one line where they do not fit."""

import json
import zipfile
from importlib.util import find_spec
from pathlib import Path

import jax
import numpy as np
import pytest

from addsr_jax import export
from addsr_jax.errors import UserError, guard
from addsr_jax.restoration import exported, pipeline
from addsr_jax.restoration.flat import flattened
from addsr_jax.restoration.settings import Settings

SIDE = 64
NEAR = 2 / 255  # of numbers in [-1, 1]: one of 255 levels


@pytest.fixture(scope='module')
def model(folder):
    return pipeline.load(folder)


@pytest.fixture(scope='module')
def made(model):
    return exported.sampled(model, Settings(steps=2), (SIDE, SIDE))


@pytest.fixture(scope='module')
def artefact(made, tmp_path_factory):
    path = tmp_path_factory.mktemp('artefact') / 'least.zip'
    exported.write(made, path, ('cpu', 'cuda', 'tpu'), None)
    return path


def inputs(made, batch: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    lq, noise = (shape.shape for shape in made.shapes(batch))
    return rng.uniform(-1, 1, lq).astype(np.float32), rng.standard_normal(noise).astype(np.float32)


def of_pipeline(model, lq, noise, settings) -> np.ndarray:
    words = np.repeat(model.words(settings)[None], len(lq), axis=0)
    return np.asarray(model._sample(lq, noise, words, None, settings))


def test_an_artefact_restores_as_the_pipeline_does_for_every_size_of_a_batch(model, made, artefact):
    run = exported.load(artefact)
    lq, noise = inputs(made, 2)
    wanted = of_pipeline(model, lq, noise, Settings(steps=2))
    np.testing.assert_allclose(np.asarray(run(lq, noise)), wanted, atol=NEAR / 10)
    np.testing.assert_allclose(np.asarray(run(lq[:1], noise[:1])), wanted[:1], atol=NEAR / 10)


def test_an_artefact_holds_its_weights_and_says_what_it_is(made, artefact):
    with zipfile.ZipFile(artefact) as archive:
        assert archive.namelist() == ['addsr.json', 'program.bin', 'weights.safetensors']
        about = json.loads(archive.read('addsr.json'))
    assert about['platforms'] == ['cpu', 'cuda', 'tpu']
    assert (about['method'], about['steps'], about['lq'], about['batch']) == ('addsr', 2, [SIDE, SIDE, 3], None)
    loaded = exported.load(artefact)
    jax.tree.map(np.testing.assert_array_equal, loaded.params, made.params)


def altered(artefact: Path, target: Path, **changes: bytes) -> Path:
    with zipfile.ZipFile(artefact) as old, zipfile.ZipFile(target, 'w') as new:
        for name in old.namelist():
            content = changes.get(name.partition('.')[0], old.read(name))
            if content:
                new.writestr(name, content)
    return target


def refused(path: Path) -> str:
    with pytest.raises(UserError) as raised:
        exported.load(path)
    assert '\n' not in str(raised.value)
    return str(raised.value)


def test_an_artefact_that_does_not_fit_is_one_line(artefact, made, tmp_path):
    about = json.loads(zipfile.ZipFile(artefact).read('addsr.json'))
    other = altered(artefact, tmp_path / 'tpu.zip', addsr=json.dumps({**about, 'platforms': ['tpu']}).encode())
    assert 'is for tpu and this is cpu: export it again with --platforms cpu' in refused(other)
    assert 'is no artefact of addsr export, or is damaged' in refused(
        altered(artefact, tmp_path / 'a.zip', weights=b'')
    )
    assert 'is damaged' in refused(altered(artefact, tmp_path / 'b.zip', weights=b'nonsense'))
    assert 'holds no program that jax' in refused(altered(artefact, tmp_path / 'c.zip', program=b'nonsense'))
    (tmp_path / 'd.zip').write_bytes(b'no archive')
    assert 'is damaged' in refused(tmp_path / 'd.zip')
    assert 'is damaged' in refused(tmp_path / 'nothing.zip')
    lq, noise = inputs(made, 1)
    with pytest.raises(UserError, match=r'lq is \[1, 32, 64, 3\], and this artefact takes \[1, 64, 64, 3\]'):
        exported.load(artefact)(lq[:, :32], noise)


@pytest.mark.parametrize(
    ('change', 'line'),
    [
        (lambda lq, noise: (lq, noise[:1]), r'noise is \[1, 3, 16, 16, 4\], and this artefact takes \[2, 3, 16'),
        (lambda lq, noise: (lq[:0], noise[:0]), r'lq is \[0, 64, 64, 3\], and this artefact takes \[1, 64, 64, 3\]'),
        (lambda lq, noise: (lq[0], noise[0]), r'lq is \[64, 64, 3\], and this artefact takes \[B, 64, 64, 3\]'),
        (lambda lq, noise: (lq.astype(np.uint8), noise), 'lq is of uint8, and this artefact takes arrays of float32'),
        (lambda lq, noise: (lq, noise.astype(np.float64)), 'noise is of float64, and this artefact takes'),
        (lambda lq, noise: (lq.tolist(), noise), 'lq is of list, and this artefact takes'),
        (lambda lq, noise: (None, noise), r'lq is \[\], and this artefact takes'),
    ],
)
def test_inputs_that_do_not_fit_are_one_line(made, artefact, change, line):
    with pytest.raises(UserError, match=line):
        exported.load(artefact)(*change(*inputs(made, 2)))


@pytest.mark.parametrize('name', ['platforms', 'lq', 'noise', 'batch'])
@pytest.mark.parametrize('value', [..., 'cpu', [1, 'a'], [], [0, 1, 1], 1.5, {}], ids=str)
def test_what_an_artefact_says_of_itself_is_looked_at_before_it_is_opened(artefact, tmp_path, name, value):
    about = json.loads(zipfile.ZipFile(artefact).read('addsr.json'))
    about = {key: there for key, there in {**about, name: value}.items() if there is not ...}
    told = refused(altered(artefact, tmp_path / 'other.zip', addsr=json.dumps(about).encode()))
    assert f'is no artefact of addsr export, or is damaged ({name}' in told.replace("('", '(')


@pytest.mark.skipif(find_spec('jax2onnx') is None, reason="pip install '.[onnx]'")
def test_nano_restores_by_onnx_runtime_as_by_the_pipeline(tmp_path, capsys):
    import onnxruntime

    words = ['nano', '-o', str(tmp_path / 'nano.onnx'), '--steps', '1', '--side', str(SIDE)]
    assert guard(export.main, words) == 0
    assert f'lq [1, {SIDE}, {SIDE}, 3], noise [1, 2, 16, 16, 4]' in capsys.readouterr().out
    nano, settings = pipeline.load('nano'), Settings(steps=1)
    lq, noise = inputs(exported.sampled(nano, settings, (SIDE, SIDE)), 1)
    session = onnxruntime.InferenceSession(str(tmp_path / 'nano.onnx'), providers=['CPUExecutionProvider'])
    (found,) = session.run(['image'], {'lq': lq, 'noise': noise})
    np.testing.assert_allclose(found, of_pipeline(nano, lq, noise, settings), atol=NEAR)


def test_flattening_keeps_the_answer_and_leaves_no_loop_and_nothing_that_no_input_decides():
    @jax.checkpoint
    def double(x):
        return x * 2

    def function(x):
        table = jax.numpy.sin(jax.numpy.arange(3.0)).sum()
        state, rows = jax.lax.scan(lambda s, y: (s + double(y), s), x[0], x, reverse=True)
        return (state * table + rows).sum()

    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    flat = flattened(function, jax.ShapeDtypeStruct(x.shape, x.dtype))
    np.testing.assert_allclose(flat(x), function(x), rtol=1e-6)
    names = {equation.primitive.name for equation in jax.make_jaxpr(flat)(x).jaxpr.eqns}
    assert not names & {'scan', 'jit', 'remat2', 'checkpoint', 'sin', 'iota'}


def test_flattening_leaves_no_mask_that_hides_nothing_and_no_row_of_what_no_input_decides():
    seen = np.arange(6).reshape(3, 2) < 6

    def function(x):
        return jax.lax.scan(lambda s, row: (jax.numpy.where(row[0], s + row[1], -jax.numpy.inf), None), x[0], (seen, x))

    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    flat = flattened(lambda x: function(x)[0], jax.ShapeDtypeStruct(x.shape, x.dtype))
    np.testing.assert_array_equal(flat(x), function(x)[0])
    jaxpr = jax.make_jaxpr(flat)(x)
    assert 'select_n' not in {equation.primitive.name for equation in jaxpr.jaxpr.eqns}
    assert not jaxpr.consts
    seen[1, 0] = False
    flat = flattened(lambda x: function(x)[0], jax.ShapeDtypeStruct(x.shape, x.dtype))
    np.testing.assert_array_equal(flat(x), function(x)[0])


def test_the_command_writes_an_artefact_and_says_its_shapes(folder, tmp_path, capsys):
    target = tmp_path / 'least.zip'
    words = [str(folder), '-o', str(target), '--steps', '1', '--side', str(SIDE), '--platforms', 'cpu', '--batch', '1']
    assert guard(export.main, words) == 0
    assert 'MB: lq [1, 64, 64, 3], noise [1, 2, 16, 16, 4]' in capsys.readouterr().out
    assert exported.load(target).about['platforms'] == ['cpu']
    assert guard(export.main, words) == 2
    assert 'exists: add --overwrite' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('words', 'line'),
    [
        (['nano', '-o', 'a.bin'], 'it must end in .zip (for jax) or .onnx'),
        (['nano', '-o', 'a.zip', '--platforms', 'cpu,abacus'], 'cpu, cuda, rocm, tpu'),
        (['nano', '-o', 'a.zip', '--side', '100'], '--side is 100'),
        (['nothing', '-o', 'a.zip'], 'nothing holds no model.json'),
        (['org/nothing', '-o', 'a.zip'], 'HF_HUB_OFFLINE is set'),
    ],
)
def test_export_refuses_in_one_line(words, line, tmp_path, monkeypatch, capsys):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.chdir(tmp_path)
    assert guard(export.main, words) == 2
    told = capsys.readouterr().err
    assert line in told
    assert told.count('\n') == 1
    assert not list(tmp_path.iterdir())
