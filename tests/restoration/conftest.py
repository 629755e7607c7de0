"""The least model that restores, as a folder."""

import pytest

from addsr_jax.weights import bundle as bundles
from tests import tiny


@pytest.fixture(scope='session')
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp('model') / 'least'
    bundles.save(tiny.bundle(tiny.LEAST), place, 'safetensors')
    return place
