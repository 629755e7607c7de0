"""Weights at rest: whole or not at all, strict both ways, the same in both forms."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import hashes, keep, sharding, sizes, trees
from addsr_jax.errors import UserError
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights import part_shapes, restoring
from tests import tiny


def equal(a, b):
    a, b = trees.flatten(a), trees.flatten(b)
    assert set(a) == set(b)
    for path in a:
        np.testing.assert_array_equal(np.asarray(a[path]), np.asarray(b[path]))


@pytest.fixture(params=['orbax', 'safetensors'])
def folder(request, tmp_path):
    bundles.save(tiny.bundle(), tmp_path / 'model', request.param)
    return tmp_path / 'model'


def test_what_is_saved_is_loaded_bit_for_bit(folder):
    loaded = bundles.load(folder)
    equal(loaded.params, tiny.bundle().params)
    assert loaded.spec == tiny.SPEC
    assert {p.name for p in loaded.tokenizer.iterdir()} >= {'vocab.json', 'merges.txt'}


def test_shapes_that_are_kept_are_those_of_the_networks(tmp_path, monkeypatch):
    parts = ['autoencoder', 'student', 'dape', 'unet']
    monkeypatch.setattr(keep, 'place', lambda: tmp_path)
    part_shapes._network_shapes.cache_clear()
    wanted = bundles.expected(tiny.SPEC, parts)
    part_shapes._network_shapes.cache_clear()
    monkeypatch.setattr(part_shapes, 'build', None)  # nothing is traced
    found = bundles.expected(tiny.SPEC, parts)
    assert trees.flatten(found) == trees.flatten(wanted)
    assert jax.tree.structure(found) == jax.tree.structure(wanted)


def test_saving_again_replaces_the_folder_whole_and_keeps_the_notes(folder):
    (folder / 'README.md').write_text('card')
    (folder / 'old.bin').write_text('left over')
    bundle = tiny.bundle()
    fewer = dataclasses.replace(bundle, params={'autoencoder': bundle.params['autoencoder']})
    bundles.save(fewer, folder, 'safetensors')
    assert list(bundles.load(folder).params) == ['autoencoder']
    assert (folder / 'README.md').read_text() == 'card'
    assert not (folder / 'old.bin').exists()
    assert [p.name for p in folder.parent.iterdir()] == ['model']


def test_a_write_that_fails_leaves_the_old_folder_alone(folder, monkeypatch):
    def full(*_, **__):
        raise OSError('no space left')

    monkeypatch.setattr(bundles.places, 'copy', full)
    with pytest.raises(UserError, match=r'model cannot be written: no space'):
        bundles.save(tiny.bundle(), folder, 'safetensors')
    equal(bundles.load(folder).params, tiny.bundle().params)


def test_missing_unexpected_and_misshapen_tensors_are_named_together(folder):
    record = json.loads((folder / 'model.json').read_text())
    record['spec']['text_encoder']['mlp_width'] = 24
    record['spec']['text_encoder']['layers'] = 2
    del record['hashes']  # changed on purpose
    (folder / 'model.json').write_text(json.dumps(record))
    with pytest.raises(UserError, match=r'fc1.* is \(1, 8, 16\), not \(2, 8, 24\)'):
        bundles.load(folder)
    tree = {'a': {'kernel': np.zeros(2)}, 'c': np.zeros(1)}
    wanted = {'a': {'kernel': np.zeros(3)}, 'b': np.zeros(1)}
    with pytest.raises(UserError, match=r'b missing; c unexpected; a/kernel is \(2,\), not \(3,\)'):
        bundles.check(tree, wanted, folder)


@pytest.mark.parametrize('dtype', [None, 'bfloat16'])
def test_tensors_go_to_the_devices_that_hold_them(folder, monkeypatch, dtype):
    monkeypatch.setattr(sharding, 'SMALL', 64)  # else all of these would be whole everywhere
    mesh = sharding.make_mesh('data:2,fsdp:4')
    loaded, expected = bundles.load(folder, dtype, mesh=mesh).params, trees.cast(tiny.bundle().params, dtype)
    equal(loaded, expected)
    places = jax.tree.leaves(sharding.state_shardings(mesh, expected))
    leaves = jax.tree.leaves(loaded)
    assert [leaf.sharding for leaf in leaves] == places
    assert sum(not leaf.is_fully_replicated for leaf in leaves) > 100


def test_parts_that_nobody_asks_for_are_not_read(tmp_path):
    bundles.save(tiny.bundle(), tmp_path / 'model', 'orbax')
    bundles.shutil.rmtree(tmp_path / 'model' / 'params' / 'student')
    loaded = bundles.load(tmp_path / 'model', only=['teacher', 'autoencoder'])
    equal(loaded.params, {part: tiny.bundle().params[part] for part in ('teacher', 'autoencoder')})
    with pytest.raises(UserError, match=r'student cannot be read \(it is missing\)'):
        bundles.load(tmp_path / 'model')


def test_a_description_has_the_shapes_of_what_would_be_loaded(folder):
    found = bundles.described(folder)
    shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), bundles.load(folder).params)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), found.params) == shapes
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(found.params))
    assert (found.spec, found.tokenizer, found.info) == (tiny.SPEC, folder / 'tokenizer', {})


def test_a_network_is_read_in_portions_of_bounded_size(tmp_path, monkeypatch):
    monkeypatch.setattr(restoring, 'TOGETHER', 2000)
    params = tiny.bundle().params['text_encoder']
    bundles.save(dataclasses.replace(tiny.bundle(), params={'text_encoder': params}), tmp_path / 'model', 'orbax')
    path = tmp_path / 'model' / 'params' / 'text_encoder'
    seen, read = [], restoring._read
    monkeypatch.setattr(restoring, '_read', lambda path, flat, *places: seen.append(flat) or read(path, flat, *places))
    shapes = restoring.described(path, 100)
    restorer = restoring.Restorer(None, None, [0], cut=True)
    found, made = restorer.restored(path, trees.flatten(shapes))
    equal(found, params)
    assert made == hashes.of_leaves(params, hashes.in_pieces)
    assert len(seen) > 2
    assert all(len(flat) == 1 or trees.bytes_of(flat) <= 2000 for flat in seen)


def test_a_truncated_file_is_named(tmp_path):
    bundles.save(tiny.bundle(), tmp_path / 'model', 'safetensors')
    path = tmp_path / 'model' / 'teacher.safetensors'
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r'teacher\.safetensors cannot be read'):
        bundles.load(tmp_path / 'model')


def test_a_damaged_checkpoint_is_named(tmp_path):
    bundles.save(tiny.bundle(), tmp_path / 'model', 'orbax')
    bundles.shutil.rmtree(tmp_path / 'model' / 'params')
    with pytest.raises(UserError, match='damaged'):
        bundles.load(tmp_path / 'model')


@pytest.mark.parametrize('text', ['{', '{}', '{"spec": {}, "form": "orbax", "parts": [], "info": {}}'])
def test_a_model_file_that_makes_no_sense_is_named(tmp_path, text):
    (tmp_path / 'model.json').write_text(text)
    with pytest.raises(UserError, match=r'model\.json cannot be read'):
        bundles.load(tmp_path)


def test_a_folder_without_weights_says_what_to_give(tmp_path):
    with pytest.raises(UserError, match=r"give 'nano', or a folder that training"):
        bundles.load(tmp_path)


def test_smaller_numbers_at_rest(tmp_path):
    bundles.save(tiny.bundle(), tmp_path / 'model', 'safetensors', dtype=jnp.bfloat16)
    leaves = jax.tree.leaves(bundles.load(tmp_path / 'model').params)
    assert {leaf.dtype for leaf in leaves} == {np.dtype(jnp.bfloat16)}


def test_the_hash_tells_trees_apart_by_every_bit_and_name():
    tree = {'a': np.zeros(3, np.float32)}
    other = {'a': np.array([0, 0, -0.0], np.float32)}
    assert hashes.of_tree(tree) == hashes.of_tree({'a': np.zeros(3, np.float32)})
    assert len({hashes.of_tree(t) for t in (tree, other, {'b': tree['a']})}) == 3


def test_the_embedded_model_is_whole_and_small():
    loaded = bundles.load('nano')
    measured = loaded.spec.autoencoder.scaling_factor  # of its latents, after training
    wanted = dataclasses.replace(sizes.NANO.autoencoder, scaling_factor=measured)
    assert loaded.spec == dataclasses.replace(sizes.NANO, autoencoder=wanted)
    assert set(loaded.params) == {'prompt_extractor', 'autoencoder', 'text_encoder', 'teacher', 'student'}
    size = sum(p.stat().st_size for p in bundles.NANO.rglob('*') if p.is_file())
    assert size < 24e6
    assert all(np.isfinite(np.asarray(x, np.float32)).all() for x in jax.tree.leaves(loaded.params))
    assert 'params/student' in json.loads((bundles.NANO / 'model.json').read_text())['hashes']


def test_a_number_of_the_model_file_or_a_word_of_the_tokenizer_that_changed_is_refused(folder):
    text = (folder / 'model.json').read_text()
    for path, content, message in (
        (
            'model.json',
            text.replace('"scaling_factor": 1.5', '"scaling_factor": 1.7'),
            'written.*"hashes"',
        ),
        ('model.json', text.replace('"hashes"', '"hashez"'), 'holds other keys'),
        ('tokenizer/merges.txt', 'a b\n', r'merges\.txt is not what was written'),
    ):
        before = (folder / path).read_text()
        assert content != before
        (folder / path).write_text(content)
        with pytest.raises(UserError, match=message):
            bundles.load(folder)
        (folder / path).write_text(before)
    (folder / 'tokenizer' / 'vocab.json').unlink()
    with pytest.raises(UserError, match=r'vocab\.json cannot be read'):
        bundles.load(folder)


def test_folders_without_hashes_load_as_they_are(folder):
    record = json.loads((folder / 'model.json').read_text())
    del record['hashes']
    (folder / 'model.json').write_text(json.dumps(record))
    equal(bundles.load(folder).params, tiny.bundle().params)
