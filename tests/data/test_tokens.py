"""CLIP's tokens."""

import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest

from addsr_jax import keep
from addsr_jax.data.tokens import Tokenizer, load_tokenizer
from addsr_jax.errors import UserError
from addsr_jax.weights.bundle import NANO


def test_a_text_is_begin_words_end_and_padding_of_77():
    ids = load_tokenizer(NANO / 'tokenizer')(['clean, sharp', ''])
    assert ids.shape == (2, 77)
    assert ids.dtype == np.int32
    begin, end = ids[1, :2]
    assert ids[0, 0] == begin
    assert end in ids[0]
    assert len(set(ids[1, 2:])) == 1  # nothing but padding


def test_long_texts_are_cut_and_case_does_not_matter():
    tokenizer = load_tokenizer(NANO / 'tokenizer')
    assert tokenizer(['sharp ' * 200]).shape == (1, 77)
    np.testing.assert_array_equal(tokenizer(['SHARP']), tokenizer(['sharp']))


def test_words_of_a_model_are_kept_without_the_library_until_its_files_change(tmp_path, monkeypatch):
    monkeypatch.setattr(keep, 'place', lambda: tmp_path / 'kept')
    folder = shutil.copytree(NANO / 'tokenizer', tmp_path / 'tokenizer')
    wanted = load_tokenizer(folder)(['clean, sharp', ''], kept=True)
    load_tokenizer(folder)(['a letter to my bank'])
    assert len(list((tmp_path / 'kept').iterdir())) == 2
    monkeypatch.setattr(Tokenizer, '_clip', None)
    np.testing.assert_array_equal(load_tokenizer(folder)(['', 'clean, sharp'], kept=True), wanted[::-1])
    with (folder / 'merges.txt').open('a') as file:
        file.write('x y\n')
    with pytest.raises(TypeError, match='not callable'):
        load_tokenizer(folder)([''], kept=True)


def test_a_tokenizer_goes_to_worker_processes():
    tokenizer = load_tokenizer(NANO / 'tokenizer')
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(tokenizer))(['sharp']), tokenizer(['sharp']))


MANY_THREADS = """
from concurrent.futures import ThreadPoolExecutor
from addsr_jax.data.tokens import load_tokenizer
from addsr_jax.weights.bundle import NANO
tokenizer = load_tokenizer(NANO / 'tokenizer')
with ThreadPoolExecutor(8) as threads:
    print(len(set(ids.tobytes() for ids in threads.map(tokenizer, [['sharp']] * 8))))
"""


def test_a_tokenizer_serves_many_threads_from_its_first_text_on():
    # in a new process: from Python 3.12 on, two threads that import transformers at once fail
    done = subprocess.run([sys.executable, '-c', MANY_THREADS], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ('1', 0), done.stderr[-500:]


def test_a_folder_that_is_no_tokenizer_is_refused(tmp_path):
    with pytest.raises(UserError, match=r'vocab\.json'):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ('name', 'content'),
    [
        ('vocab.json', b'{"a": "one"}'),
        ('vocab.json', b'{"a": 1, "a": 2}'),
        ('special_tokens_map.json', b'[' * 100_000),
        ('tokenizer_config.json', b'\xff'),
        ('tokenizer.json', b'{"a": ' + b'9' * 10_000 + b'}'),
        ('merges.txt', b'a b\n' * 2_000_000),
    ],
)
def test_files_that_are_none_of_a_tokenizer_are_refused_before_the_library_reads_them(tmp_path, name, content):
    shutil.copytree(NANO / 'tokenizer', tmp_path / 'tokenizer')
    (tmp_path / 'tokenizer' / name).write_bytes(content)
    with pytest.raises(UserError, match=name):
        load_tokenizer(tmp_path / 'tokenizer')


def test_what_the_library_raises_is_one_line_with_the_folder(tmp_path):
    shutil.copytree(NANO / 'tokenizer', tmp_path / 'tokenizer')
    (tmp_path / 'tokenizer' / 'merges.txt').write_bytes(b'\xff\xfe')
    (tmp_path / 'tokenizer' / 'vocab.json').write_text('{}')
    with pytest.raises(UserError, match='tokenizer cannot be used as a tokenizer'):
        load_tokenizer(tmp_path / 'tokenizer')(['a'])
