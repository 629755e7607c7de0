"""What compares the ways to one picture."""

import numpy as np

from addsr_jax.restoration import pipeline
from addsr_jax.restoration.settings import Settings
from addsr_jax.weights import bundle as bundles
from benchmarks import five_ways
from tests import tiny


def test_a_picture_by_an_artefact_of_its_tiles_is_the_pipeline_s(tmp_path):
    bundles.save(tiny.bundle(tiny.LEAST), tmp_path / 'least', 'safetensors')
    model, settings = pipeline.load(tmp_path / 'least'), {'steps': 1, 'tile': 192}
    small = np.random.default_rng(0).integers(0, 256, (20, 60, 3)).astype(np.uint8)  # two tiles
    other = five_ways.with_artefact(model, tmp_path / 'tile.zip', (60, 20), Settings(**settings))
    found = {five_ways.COMMAND: model.upscale(small, **settings), 'other': other.upscale(small, **settings)}
    assert five_ways.differences(found)['other'] <= 1


def test_differences_are_from_the_command_s_picture_and_the_largest_counts():
    black, grey = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 7, np.uint8)
    grey[0, 0, 0] = 200
    assert five_ways.differences({'page': grey, five_ways.COMMAND: black}) == {'page': 200, five_ways.COMMAND: 0}
