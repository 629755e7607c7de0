"""A run from its config to `final/`, on real photographs, at a size that is quick."""

import dataclasses
import json
import re
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import jax
import numpy as np
import pytest

from addsr_jax import sharding, train, trees
from addsr_jax.data import pictures, sources
from addsr_jax.data.batches import batch_shapes
from addsr_jax.errors import UserError
from addsr_jax.restoration import pipeline
from addsr_jax.specs import TinyDecoderSpec
from addsr_jax.stages.base import resumable
from addsr_jax.training import config as config_file
from addsr_jax.training import job, loop, step
from addsr_jax.training.loop import Result
from addsr_jax.training.options import TRAINING
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights import tags
from addsr_jax.weights.beside import load_beside
from tests import tiny
from tests.data import photos

ROOT = Path(__file__).parents[2]


SPEC = dataclasses.replace(tiny.LEAST, name='nano')
BUNDLE = tiny.bundle(SPEC)


size = tiny.standing_for_nano(SPEC)


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """That know the words of their tagging head, each of which fires for some of the sample photographs."""
    folder = tmp_path_factory.mktemp('weights') / 'tiny'
    words = tmp_path_factory.mktemp('words')
    program = jax.jit(partial(tags.logits, tiny.networks(SPEC)))
    params, side = BUNDLE.params['prompt_extractor'], SPEC.prompt_extractor.swin.image_size
    photographs = map(pictures.read, sources.sample_photos().paths)
    likely = np.mean([tags.probabilities(program, params, photograph, side) for photograph in photographs], axis=0)
    (words / tags.LIST).write_text('\n'.join(f'word{i}' for i in range(len(likely))))
    (words / tags.THRESHOLDS).write_text('\n'.join(map(str, likely)))
    bundles.save(dataclasses.replace(BUNDLE, tags=words), folder, 'safetensors')
    return folder


def configured(weights, stage='addsr', **changes):
    values = {
        'weights': weights,
        'steps': 2,
        'batch_size': 8,
        'log_every': 1,
        'data.hr_size': 80,
        'data.source': 'sample_photos',
        'eval_every': 0,
        'preview_every': 0,
        **changes,
    }
    return config_file.train_options(
        f'{ROOT}/configs/{stage}.py:nano', [(key, str(value)) for key, value in values.items()]
    )


def run(workdir, weights, stage='addsr', report=None, devices=1, **changes):
    """A program for one device compiles in half the time of one for several."""
    make_mesh = partial(sharding.make_mesh, devices=jax.devices()[:devices])
    with mock.patch.object(sharding, 'make_mesh', make_mesh):
        job.run(configured(weights, stage, **changes), workdir, report or (lambda line: None))
    return workdir / 'final'


@pytest.fixture(scope='module')
def first(tmp_path_factory, weights):
    """The result of another stage, with another autoencoder than `weights`."""
    return run(tmp_path_factory.mktemp('first'), weights, 'autoencoder')


@pytest.fixture(scope='module')
def final(tmp_path_factory, first):
    return run(tmp_path_factory.mktemp('run'), first, eval_every=2, preview_every=2, **{'data.captions': 'tag'})


def test_a_run_tags_its_photographs_with_the_words_that_its_weights_brought_along_and_passes_them_on(final):
    captions = json.loads((final.parent / 'captions.json').read_text())
    assert {Path(name).name for name in captions} == set(sources.SAMPLE_PHOTOS)
    assert all(text.endswith(',') for text in captions.values())
    words = {word for text in captions.values() for word in text.removesuffix(',').split(', ') if word}
    assert words
    assert words <= {f'word{i}' for i in range(32)}
    assert len(set(captions.values())) > 1
    caption_of = tags.captioner(final)
    for path in sources.sample_photos().paths[:2]:
        assert captions[str(path)] == caption_of(pictures.read(path))


def test_the_result_is_a_model_that_upscales_and_says_where_it_comes_from(final):
    out = pipeline.load(final).upscale(photos.crops(1, 40)[0], steps=2, tile=192)
    assert out.shape == (160, 160, 3)
    info = json.loads((final / 'model.json').read_text())['info']
    assert info['stage'] == 'addsr'
    assert len(info['config_sha256']) == 64
    assert info['config']['data.source'] == 'sample_photos'


