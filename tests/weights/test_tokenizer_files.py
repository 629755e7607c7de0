"""A tokenizer is what it was, whichever version of transformers has written its folder."""

import json
import shutil

import numpy as np
import pytest

from addsr_jax import convert, sizes
from addsr_jax.data.tokens import FILES, load_tokenizer
from addsr_jax.errors import UserError, guard
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights import pytorch_folder, tokenizer_files
from tests import golden, tiny_sd

TEXTS = ['a photograph of a cat', 'Straße, 4K; naïve!', '', 'clean, high-resolution, 8k ' * 20, "it's <|endoftext|> x"]
FOLDERS = {'nano': bundles.NANO / 'tokenizer', 'published': golden.FIXTURES / 'tokenizer'}


@pytest.fixture(params=FOLDERS)
def newer(request, tmp_path):
    """(a tokenizer, and its folder as the library that is installed writes it): two files, of transformers 5."""
    from transformers import CLIPTokenizer

    folder = tmp_path / 'model' / 'tokenizer'
    CLIPTokenizer.from_pretrained(str(FOLDERS[request.param]), local_files_only=True).save_pretrained(str(folder))
    assert {path.name for path in folder.iterdir()} == {'tokenizer.json', 'tokenizer_config.json'}
    return FOLDERS[request.param], folder


def altered(folder, file, change):
    content = json.loads((folder / file).read_text())
    change(content)
    (folder / file).write_text(json.dumps(content))


def same(one, other):
    np.testing.assert_array_equal(load_tokenizer(one)(TEXTS), load_tokenizer(other)(TEXTS))


def test_a_folder_of_transformers_5_gives_the_same_tokens_with_and_without_its_file_of_all(newer, tmp_path):
    old, folder = newer
    tokenizer_files.copy(folder, tmp_path / 'out')
    same(tmp_path / 'out', old)
    (tmp_path / 'out' / 'tokenizer.json').unlink()  # which earlier versions do not read
    same(tmp_path / 'out', old)
    for name in ('vocab.json', 'merges.txt'):
        read = json.loads if name == 'vocab.json' else str.split
        assert read((tmp_path / 'out' / name).read_text('utf-8')) == read((old / name).read_text('utf-8'))


def test_merges_may_be_text_as_earlier_versions_of_tokenizers_wrote_them(newer, tmp_path):
    old, folder = newer
    altered(folder, 'tokenizer.json', lambda c: c['model'].update(merges=[' '.join(p) for p in c['model']['merges']]))
    assert tokenizer_files.lacking(folder)['merges.txt'].split() == (old / 'merges.txt').read_text('utf-8').split()


def test_tokens_that_were_added_are_kept_beside_the_vocabulary(newer):
    altered(newer[1], 'tokenizer.json', lambda c: c['added_tokens'].append({'id': 999, 'content': '<mine>'}))
    made = tokenizer_files.lacking(newer[1])
    assert json.loads(made['added_tokens.json']) == {'<mine>': 999}


def test_a_folder_that_lacks_nothing_stays_as_it_is(tmp_path):
    tokenizer_files.copy(FOLDERS['nano'], tmp_path / 'out')
    assert {path.name for path in (tmp_path / 'out').iterdir()} == set(FILES)


@pytest.mark.parametrize(
    ('file', 'change', 'line'),
    [
        ('tokenizer_config.json', lambda c: c.pop('pad_token'), 'tokenizer_config.json does not say pad_token'),
        ('tokenizer.json', lambda c: c.pop('model'), 'model of '),
        ('tokenizer.json', lambda c: c['model'].update(type='WordPiece'), 'is no tokenizer of CLIP'),
        ('tokenizer.json', lambda c: c['model'].update(end_of_word_suffix=None), 'is no tokenizer of CLIP'),
        ('tokenizer.json', lambda c: c['model'].update(vocab=['a']), 'vocab of '),
        ('tokenizer.json', lambda c: c['model']['merges'].append(['a', 'b', 'c']), 'a merge that is no pair of tokens'),
        ('tokenizer.json', lambda c: c['model']['merges'].append(['a\nb', 'c']), 'a merge that is no pair of tokens'),
        ('tokenizer.json', lambda c: c['model'].update(merges=[7]), 'merges of '),
        ('tokenizer.json', lambda c: c.update(added_tokens=7), 'added_tokens of '),
    ],
)
def test_a_file_that_says_no_tokenizer_is_named(newer, file, change, line):
    altered(newer[1], file, change)
    with pytest.raises(UserError, match=line):
        tokenizer_files.lacking(newer[1])


@pytest.mark.parametrize('file', ['tokenizer.json', 'tokenizer_config.json'])
def test_one_of_the_two_files_alone_is_no_tokenizer(newer, file):
    (newer[1] / file).unlink()
    with pytest.raises(UserError, match=r'it holds neither .* nor tokenizer.json with tokenizer_config.json'):
        tokenizer_files.lacking(newer[1])


def test_a_model_of_today_s_libraries_is_converted(newer, tmp_path):
    pytorch_folder.to_pytorch(tiny_sd.save(tmp_path / 'bundle'), tmp_path / 'sd', 'student', lambda line: None)
    shutil.rmtree(tmp_path / 'sd' / 'tokenizer')
    shutil.copytree(newer[1], tmp_path / 'sd' / 'tokenizer')
    assert guard(convert.main, ['from_pytorch', '--sd', str(tmp_path / 'sd'), '-o', str(tmp_path / 'out')]) == 0
    same(tmp_path / 'out' / 'tokenizer', newer[0])


def test_only_the_small_text_encoder_has_a_shipped_tokenizer():
    assert tokenizer_files.shipped(sizes.SD2) is None
    assert tokenizer_files.shipped(sizes.NANO) == bundles.NANO / 'tokenizer'
