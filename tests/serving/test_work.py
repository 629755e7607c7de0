"""The work of the page, without a model."""

import tempfile
from pathlib import Path
from threading import Event

import pytest
from PIL import Image

from addsr_jax.errors import Cancelled, UserError
from addsr_jax.restoration import pipeline
from addsr_jax.restoration.settings import Settings
from addsr_jax.serving.limits import Limits
from addsr_jax.serving.store import Store
from addsr_jax.serving.work import USUAL, Finished, Worker
from addsr_jax.weights import bundle as bundles
from tests import tiny
from tests.data import photos


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


def test_what_is_compiled_ahead_is_what_a_photo_takes(store, tmp_path):
    bundles.save(tiny.bundle(tiny.LEAST), tmp_path / 'model', 'safetensors')
    model = pipeline.load(tmp_path / 'model')
    worker = Worker(model, store, Limits(), Settings(tile=192), lambda settings, job, content: '')
    stopped = Event()
    stopped.set()
    with pytest.raises(Cancelled):
        worker.warm(stopped)
    worker.warm(Event())
    ((begin, step),) = model._programs.values()
    assert (begin._cache_size(), step._cache_size()) == (1, 1)
    Image.fromarray(photos.crops(1, 60)[0]).save(store.root / 'photo.png')
    assert isinstance([*worker.photo(Path(store.root, 'photo.png'), USUAL, Event())][-1], Finished)
    assert len(model._programs) == begin._cache_size() == step._cache_size() == 1


@pytest.mark.parametrize('words', [None, 'loud'])
def test_how_is_one_of_the_page_s_words(store, words):
    worker = Worker(None, store, Limits(), Settings(), lambda settings, name: '')
    with pytest.raises(UserError, match='say how: most faithful, '):
        worker.settings(words)
