"""Folders that only look like Orbax's are refused before anything in them is opened that may not end."""

import json
import os
from types import SimpleNamespace

import pytest

from addsr_jax.weights import orbax_folder


def entry(*names, kind='np.ndarray'):
    return {'key_metadata': [{'key': name, 'key_type': 2} for name in names], 'value_metadata': {'value_type': kind}}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'd').mkdir()
    (tmp_path / 'd' / '0').write_bytes(b'x')
    return tmp_path


def describe(folder, *entries):
    (folder / '_METADATA').write_text(json.dumps({'tree_metadata': {str(i): e for i, e in enumerate(entries)}}))


def test_values_without_tensors_are_not_counted(folder):
    describe(folder, entry('a'), entry('b', kind='None'), entry('c', kind='Dict'))
    orbax_folder.check(folder, 1)
    describe(folder, entry('a'), entry('b'))
    with pytest.raises(ValueError, match='names 2 tensors, more than 1'):
        orbax_folder.check(folder, 1)


@pytest.mark.parametrize(
    'wrong',
    [
        entry('..'),
        entry('a', ''),
        entry('a/b'),
        entry('a\n'),
        entry(7),
        entry(),
        entry(*'a' * 65),
        7,
        {'key_metadata': []},
    ],
    ids=str,
)
def test_names_that_are_none_or_lead_out_of_the_folder_are_refused(folder, wrong):
    describe(folder, wrong)
    with pytest.raises(ValueError, match='describes no tensor at 0'):
        orbax_folder.check(folder, 9)


@pytest.mark.parametrize('record', ['[]', '{}', '{"tree_metadata": 7}', '{"tree_metadata": {}}', '{'])
def test_a_description_of_no_tree_is_refused(folder, record):
    (folder / '_METADATA').write_text(record)
    with pytest.raises(ValueError, match='_METADATA'):
        orbax_folder.check(folder, 9)


def test_pipes_and_links_that_lead_to_no_file_are_refused_and_links_to_files_are_not(folder):
    describe(folder, entry('a'))
    (folder / 'd' / 'link').symlink_to(folder / 'd' / '0')  # as caches of downloads have them
    orbax_folder.check(folder, 9)
    for make in (
        os.mkfifo,
        lambda p: p.symlink_to('nowhere'),
        lambda p: p.symlink_to('/dev/zero'),
        lambda p: p.symlink_to('/'),
    ):
        make(folder / 'd' / 'odd')
        with pytest.raises(ValueError, match='odd is no regular file'):
            orbax_folder.check(folder, 9)
        (folder / 'd' / 'odd').unlink()


def test_more_files_than_any_checkpoint_has_are_refused(folder, monkeypatch):
    describe(folder, entry('a'))
    monkeypatch.setattr(orbax_folder, 'FILES', 2)
    with pytest.raises(ValueError, match='more than 2 files'):
        orbax_folder.check(folder, 9)


def read_as(tree):
    def metadata(folder):
        if tree is None:
            raise ValueError('NOT_FOUND: Error reading a part of the database')
        return SimpleNamespace(tree=tree)

    return SimpleNamespace(handler=SimpleNamespace(metadata=metadata))


def leaf(shape, pieces):
    return SimpleNamespace(shape=shape, storage=SimpleNamespace(chunk_shape=pieces))


def test_what_orbax_describes_has_tensors_in_pieces_no_larger_than_they_are(folder):
    tree = {'a': leaf((4, 2), (2, 2)), 'b': leaf((), ())}
    assert orbax_folder.described(read_as(tree), folder) == tree
    for found, words in (
        (None, 'its tensors are not there'),
        ({'a': SimpleNamespace()}, 'a is no tensor'),
        ({'a': leaf((8,), (1 << 30,))}, r'a of shape \[8\] is stored in pieces of \[1073741824\]'),
    ):
        with pytest.raises(ValueError, match=words):
            orbax_folder.described(read_as(found), folder)
