"""The work of the page, without a model."""

import tempfile
from pathlib import Path
from threading import Event

import pytest

from addsr_jax.errors import UserError
from addsr_jax.restoration.settings import Settings
from addsr_jax.serving.limits import Limits
from addsr_jax.serving.store import Store
from addsr_jax.serving.work import USUAL, Worker


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    found = Store(keep=3600, most=20_000)
    yield found
    found.close()


def test_a_full_disk_takes_no_more_results_of_one_photo_or_of_several(store):
    worker = Worker(None, store, Limits(), Settings(), lambda settings, job, content: '')
    upload = Path(store.root, 'photo.png')
    upload.write_bytes(b'x' * 40_000)
    for work in (worker.photo(upload, USUAL, Event()), worker.photos([upload], USUAL, Event())):
        with pytest.raises(UserError, match='there is no room for more results'):
            next(work)


@pytest.mark.parametrize('words', [None, 'loud'])
def test_how_is_one_of_the_page_s_words(store, words):
    worker = Worker(None, store, Limits(), Settings(), lambda settings, name: '')
    with pytest.raises(UserError, match='say how: most faithful, '):
        worker.settings(words)
