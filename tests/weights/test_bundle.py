"""Weights at rest: whole or not at all, strict both ways, the same in both forms."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import sizes, trees
from addsr_jax.errors import UserError
from addsr_jax.weights import bundle as bundles
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
    with pytest.raises(OSError, match='no space'):
        bundles.save(tiny.bundle(), folder, 'safetensors')
    equal(bundles.load(folder).params, tiny.bundle().params)


def test_missing_unexpected_and_misshapen_tensors_are_named_together(folder):
    record = json.loads((folder / 'model.json').read_text())
    record['spec']['text_encoder']['mlp_width'] = 24
    record['spec']['text_encoder']['layers'] = 2
    (folder / 'model.json').write_text(json.dumps(record))
    with pytest.raises(UserError, match=r'fc1.* is \(1, 8, 16\), not \(2, 8, 24\)'):
        bundles.load(folder)
    tree = {'a': {'kernel': np.zeros(2)}, 'c': np.zeros(1)}
    wanted = {'a': {'kernel': np.zeros(3)}, 'b': np.zeros(1)}
    with pytest.raises(UserError, match=r'b missing; c unexpected; a/kernel is \(2,\), not \(3,\)'):
        bundles.check(tree, wanted, folder)


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
    assert bundles.tree_hash(tree) == bundles.tree_hash({'a': np.zeros(3, np.float32)})
    assert len({bundles.tree_hash(t) for t in (tree, other, {'b': tree['a']})}) == 3


def test_the_embedded_model_is_whole_and_small():
    loaded = bundles.load('nano')
    measured = loaded.spec.autoencoder.scaling_factor  # of its latents, after training
    wanted = dataclasses.replace(sizes.NANO.autoencoder, scaling_factor=measured)
    assert loaded.spec == dataclasses.replace(sizes.NANO, autoencoder=wanted)
    assert set(loaded.params) == {'prompt_extractor', 'autoencoder', 'text_encoder', 'teacher', 'student'}
    size = sum(p.stat().st_size for p in bundles.NANO.rglob('*') if p.is_file())
    assert size < 24e6
    assert all(np.isfinite(np.asarray(x, np.float32)).all() for x in jax.tree.leaves(loaded.params))


def test_only_the_small_text_encoder_has_a_shipped_tokenizer():
    assert bundles.shipped_tokenizer(sizes.SD2) is None
    assert bundles.shipped_tokenizer(sizes.NANO) == bundles.NANO / 'tokenizer'
