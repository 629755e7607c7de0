"""What a run holds beside its state: every frozen tensor once, wherever its student begins, as planned before."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from addsr_jax import sharding, trees
from addsr_jax.planning import hardware, programs
from addsr_jax.stages.addsr_objective import PATTERNS
from addsr_jax.stages.base import Trainable
from addsr_jax.training import config as config_file
from addsr_jax.training import job, step
from addsr_jax.weights import bundle as bundles
from tests import tiny

ROOT = Path(__file__).parents[2]
SPEC = dataclasses.replace(tiny.LEAST, name='nano')
PUBLISHED = PATTERNS['image_attentions']
PARAMS = tiny.bundle(SPEC).params
STUDENT = trees.overlay(PARAMS['teacher'], trees.select(PARAMS['student'], PUBLISHED))
OWN = trees.bytes_of(trees.select(STUDENT, PUBLISHED))
TEACHERS = trees.bytes_of({part: tree for part, tree in PARAMS.items() if part != 'student'})


size = tiny.standing_for_nano(SPEC)


@pytest.fixture(scope='module')
def kin(tmp_path_factory):
    """Weights whose student was trained as the published one."""
    folder = tmp_path_factory.mktemp('kin') / 'weights'
    params = {**PARAMS, 'student': STUDENT}
    bundles.save(dataclasses.replace(tiny.bundle(SPEC), params=params), folder, 'orbax')
    return folder


@pytest.fixture(scope='module')
def stranger(tmp_path_factory):
    """Weights whose student has nothing of its teacher."""
    folder = tmp_path_factory.mktemp('stranger') / 'weights'
    bundles.save(tiny.bundle(SPEC), folder, 'orbax')
    return folder


def configured(weights, start, trainable):
    values = {
        'weights': weights, 'batch_size': 8, 'data.hr_size': 80, 'objective.start': start,
        'objective.trainable': trainable,
    }  # fmt: skip
    return config_file.train_options(f'{ROOT}/configs/addsr.py:nano', [(k, str(v)) for k, v in values.items()])


CASES = [  # where the student begins, what is trained, and the bytes of it that are frozen beside the teacher
    ('kin', 'teacher', 'image_attentions', 0),
    ('kin', 'student', 'image_attentions', 0),
    ('kin', 'auto', 'image_attentions', 0),
    ('kin', 'teacher', 'lora', 0),
    ('kin', 'student', 'lora', OWN),
    ('kin', 'student', 'all', 0),
    ('stranger', 'teacher', 'image_attentions', 0),
    ('stranger', 'student', 'image_attentions', trees.bytes_of(STUDENT) - OWN),
    ('stranger', 'student', 'all', 0),
    ('', 'auto', 'image_attentions', 0),
    ('', 'student', 'lora', OWN),
]


@pytest.mark.parametrize(('weights', 'start', 'trainable', 'more'), CASES)
def test_a_plan_has_the_frozen_tensors_once(weights, start, trainable, more, request):
    folder = request.getfixturevalue(weights) if weights else ''
    planned = programs.train_step(configured(folder, start, trainable), hardware.local()).arguments
    assert sum(size for part, size in planned.items() if part.startswith('frozen')) == TEACHERS + more


@pytest.mark.parametrize(('weights', 'start', 'trainable', 'more'), [case for case in CASES if case[0]])
def test_a_run_holds_what_was_planned_and_its_student_is_whole(weights, start, trainable, more, request):
    folder = request.getfixturevalue(weights)
    options = configured(folder, start, trainable)
    _, mesh, begun, stage, known = job.prepared(options)
    shapes = step.state_shapes(stage, known, mesh)
    given = job.tensors(options, stage, begun, mesh)
    frozen = jax.device_put(stage.freeze(given), shapes.frozen_shardings)
    assert trees.bytes_of(frozen) == TEACHERS + more
    assert jax.tree.structure(frozen) == jax.tree.structure(shapes.frozen)
    source = 'teacher' if start == 'teacher' else 'student'
    student = Trainable('student', source, under='teacher' if source == 'student' else None)
    patterns = [] if trainable == 'lora' else PATTERNS[trainable]
    trained = trees.select(student.whole(given), patterns)
    equal(trees.overlay(student.whole(frozen), trained), bundles.load(folder).params[source])


def equal(found, wanted):
    found, wanted = trees.flatten(found), trees.flatten(wanted)
    assert set(found) == set(wanted)
    assert all(np.array_equal(np.asarray(found[path]), np.asarray(wanted[path])) for path in wanted)


def test_a_student_made_by_a_run_says_what_it_has_of_its_teacher(kin, tmp_path):
    options = configured(kin, 'teacher', 'image_attentions')
    settled, mesh, begun, stage, _ = job.prepared(options)
    state = jax.jit(stage.init)(jax.random.key(0), job.tensors(options, stage, begun, mesh))
    state = dataclasses.replace(state, ema=jax.tree.map(lambda leaf: leaf + 1, state.ema))
    job.write_final(stage, state, begun, begun.spec, settled, mesh, tmp_path / 'final')
    again = bundles.described(tmp_path / 'final')
    assert again.same == begun.same
    assert job.step_sizes(again, settled, jax.devices()).frozen == TEACHERS
    assert sharding.described(mesh.shape) == 'data:8'
