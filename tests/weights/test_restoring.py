"""Weights that several processes load together: of what is split its share alone, the rest once among them."""

import dataclasses
import json
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack

import numpy as np
import pytest

from addsr_jax import hashes, trees
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights import model_file
from tests import tiny
from tests.training.test_processes import ROOT, environment, free_port


def load_together(folder, dtype='stored', count=2, mesh='fsdp:-1', harmed=None):
    """[(exit code, what it said)] of processes that load one folder, or each its own of a list."""
    folders = folder if isinstance(folder, list) else [folder] * count
    port = free_port()
    with ExitStack() as files:  # a pipe would be full before its turn to be read has come
        said = [files.enter_context(tempfile.TemporaryFile('w+')) for _ in range(count)]
        children = [
            subprocess.Popen(
                [
                    sys.executable, '-m', 'tests.weights.loader', str(folders[process]), dtype, str(port), str(count),
                    str(process), mesh, str(harmed),
                ],
                env=environment(1), cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, text=True,
            )
            for process, file in enumerate(said)
        ]  # fmt: skip
        try:
            for child in children:
                child.wait(timeout=240)
        finally:
            for child in children:
                child.kill()
        return [(child.returncode, _content(file)) for child, file in zip(children, said, strict=True)]


def _content(file):
    file.seek(0)
    return file.read()


@pytest.fixture
def large(monkeypatch):
    """Tensors are hashed as if they were large, here as in the processes."""
    monkeypatch.setattr(hashes, 'LARGE', 2)


def model_with_shared_branches(folder):
    bundle = tiny.bundle()  # its student has a part of its teacher, which nobody reads twice
    student = trees.overlay(
        bundle.params['student'], {'unet': {'conv_in': bundle.params['teacher']['unet']['conv_in']}}
    )
    bundles.save(dataclasses.replace(bundle, params={**bundle.params, 'student': student}), folder, 'orbax')
    stored = {
        f'params/{name}/{path}'
        for part, tree in bundle.params.items()
        for name, network in bundles.networks_of(part, tree).items()
        for path in trees.flatten(network)
    }
    return stored - {f'params/student/unet/conv_in/{name}' for name in ('kernel', 'bias')}


def both_loaded(folder, dtype):
    codes = load_together(folder, dtype)
    assert [code for code, _ in codes] == [0, 0], codes
    first, second = (json.loads(text.splitlines()[-1]) for _, text in codes)
    alone = bundles.load(folder, None if dtype == 'stored' else dtype).params
    assert first['made'] == hashes.of_tree(alone)
    assert second['made'] is None, 'no other host holds a model'
    assert first['split'] > 50
    return first, second


@pytest.mark.parametrize('dtype', ['stored', 'bfloat16'])
def test_each_of_two_processes_reads_its_shares_alone_and_the_rest_once_among_them(tmp_path, large, dtype):
    stored = model_with_shared_branches(tmp_path / 'model')
    first, second = both_loaded(tmp_path / 'model', dtype)
    assert sorted(first['shares']) == sorted(second['shares'])
    assert len(first['shares']) > 1000
    whole = [*first['read'], *second['read']]
    assert sorted([*whole, *first['shares']]) == sorted(stored)
    assert whole, 'an odd axis is not split'


def test_of_a_folder_that_was_hashed_otherwise_each_tensor_is_read_once_by_one_of_two(tmp_path, large, monkeypatch):
    monkeypatch.setattr(hashes, 'in_pieces', hashes.of_array)
    stored = model_with_shared_branches(tmp_path / 'model')
    record = json.loads((tmp_path / 'model' / 'model.json').read_text())
    made = record.pop('hashes')
    del record['pieces'], made['model.json']
    model_file.write(tmp_path / 'model', record, made)
    first, second = both_loaded(tmp_path / 'model', 'stored')
    assert first['shares'] == second['shares'] == []
    assert sorted([*first['read'], *second['read']]) == sorted(stored)
    assert min(len(first['read']), len(second['read'])) > 50


@pytest.mark.parametrize('half', [0, 1])
def test_what_one_process_finds_damaged_in_its_share_ends_both_with_the_same_line(tmp_path, large, half):
    bundle = tiny.bundle()
    flat = trees.flatten(bundle.params['autoencoder'])
    name = max(flat, key=lambda name: flat[name].size)
    axis, _ = hashes.cut(flat[name].shape)
    broken = np.array(flat[name])
    np.moveaxis(broken, axis, 0)[-half] = np.nan
    params = {'autoencoder': trees.unflatten({**flat, name: broken})}
    bundles.save(dataclasses.replace(bundle, params=params), tmp_path / 'model', 'orbax')
    for code, said in load_together(tmp_path / 'model'):
        assert code == 2, said
        assert f'autoencoder: {name} holds NaN or infinity' in said
        assert 'Traceback' not in said


def test_a_share_with_other_numbers_than_were_written_is_found_out_by_all(tmp_path, large):
    bundle = tiny.bundle()
    bundles.save(
        dataclasses.replace(bundle, params={'autoencoder': bundle.params['autoencoder']}), tmp_path / 'a', 'orbax'
    )
    flat = trees.flatten(bundle.params['autoencoder'])
    name = max(flat, key=lambda name: flat[name].size)
    other = {'autoencoder': trees.unflatten({**flat, name: flat[name] + 1})}
    bundles.save(dataclasses.replace(bundle, params=other), tmp_path / 'b', 'orbax')
    shutil.rmtree(tmp_path / 'a' / 'params')
    shutil.copytree(tmp_path / 'b' / 'params', tmp_path / 'a' / 'params')
    for code, said in load_together(tmp_path / 'a'):
        assert code == 2, said
        assert 'autoencoder is damaged: its tensors are not those that were written' in said


@pytest.mark.parametrize('harmed', [None, 0, 2])
def test_replicas_on_other_processes_are_looked_at_as_well(tmp_path, large, harmed):
    params = {'autoencoder': tiny.bundle().params['autoencoder']}
    bundles.save(dataclasses.replace(tiny.bundle(), params=params), tmp_path / 'model', 'orbax')
    codes = load_together(tmp_path / 'model', count=4, mesh='data:2,fsdp:2', harmed=harmed)
    if harmed is None:
        assert [code for code, _ in codes] == [0] * 4, codes
        assert json.loads(codes[0][1].splitlines()[-1])['made'] == hashes.of_tree(params)
        return
    for code, said in codes:
        assert code == 2, said
        assert 'is not the same at every process: copy the folder again' in said


def test_processes_with_folders_of_their_own_that_differ_end_with_a_line(tmp_path, large):
    params = {'autoencoder': tiny.bundle().params['autoencoder']}
    for name, info in (('a', {}), ('b', {'stage': 'addsr'})):
        bundles.save(dataclasses.replace(tiny.bundle(), params=params, info=info), tmp_path / name, 'orbax')
    for code, said in load_together([tmp_path / 'a', tmp_path / 'b']):
        assert code == 2, said
        assert 'is not the same at every process: copy the folder again' in said


def test_tensors_that_jax_would_make_others_of_are_read_whole(tmp_path, large):
    params = {'autoencoder': trees.cast(tiny.bundle().params['autoencoder'], np.float64)}
    bundles.save(dataclasses.replace(tiny.bundle(), params=params), tmp_path / 'model', 'orbax')
    codes = load_together(tmp_path / 'model')
    assert [code for code, _ in codes] == [0, 0], codes
    assert json.loads(codes[0][1].splitlines()[-1])['shares'] == []
