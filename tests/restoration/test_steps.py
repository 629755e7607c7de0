"""A picture as it stands after every step of the sampler: the last one is what `upscale` gives."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from addsr_jax import sharding
from addsr_jax.errors import Cancelled, PictureError, UserError
from addsr_jax.restoration import pipeline
from tests import tiny
from tests.data import photos


@pytest.fixture(scope='module')
def model():
    return pipeline.built(tiny.bundle(tiny.LEAST), sharding.make_mesh('data:2', jax.devices()[:2]), jnp.float32)


@pytest.fixture(scope='module')
def photo():
    return photos.crops(1, 64)[0][:16, :24]


def test_the_last_step_is_the_result_of_several_tiles_and_the_first_picture_the_enlarged_one(model):
    photo = photos.crops(1, 64)[0][:12, :60]
    settings: dict[str, Any] = {'name': 'a.png', 'steps': 2, 'tile': 192, 'batch': 2}
    told = []
    pictures = list(model.upscale_steps(photo, progress=lambda *done: told.append(done), **settings))
    assert told == [(2, 4), (4, 4)]
    enlarged = Image.fromarray(photo).resize((240, 48), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(pictures[0], np.asarray(enlarged))
    wanted = model.upscale(photo, **settings)
    assert len(pictures) == 3
    assert np.abs(pictures[2].astype(int) - wanted).max() <= 1
    assert np.abs(pictures[1].astype(int) - wanted).max() > 1


def test_models_that_look_at_the_file_see_it_in_the_first_step(photo):
    spec = dataclasses.replace(tiny.LEAST, view=dataclasses.replace(tiny.LEAST.view, tokens_of='file'))
    bundle = dataclasses.replace(tiny.bundle(tiny.LEAST), spec=spec)
    own = pipeline.built(bundle, sharding.make_mesh('data:1', jax.devices()[:1]), jnp.float32)
    *_, last = own.upscale_steps(photo, steps=2)
    assert np.abs(last.astype(int) - own.upscale(photo, steps=2)).max() <= 1


def test_any_number_of_steps_runs_the_same_programs_and_progress_may_end_it(model, photo):
    list(model.upscale_steps(photo, steps=1))
    before = set(model._programs)
    pictures = model.upscale_steps(photo, steps=3, progress=lambda done, total: done < 2)
    assert len([next(pictures), next(pictures)]) == 2
    with pytest.raises(Cancelled, match='stopped after 2 tiles'):
        next(pictures)
    assert set(model._programs) == before


@pytest.mark.parametrize(
    ('settings', 'message'),
    [({'method': 'seesr'}, 'predicts no picture at every step'), ({'tta': True}, 'tta is the mean of four')],
)
def test_methods_without_such_steps_are_refused(model, photo, settings, message):
    with pytest.raises(UserError, match=message):
        next(model.upscale_steps(photo, **settings))


def test_a_batch_has_no_steps_to_look_at(model, photo):
    with pytest.raises(PictureError, match='this is a batch'):
        next(model.upscale_steps(np.stack([photo, photo])))
