"""A student that has most of its teacher: those tensors are read once and held once, and nobody can tell otherwise."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from addsr_jax import hashes, sharding, trees
from addsr_jax.errors import UserError
from addsr_jax.stages.addsr_objective import PATTERNS
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights import restoring, same
from tests import tiny

PUBLISHED = PATTERNS['image_attentions']


def kin() -> bundles.Bundle:
    """A student whose published set alone is not its teacher's."""
    params = tiny.bundle().params
    student = trees.overlay(params['teacher'], trees.select(params['student'], PUBLISHED))
    return dataclasses.replace(tiny.bundle(), params={**params, 'student': student})


@pytest.fixture(params=['orbax', 'safetensors'])
def folder(request, tmp_path):
    bundles.save(kin(), tmp_path / 'model', request.param)
    return tmp_path / 'model'


def test_branches_are_the_topmost_whose_tensors_are_all_the_teachers():
    teacher = {'unet/a/kernel': 1, 'unet/a/bias': 2, 'unet/b/c/kernel': 3, 'unet/b/d/kernel': 4, 'unet/e': 5}
    student = {**teacher, 'unet/b/d/kernel': 6}
    made = {'params/teacher/unet': teacher, 'params/student/unet': student, 'training': {'unet/e': 7}}
    made = {
        place: {path.removeprefix('unet/'): made_of for path, made_of in leaves.items()}
        for place, leaves in made.items()
    }
    assert same.branches(made) == ['unet/a', 'unet/b/c', 'unet/e']
    assert same.branches({'params/student/unet': student}) == []
    assert same.covered(['unet/a/kernel', 'unet/ab/kernel'], ['unet/a']) == {'unet/a/kernel'}


def test_model_json_names_all_that_the_student_has_of_its_teacher_and_nothing_else(folder):
    named = json.loads((folder / 'model.json').read_text())['same']
    flat = trees.flatten(kin().params['student'])
    assert same.covered(flat, named) == set(trees.flatten(trees.remove(kin().params['student'], PUBLISHED)))
    assert len(named) < len(flat) / 3, 'branches, not tensors'
    bundles.save(tiny.bundle(), folder, 'orbax')
    assert 'same' not in json.loads((folder / 'model.json').read_text())


@pytest.mark.parametrize('split', [False, True])
def test_the_same_arrays_stand_in_both(folder, split, monkeypatch):
    monkeypatch.setattr(sharding, 'SMALL', 64)
    loaded = bundles.load(folder, mesh=sharding.make_mesh('data:2,fsdp:4') if split else None)
    student, teacher = (trees.flatten(loaded.params[part]) for part in ('student', 'teacher'))
    shared = same.covered(student, loaded.same)
    assert len(shared) > 100
    for path, wanted in trees.flatten(kin().params['student']).items():
        np.testing.assert_array_equal(np.asarray(student[path]), wanted)
        assert (student[path] is teacher[path]) == (path in shared)


def test_a_student_that_is_loaded_without_its_teacher_is_whole(folder):
    loaded = bundles.load(folder, only=['student'])
    wanted, found = (trees.flatten(made.params['student']) for made in (kin(), loaded))
    assert set(found) == set(wanted)
    assert all(np.array_equal(found[path], wanted[path]) for path in wanted)
    assert loaded.same == ()


def test_what_both_have_is_read_once(tmp_path, monkeypatch):
    bundles.save(kin(), tmp_path / 'model', 'orbax')
    read, paths = restoring._read, []
    monkeypatch.setattr(
        restoring, '_read', lambda path, flat: paths.extend((path.parts[-2:], n) for n in flat) or read(path, flat)
    )
    bundles.load(tmp_path / 'model')
    own = [f'{network}/{name}' for (part, network), name in paths if part == 'student']
    assert set(own) == set(trees.flatten(trees.select(kin().params['student'], PUBLISHED)))


def test_a_model_json_that_names_more_than_both_have_is_found_out(folder):
    path = folder / 'model.json'
    record = json.loads(path.read_text())
    record['same'] = ['unet', 'controlnet']
    made = {name: value for name, value in record['hashes'].items() if name != 'model.json'}
    record['hashes'] = {**made, 'model.json': hashes.of_json({**record, 'hashes': made})}
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match='is damaged: its tensors are not those that were written'):
        bundles.load(folder)
    del record['hashes']
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match='holds other keys'):
        bundles.load(folder)


def test_shapes_are_described_with_what_both_have(folder):
    found = bundles.described(folder)
    assert set(trees.flatten(found.params['student'])) == set(trees.flatten(kin().params['student']))
    own = same.without(found.params['student'], found.same)
    assert set(trees.flatten(own)) == set(trees.flatten(trees.select(kin().params['student'], PUBLISHED)))
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(own))