def test_only_the_student_differs_from_the_weights_that_it_started_from(first, final):
    before, after = BUNDLE.params, bundles.load(final).params
    before = {**before, 'autoencoder': bundles.load(first).params['autoencoder']}
    for part in ('autoencoder', 'text_encoder', 'prompt_extractor', 'teacher'):
        a, b = trees.flatten(before[part]), trees.flatten(after[part])
        assert all(np.array_equal(a[p], b[p]) for p in a), part
    a, b = trees.flatten(before['teacher']), trees.flatten(after['student'])
    assert any(not np.array_equal(a[p], b[p]) for p in a)


def test_fine_tuning_goes_on_with_the_student_and_the_discriminator_that_are_kept(final):
    options = configured(final, **{'objective.start': 'student'})
    start, stage = job.starting_weights(options), job.make_stage(options, SPEC, sharding.make_mesh('data:8'))
    init = jax.jit(stage.init)
    given = bundles.load(final).params
    state = init(jax.random.key(0), {**given, **job.kept_training(options, stage, start)})
    kept = load_beside(final, 'training', resumable(jax.eval_shape(lambda: state)))
    for a, b in zip(jax.tree.leaves(state.discriminator), jax.tree.leaves(kept['discriminator']), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(
        *(jax.tree.leaves(s.discriminator['params'])[0] for s in (state, init(jax.random.key(0), given)))
    )
    student, first = trees.flatten(bundles.load(final).params['student']), trees.flatten(state.params['student'])
    assert all(np.array_equal(first[p], student[p]) for p in student)


@pytest.mark.parametrize(
    ('weights', 'info', 'parts', 'chosen', 'begun'),
    [
        ('mine/final', {'stage': 'addsr'}, ('student', 'teacher'), 'auto', 'student'),
        ('mine/final', {'stage': 'addsr'}, ('student', 'teacher'), 'teacher', 'teacher'),
        ('mine/final', {'stage': 'seesr'}, ('student', 'teacher'), 'auto', 'teacher'),  # an older student
        ('mine/final', {'stage': 'seesr'}, ('student', 'teacher'), 'student', 'student'),
        ('mine/final', {'stage': 'dape'}, ('student', 'teacher'), 'auto', 'student'),  # its teacher is as old
        ('mine/final', {'stage': 'autoencoder'}, ('student', 'teacher'), 'auto', 'student'),
        ('mine/final', {'stage': 'autoencoder'}, ('student', 'teacher'), 'teacher', 'teacher'),
        ('converted', {'converted': []}, ('student', 'teacher'), 'auto', 'student'),
        ('converted', {'converted': []}, ('teacher',), 'auto', 'teacher'),
        ('nano', {'stage': 'addsr'}, ('student', 'teacher'), 'auto', 'teacher'),
    ],
)
def test_a_student_goes_on_from_the_student_of_its_weights_and_says_so(weights, info, parts, chosen, begun):
    options = configured(weights, **{'objective.start': chosen})
    start = dataclasses.replace(BUNDLE, params=dict.fromkeys(parts), info=info)
    settled = job.with_start(options, start)
    assert config_file.flat(config_file.options.to_data(settled))['objective.start'] == begun
    words = {'student': 'goes on from the student of', 'teacher': 'the student begins as the teacher of'}
    assert job.origin(settled) == f'{words[begun]} {weights}'
    assert job.make_stage(settled, SPEC, sharding.make_mesh('data:8')).continues == (begun == 'student')


@pytest.mark.parametrize(
    ('stage', 'changes', 'parts'),
    [
        ('dape', {}, {'prompt_extractor'}),
        ('tiny_decoder', {}, {'autoencoder'}),
        ('autoencoder', {}, {'autoencoder', 'prompt_extractor'}),
        ('addsr', {'objective.start': 'teacher'}, {'autoencoder', 'prompt_extractor', 'teacher', 'text_encoder'}),
        ('addsr', {}, set(tiny.PARTS)),
        ('addsr', {'objective.start': 'student', 'objective.trainable': 'lora'}, set(tiny.PARTS)),
    ],
    ids=lambda value: value if isinstance(value, str) else f'{len(value)}',
)
def test_a_stage_loads_the_parts_that_it_needs_onto_its_mesh(weights, stage, changes, parts):
    options = configured(weights, stage, **changes)
    _, mesh, start, made, known = job.prepared(options)
    assert not any(isinstance(leaf, np.ndarray | jax.Array) for leaf in jax.tree.leaves(start.params))
    given = job.tensors(options, made, start, mesh)
    assert set(given) == parts
    assert {leaf.sharding.mesh for leaf in jax.tree.leaves(given)} == {mesh}
    shapes, fewer = step.state_shapes(made, known, mesh), step.state_shapes(made, given, mesh)
    assert (shapes.state, shapes.frozen) == (fewer.state, fewer.frozen)


def test_the_next_stage_starts_from_final(first, final):
    scale = bundles.load(first).spec.autoencoder.scaling_factor
    assert scale != SPEC.autoencoder.scaling_factor
    assert bundles.load(final).spec.autoencoder.scaling_factor == scale


def test_a_run_says_at_its_start_how_many_files_it_left_out_and_why(tmp_path, weights):
    folder = photos.folder(tmp_path / 'photos', 2)
    for name in ('._00.png', 'a.eps'):
        (folder / name).touch()
    lines: list[str] = []

    def stop(line):
        lines.append(line)
        if len(lines) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run(tmp_path / 'run', weights, report=stop, **{'data.source': 'folder', 'data.path': folder})
    assert '2 steps of 8 images from 2 photographs' in lines[0]
    assert lines[0].endswith(f', goes on from the student of {weights}')
    assert lines[1] == f'2 photographs in {folder}, left out: 1 hidden, 1 of another kind'


def test_photographs_are_tagged_before_the_start_is_on_the_devices(tmp_path, weights, monkeypatch):
    calls = []

    class Enough(Exception):
        pass

    def tensors(*_):
        calls.append('tensors')
        raise Enough

    monkeypatch.setattr(job.captions, 'tagged', lambda options, source, *_: calls.append('tagged') or source)
    monkeypatch.setattr(job, 'batches_of', lambda *_: calls.append('batches'))
    monkeypatch.setattr(job, 'tensors', tensors)
    with pytest.raises(Enough):
        run(tmp_path / 'run', weights, **{'data.captions': 'tag'})
    assert calls == ['tagged', 'batches', 'tensors']


@pytest.fixture
def trained(monkeypatch):
    """Runs that train nothing: what is done instead, a function without arguments, is appended to this list."""
    instead = [lambda: None]

    def train(*_, **__):
        instead[-1]()
        return Result(SimpleNamespace(ema={'autoencoder': {}}), {}, finished=True)

    monkeypatch.setattr(loop, 'train', train)
    monkeypatch.setattr(job, 'tensors', lambda *_: {})
    monkeypatch.setattr(job, 'write_final', lambda *_: None)
    return instead


def test_a_run_that_comes_to_another_in_its_workdir_leaves_its_record_as_it_is(tmp_path, weights, trained):
    record, kept = tmp_path / 'run' / 'config.json', []

    def again():
        kept.append(record.read_text())
        with pytest.raises(UserError, match='another run trains in'):
            run(tmp_path / 'run', weights, 'tiny_decoder', steps=9)
        kept.append(record.read_text())

    trained.append(again)
    run(tmp_path / 'run', weights, 'tiny_decoder')
    assert kept[0] == kept[1]
    trained.append(lambda: None)
    run(tmp_path / 'run', weights, 'tiny_decoder', steps=9)
    assert json.loads(record.read_text())['steps'] == 9


def test_a_length_that_the_run_is_beyond_is_refused_and_leaves_its_record_as_it_is(tmp_path, weights, trained):
    run(tmp_path, weights, 'tiny_decoder', steps=9)
    record = (tmp_path / 'config.json').read_text()
    (tmp_path / 'checkpoints' / '7').mkdir(parents=True)
    with pytest.raises(UserError, match=r'is at step 7, beyond --config\.steps 5: raise steps'):
        run(tmp_path, weights, 'tiny_decoder', steps=5)
    assert (tmp_path / 'config.json').read_text() == record


def test_other_weights_under_the_path_of_a_run_are_refused(tmp_path, weights, trained):
    shutil.copytree(weights, tmp_path / 'weights')
    run(tmp_path / 'run', tmp_path / 'weights', 'tiny_decoder')
    params = {**BUNDLE.params, 'autoencoder': jax.tree.map(lambda leaf: leaf + 1, BUNDLE.params['autoencoder'])}
    bundles.save(dataclasses.replace(BUNDLE, params=params), tmp_path / 'weights', 'safetensors')
    with pytest.raises(UserError, match='began with other weights than'):
        run(tmp_path / 'run', tmp_path / 'weights', 'tiny_decoder')


@pytest.mark.parametrize(
    ('stage', 'changes', 'held', 'lacking'),
    [
        ('addsr', {}, ('autoencoder', 'prompt_extractor'), 'text_encoder, teacher'),
        ('addsr', {'objective.trainable': 'lora'}, ('autoencoder', 'prompt_extractor'), 'text_encoder, teacher'),
        ('addsr', {}, ('autoencoder', 'prompt_extractor', 'student', 'text_encoder'), 'teacher'),
        ('seesr', {}, ('prompt_extractor', 'text_encoder'), 'autoencoder'),
        ('dape', {'objective.trainable': 'lora'}, ('autoencoder',), 'prompt_extractor'),
    ],
)
def test_weights_that_lack_a_part_are_refused_by_its_name(tmp_path, stage, changes, held, lacking):
    params = {part: BUNDLE.params[part] for part in held}
    bundles.save(dataclasses.replace(BUNDLE, params=params), tmp_path / 'weights', 'safetensors')
    with pytest.raises(UserError, match=f'^stage {stage} needs {lacking}, which --config.weights does not hold'):
        run(tmp_path / 'run', tmp_path / 'weights', stage, **changes)
    assert not (tmp_path / 'run').exists()


def test_who_rests_is_not_asked_for(tmp_path):
    parts = ('autoencoder', 'prompt_extractor', 'teacher', 'text_encoder')
    spec = dataclasses.replace(SPEC, dino=tiny.LEAST.dino, tiny_decoder=TinyDecoderSpec(channels=8, blocks=(1, 1, 1)))
    rests = {'objective.adversarial_weight': 0.0, 'objective.distillation_weight': 0.0, 'objective.pixel_weight': 1.0}
    options = configured('', **rests, **{'objective.teacher_decoder': 'tiny'})
    made = job.make_stage(options, spec, sharding.make_mesh('data:8'))
    assert set(jax.eval_shape(made.freeze, {part: BUNDLE.params[part] for part in parts})) == set(parts)


def test_a_record_of_another_run_is_refused_before_anything_is_written(tmp_path, weights):
    (tmp_path / 'config.json').write_text('{}')
    with pytest.raises(UserError, match='is no record of a run'):
        run(tmp_path, weights, 'tiny_decoder')
    assert [path.name for path in tmp_path.iterdir()] == ['config.json']


def test_the_end_of_a_run_asks_for_no_photograph_where_its_stage_needs_none(tmp_path, weights, trained, monkeypatch):
    def gone(start):
        raise UserError('the photographs are gone')

    monkeypatch.setattr(job, 'batches_of', lambda *_: gone)
    run(tmp_path / 'run', weights, 'tiny_decoder')
    with pytest.raises(UserError, match='are gone'):
        run(tmp_path / 'other', weights, 'autoencoder')


def test_a_small_decoder_of_another_size_than_that_of_the_weights_is_refused_before_the_workdir_is_touched(tmp_path):
    held = TinyDecoderSpec(channels=8, blocks=(1, 1, 1))
    spec = dataclasses.replace(SPEC, tiny_decoder=held)
    params = {part: BUNDLE.params[part] for part in ('autoencoder',)}
    params['tiny_decoder'] = jax.device_get(tiny.networks(spec).initial('tiny_decoder', jax.random.key(0)))
    bundles.save(dataclasses.replace(BUNDLE, spec=spec, params=params), tmp_path / 'weights', 'safetensors')
    with pytest.raises(UserError, match='holds a tiny decoder of 8 channels'):
        run(tmp_path / 'run', tmp_path / 'weights', 'tiny_decoder')
    assert not (tmp_path / 'run').exists()


def test_the_extractor_is_trained_from_nothing(tmp_path):
    lines: list[str] = []
    final = run(tmp_path, '', 'dape', lines.append, devices=8)
    assert set(bundles.load(final).params) == {'prompt_extractor'}
    assert lines[0].startswith('dape, size nano: 2 steps of 8 images from 5 photographs on 8 cpu devices')
    assert lines[0].endswith(', from nothing')


@pytest.mark.parametrize('stage', TRAINING)
def test_the_step_is_lowered_from_shapes_alone_as_from_weights(weights, stage):
    options, start = job.abstract_start(configured(weights, stage))
    mesh = sharding.make_mesh('data:2,fsdp:4')
    made, abstract = job.abstract_step(options, start, mesh)
    shapes = step.state_shapes(made, BUNDLE.params, mesh)
    lowered = step.trace_step(made, abstract, batch_shapes(options.data, options.batch_size), mesh).lower()
    (state, frozen, batch), _ = lowered.in_avals
    assert jax.tree.map(lambda a: (a.shape, a.dtype), (state, frozen)) == jax.tree.map(
        lambda a: (a.shape, a.dtype), (shapes.state, shapes.frozen)
    )
    assert batch['hr'].shape == (8, 80, 80, 3)


def test_the_devices_of_the_mesh_decide_the_precision(weights):
    options = configured(weights, 'seesr', **{'objective.trainable': 'image_attentions'})
    elsewhere = SimpleNamespace(devices=np.array([SimpleNamespace(platform='tpu')]))
    for mesh, dtype in ((sharding.make_mesh('data:8'), 'float32'), (elsewhere, 'bfloat16')):
        frozen = job.make_stage(options, SPEC, mesh).freeze(BUNDLE.params)
        assert {str(leaf.dtype) for leaf in jax.tree.leaves(frozen)} == {dtype}


@pytest.mark.parametrize(('precision', 'wanted'), [('default', 'HIGHEST'), ('high', 'HIGH')])
def test_products_have_the_precision_that_a_config_asks_for_and_by_itself_what_jax_was_told(weights, precision, wanted):
    options = dataclasses.replace(configured(weights, 'autoencoder'), precision=precision)
    mesh = sharding.make_mesh('data:1', jax.devices()[:1])
    made = job.make_stage(options, SPEC, mesh)
    shapes = step.state_shapes(made, BUNDLE.params, mesh)
    traced = step.trace_step(made, shapes, batch_shapes(options.data, 1), mesh)
    told = re.findall(r'conv_general_dilated\[.*?\bprecision=(?:\(Precision\.)?(\w+)', str(traced.jaxpr), re.DOTALL)
    assert set(told) == {wanted}


def test_a_step_is_compiled_for_the_run_that_follows_and_nothing_is_written(tmp_path, weights):
    lines: list[str] = []
    options = configured(weights, 'autoencoder')
    with mock.patch.object(step, 'compile_step', wraps=step.compile_step) as compiled:
        job.compile_only(options, lines.append)
    (_, shapes, batch, mesh), _ = compiled.call_args
    assert lines[0].startswith('the step of autoencoder is compiled for 8 cpu devices')
    made = job.make_stage(dataclasses.replace(options, remat='none'), SPEC, mesh)
    assert shapes.state == step.state_shapes(made, BUNDLE.params, mesh).state
    assert batch['hr'][0] == (8, 80, 80, 3)


def test_a_run_that_a_signal_ended_says_so_by_its_exit_code(tmp_path, weights):
    arguments = ['--config', f'{ROOT}/configs/autoencoder.py:nano', '--workdir', str(tmp_path / 'run')]
    with mock.patch.object(job, 'run', return_value=False), pytest.raises(SystemExit) as ended:
        train.main(arguments)
    assert ended.value.code == 75
    with mock.patch.object(job, 'run', return_value=True):
        train.main(arguments)


@pytest.mark.torch  # a minute of compiling each
@pytest.mark.parametrize(('stage', 'devices'), [('seesr', 1), ('seesr', 8), ('addsr', 8)])
def test_teacher_and_student_end_in_a_model_that_upscales_on_one_device_and_on_many(tmp_path, weights, stage, devices):
    final = run(tmp_path / 'run', weights, stage, devices=devices)
    out = pipeline.load(final).upscale(photos.crops(1, 40)[0], method=stage, steps=1, tile=192)
    assert out.shape == (160, 160, 3)
