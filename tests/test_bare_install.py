"""`pip install .` is enough to restore: what only an extra brings is not there, and nobody asks for it."""

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

import numpy as np
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

# Runs a command in a Python that lacks the named top-level modules.
WITHOUT = """
import sys

class Lacking:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition('.')[0] in MISSING else self.finder.find_spec(name, path, target)

MISSING = set(sys.argv[1].split(','))
sys.meta_path[:] = [Lacking(finder) for finder in sys.meta_path]
from addsr_jax import cli
from addsr_jax.errors import guard
sys.exit(guard(cli.main, sys.argv[2:]))
"""


def brought(distribution: str, found: set[str]) -> set[str]:
    """All that is installed with a distribution, without extras."""
    name = canonicalize_name(distribution)
    if name not in found:
        found.add(name)
        try:
            asked = [Requirement(text) for text in requires(distribution) or ()]
        except PackageNotFoundError:  # not for this machine
            return found
        for wanted in asked:
            if wanted.marker is None or wanted.marker.evaluate({'extra': ''}):
                brought(wanted.name, found)
    return found


def missing() -> set[str]:
    """Top-level modules that are here and would not be after `pip install .`."""
    there = brought('addsr-jax', set())
    return {
        module
        for module, owners in packages_distributions().items()
        if not there & {canonicalize_name(owner) for owner in owners}
    }


def test_a_photograph_is_restored_at_a_first_and_a_second_start_without_any_extra(tmp_path):
    absent = missing()
    assert {'pytest', 'grain', 'clu'} <= absent
    assert not {'jax', 'numpy', 'cv2', 'transformers'} & absent
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 20, 3), np.uint8)).save(tmp_path / 'photo.png')
    environment = {**os.environ, 'ADDSR_CACHE': str(tmp_path / 'cache')}
    results = []
    for start in ('first', 'second'):
        command = ['upscale', str(tmp_path / 'photo.png'), '-o', str(tmp_path / start)]
        ran = subprocess.run(
            [sys.executable, '-c', WITHOUT, ','.join(absent), *command],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        results.append((tmp_path / start / 'photo_x4.png').read_bytes())
    assert results[0] == results[1]
    assert list((tmp_path / 'cache' / 'kept').glob('program-*'))
