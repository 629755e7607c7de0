"""A photo from file to file, as the original's script restores it: enlarged, whole, colours fixed, sized back."""

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from addsr_jax import sharding
from addsr_jax.networks.build import build
from addsr_jax.restoration.pipeline import Pipeline
from addsr_jax.restoration.settings import Settings
from tests import golden
from tests.diffusion.test_parity_sampler import fields, small_picture
from tests.golden import model, pictures

pytestmark = pytest.mark.parity


@pytest.fixture(scope='module')
def case():
    return golden.cases('pipeline_addsr')['photo']['inputs']


@pytest.fixture(scope='module')
def restorer(case):
    """The recorded networks as a pipeline, with the record's smallest side and its prompt as ids."""
    view = dataclasses.replace(model.spec().view, smallest_output=case['process_size'])
    ids = np.concatenate([model.tokens(case['ids']), model.tokens(model.NEGATIVE)])
    parts = {**model.frozen(), 'student': model.denoiser()}
    return Pipeline(
        networks=build(dataclasses.replace(model.spec(), view=view)),
        params=jax.tree.map(jax.numpy.asarray, parts),
        tokenizer=lambda texts, kept=False: ids[: len(texts)],
        mesh=sharding.make_mesh('data:1', jax.devices()[:1]),
    )


@pytest.mark.parametrize(('color', 'output'), [('adain', 'out_adain_u8'), ('wavelet', 'out_wavelet_u8')])
def test_a_photo_is_restored_as_recorded(case, restorer, monkeypatch, color, output):
    noise = fields(case, 'vae_eps', 'latents', 'noise.749', 'noise.499', 'noise.249')[:, 0]
    recorded = SimpleNamespace(part=lambda rows, columns: np.asarray(noise)[:, rows, columns])
    monkeypatch.setattr(Pipeline, '_noise', lambda self, settings, name: recorded)
    image = restorer.restore(small_picture(case), Settings(color=color, tile=0), 'photo')
    pictures.check_bytes('pipeline_addsr', 'photo', output, image)
