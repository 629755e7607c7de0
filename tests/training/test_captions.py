"""Captions of a run: its first line says what there is; tags are made once and kept beside it."""

import json
from pathlib import Path

import pytest

from addsr_jax import train
from addsr_jax.data import sources
from addsr_jax.data.options import DataOptions
from addsr_jax.errors import UserError, guard
from addsr_jax.training import captions, config
from addsr_jax.weights import tags
from tests.data import photos

ROOT = Path(__file__).parents[2]


def configured(*changes, stage='addsr'):
    pairs = {'data.source': 'folder', 'data.captions': 'sidecar', **dict(changes)}
    return config.train_options(f'{ROOT}/configs/{stage}.py:nano', list(pairs.items()))


@pytest.fixture
def folder(tmp_path):
    return photos.folder(tmp_path / 'photos', 3, 40)


@pytest.fixture
def asked(monkeypatch):
    """Means of the pictures that were looked at in the place of RAM."""
    seen = []

    def captioner(weights):
        return lambda image: seen.append(image.mean()) or f'tag {len(seen)}'

    monkeypatch.setattr(tags, 'captioner', captioner)
    return seen


def test_a_run_says_how_many_of_its_photographs_have_captions(folder):
    def said(*changes, stage='addsr'):
        return captions.said(configured(*changes, stage=stage), sources.folder(str(folder)))

    assert said() == ' without captions (`addsr tag` makes some, or --config.data.captions=tag)'
    (folder / '01.txt').write_text('a wall')
    assert said() == ', 1 of them with captions'
    for name in ('00', '02'):
        (folder / f'{name}.txt').write_text('a dog')
    assert said() == ''
    assert said(('data.captions', 'tag')) == ', with their tags as captions'
    (folder / '01.txt').unlink()
    assert said(('data.captions', 'record')) == said(('data.null_text', '1.0')) == said(stage='autoencoder') == ''


def test_tags_are_kept_beside_the_run_and_made_once(folder, asked, tmp_path):
    run, lines = configured(('data.captions', 'tag')), []
    (folder / '02.png').write_bytes(b'no picture')
    (folder / '00.txt').write_text('what a sidecar says')

    def tagged():
        (tmp_path / 'run').mkdir(exist_ok=True)
        source = captions.tagged(run, sources.folder(str(folder)), tmp_path / 'run', lines.append)
        return [source[i]['caption'] for i in range(len(source))]

    assert tagged() == ['tag 1', 'tag 2', '']
    assert lines == [f'tagging 3 photographs; {tmp_path}/run/captions.json keeps their captions']
    kept = json.loads((tmp_path / 'run' / 'captions.json').read_text())
    assert kept == {str(folder / '00.png'): 'tag 1', str(folder / '01.png'): 'tag 2', str(folder / '02.png'): ''}
    assert tagged() == ['tag 1', 'tag 2', '']
    assert len(asked) == 2
    photos.folder(folder, 4, 40)  # a fourth one, and the third as it was
    assert tagged() == ['tag 1', 'tag 2', '', 'tag 3']
    (tmp_path / 'run' / 'captions.json').write_text('{"a": 1}')
    with pytest.raises(UserError, match=r'captions\.json'):
        tagged()


def test_photographs_whose_names_differ_in_white_space_have_captions_of_their_own(folder, asked, tmp_path):
    for i, name in enumerate(('IMG 1.png', 'IMG  1.png', 'IMG 1 .png')):
        (folder / f'0{i}.png').rename(folder / name)
    source = captions.tagged(configured(('data.captions', 'tag')), sources.folder(str(folder)), tmp_path, print)
    assert [source[i]['caption'] for i in range(3)] == ['tag 1', 'tag 2', 'tag 3']


def test_a_photograph_that_could_not_be_read_is_said_and_tagged_by_the_next_start(folder, asked, tmp_path):
    run, lines, away = configured(('data.captions', 'tag')), [], tmp_path / 'away.png'

    def tagged(source):
        return captions.tagged(run, source, tmp_path, lines.append).captions

    source = sources.folder(str(folder))
    (folder / '01.png').rename(away)
    found = tagged(source)
    assert sorted(found) == [str(folder / '00.png'), str(folder / '02.png')]
    assert lines[1:] == ['1 of 3 photographs could not be read, and have no tags until a start can read them']
    away.rename(folder / '01.png')
    assert tagged(source) == {**found, str(folder / '01.png'): 'tag 3'}


def test_tags_are_refused_with_weights_that_know_no_words_before_anything_is_written(folder, tmp_path, capsys):
    arguments = ['--config', f'{ROOT}/configs/addsr.py:nano', '--workdir', str(tmp_path / 'run')]
    arguments += ['--config.data.source=folder', f'--config.data.path={folder}', '--config.data.captions=tag']
    assert guard(train.main, arguments) == 2
    told = capsys.readouterr().err
    assert '--config.data.captions=tag: nano has no list of tags: take weights that `addsr convert' in told
    assert told.count('\n') == 1
    assert not (tmp_path / 'run').exists()


def test_packed_photographs_keep_the_captions_that_they_were_packed_with():
    with pytest.raises(UserError, match='`addsr tag` the folder before `addsr pack`'):
        DataOptions(source='packed', captions='tag')
