"""Weights that several processes load together: read once among them, and equal everywhere."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from addsr_jax import hashes, trees
from addsr_jax.weights import bundle as bundles
from tests import tiny
from tests.training.test_processes import ROOT, environment, free_port


def load_together(folder, dtype='stored', count=2):
    """[(exit code, what it said)] of processes that load one folder."""
    port = free_port()
    children = [
        subprocess.Popen(
            [sys.executable, '-m', 'tests.weights.loader', str(folder), dtype, str(port), str(count), str(process)],
            env=environment(1), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for process in range(count)
    ]  # fmt: skip
    try:
        said = [child.communicate(timeout=240)[0] for child in children]
    finally:
        for child in children:
            child.kill()
    return [(child.returncode, text) for child, text in zip(children, said, strict=True)]


@pytest.mark.parametrize('dtype', ['stored', 'bfloat16'])
def test_two_processes_read_each_tensor_once_and_have_what_one_has(tmp_path, dtype):
    bundle = tiny.bundle()  # its student has a part of its teacher, which nobody reads twice
    student = trees.overlay(
        bundle.params['student'], {'unet': {'conv_in': bundle.params['teacher']['unet']['conv_in']}}
    )
    bundles.save(dataclasses.replace(bundle, params={**bundle.params, 'student': student}), tmp_path / 'model', 'orbax')
    alone = bundles.load(tmp_path / 'model', None if dtype == 'stored' else dtype).params
    stored = {
        f'params/{name}/{path}'
        for part, tree in bundle.params.items()
        for name, network in bundles.networks_of(part, tree).items()
        for path in trees.flatten(network)
    }
    codes = load_together(tmp_path / 'model', dtype)
    assert [code for code, _ in codes] == [0, 0], codes
    first, second = (json.loads(text.splitlines()[-1]) for _, text in codes)
    assert first['made'] == hashes.of_tree(alone)
    assert second['made'] is None, 'no other host holds a model'
    assert first['split'] > 50
    read = [*first['read'], *second['read']]
    twice = {f'params/student/unet/conv_in/{name}' for name in ('kernel', 'bias')}
    assert sorted(read) == sorted(stored - twice)
    assert min(len(first['read']), len(second['read'])) > 50


def test_what_one_process_finds_damaged_ends_both_with_the_same_line(tmp_path):
    bundle = tiny.bundle()
    decoder = trees.flatten(bundle.params['autoencoder'])
    name = next(name for name in decoder if name.endswith('conv_in/kernel'))
    broken = trees.unflatten({**decoder, name: np.full_like(decoder[name], np.nan)})
    bundles.save(dataclasses.replace(bundle, params={'autoencoder': broken}), tmp_path / 'model', 'orbax')
    for code, said in load_together(tmp_path / 'model'):
        assert code == 2, said
        assert f'autoencoder: {name} holds NaN or infinity' in said
        assert 'Traceback' not in said
