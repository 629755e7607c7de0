"""Optimisers and the discriminator that `final/` keeps: a run goes on with them where they fit, and else refuses."""

import dataclasses
import gc
from pathlib import Path

import jax
import numpy as np
import pytest

from addsr_jax import sharding
from addsr_jax.errors import UserError
from addsr_jax.stages.base import resumable
from addsr_jax.training import config as config_file
from addsr_jax.training import job
from addsr_jax.weights import bundle as bundles
from tests import tiny

ROOT = Path(__file__).parents[2]
SPEC = dataclasses.replace(tiny.LEAST, name='nano')
NARROW = dataclasses.replace(SPEC, discriminator=dataclasses.replace(SPEC.discriminator, projection_dim=4))


size = tiny.standing_for_nano(SPEC)


def configured(weights, **changes):
    values = {
        'weights': weights,
        'objective.start': 'student',
        'objective.trainable': 'image_attentions',
        'data.source': 'sample_photos',
        'data.hr_size': 80,
        'eval_every': 0,
        'preview_every': 0,
        **changes,
    }
    return config_file.train_options(
        f'{ROOT}/configs/addsr.py:nano', [(key, str(value)) for key, value in values.items()]
    )


def stage_of(options, spec=SPEC):
    return job.make_stage(options, spec, sharding.make_mesh('data:8'))


def saved(folder, spec=SPEC, **changes):
    """A final/ of the least model, beside it the training state of a run with this spec and objective, numbered."""
    made = stage_of(configured('nano', **changes), spec)
    shapes = resumable(jax.eval_shape(made.init, jax.random.key(0), tiny.bundle(tiny.LEAST).params))
    kept = jax.tree.map(lambda s: np.full(s.shape, 0.25, s.dtype), shapes)
    bundles.save(dataclasses.replace(tiny.bundle(tiny.LEAST), spec=SPEC), folder, 'orbax', beside={'training': kept})
    return folder


@pytest.fixture(scope='module')
def final(tmp_path_factory):
    return saved(tmp_path_factory.mktemp('kept') / 'final')


def test_a_discriminator_that_fits_is_gone_on_with(final):
    options = configured(final)
    start, stage = job.starting_weights(options), stage_of(options)
    kept = job.kept_training(options, stage, start)['training']
    wanted = resumable(jax.eval_shape(stage.init, jax.random.key(0), start.params))
    for name in ('discriminator', 'discriminator_optimizer', 'optimizer'):
        for leaf, shape in zip(*(jax.tree.leaves(tree[name]) for tree in (kept, wanted)), strict=True):
            assert leaf.shape == shape.shape
            assert (leaf == np.asarray(0.25).astype(leaf.dtype)).all()


def refused(folder, tmp_path, **changes):
    with pytest.raises(UserError, match=r'training does not fit this run .*: delete that folder') as error:
        job.run(configured(folder, **changes), tmp_path / 'run', lambda line: None)
    assert '\n' not in str(error.value)
    gc.collect()  # nothing was begun that complains when it is collected
    assert not (tmp_path / 'run').exists()


def test_a_discriminator_of_another_width_is_refused_before_the_workdir_is_touched(tmp_path):
    refused(saved(tmp_path / 'final', NARROW), tmp_path)


@pytest.mark.parametrize('leak', ['true', 'false'])
def test_a_discriminator_with_or_without_the_leak_that_the_run_has_is_refused(leak, tmp_path):
    other = {'true': 'false', 'false': 'true'}[leak]
    refused(saved(tmp_path / 'final', **{'objective.d_grad_leak': other}), tmp_path, **{'objective.d_grad_leak': leak})


def test_what_another_stage_left_there_is_no_beginning_of_this_one(final):
    options = configured(final)
    start = dataclasses.replace(job.starting_weights(options), info={'stage': 'autoencoder'})
    assert job.kept_training(options, stage_of(options), start) == {}


def test_a_student_that_starts_from_its_teacher_leaves_what_is_kept_alone(final):
    options = configured(final, **{'objective.start': 'teacher'})
    assert job.kept_training(options, stage_of(options), job.starting_weights(options)) == {}
