"""What upscale tells: times in words, a summary, and how long a long run will take."""

import io
import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from addsr_jax import telling
from addsr_jax.restoration.files import Job


@pytest.mark.parametrize(
    ('seconds', 'text'), [(0.4, '0 s'), (89, '89 s'), (90, '2 min'), (3600, '60 min'), (12_000, '3 h 20 min')]
)
def test_durations_are_words(seconds, text):
    assert telling.duration(seconds) == text


def event(name, **more):
    return SimpleNamespace(job=Job(Path(name), Path(f'out/{name}')), size=(4, 8), seconds=1.5, remarks=('why',), **more)


def test_pictures_are_counted_and_those_left_out_are_named_again_at_the_end(capsys):
    told = telling.Telling()
    told.begin(2, 5)
    told.picture(event('a.png'))
    told.no_picture(event('b.png', error='broken'))
    told.end(0.25)
    out, err = capsys.readouterr()
    assert out.startswith('[1/2] out/a.png  4 x 8  (why)\n1 of 2 in 0 s, ')
    assert out.endswith('the devices waited 25% of the time\n')
    assert err == 'addsr: [2/2] left out: broken\naddsr: left out: b.png\n'


def test_one_picture_has_its_seconds_and_no_summary(capsys):
    told = telling.Telling()
    told.begin(1, 1)
    told.picture(event('a.png'))
    told.end(0.0)
    assert capsys.readouterr().out == '[1/1] out/a.png  4 x 8  (why)  1.5 s\n'


def test_a_long_run_says_after_a_few_seconds_how_long_it_will_take(capsys, monkeypatch):
    told, now = telling.Telling(), time.monotonic()
    told.begin(1, 1000)
    monkeypatch.setattr(time, 'monotonic', lambda: now + 600)  # a large picture is looked at as a whole, once
    told.more_tiles(4)
    assert capsys.readouterr().out == ''
    monkeypatch.setattr(time, 'monotonic', lambda: now + 610)
    told.more_tiles(10)
    told.more_tiles(10)
    assert capsys.readouterr().out == 'about 16 min more\n'


def test_tiles_that_did_not_come_yet_say_nothing_of_how_long_the_rest_will_take(capsys, monkeypatch):
    told, now = telling.Telling(), time.monotonic()
    told.begin(1, 1000)
    told.more_tiles(1)
    monkeypatch.setattr(time, 'monotonic', lambda: now + 6)
    told.more_tiles(0)
    assert capsys.readouterr().out == ''
    told.more_tiles(1)
    assert capsys.readouterr().out.startswith('about ')


def test_names_of_any_bytes_are_json(capsys):
    told = telling.Json()
    told.begin(1, 1)
    told.picture(event('\udcff.png'))
    assert json.loads(capsys.readouterr().out)['source'] == '\udcff.png'


def test_a_bar_is_for_terminals_alone(monkeypatch, capsys):
    assert type(telling.telling(quiet=False, as_json=False)) is telling.Telling
    monkeypatch.setattr('sys.stderr.isatty', lambda: True)
    monkeypatch.setenv('TERM', 'xterm')
    bar = telling.telling(quiet=False, as_json=False)
    assert isinstance(bar, telling.Bar)
    bar.begin(2, 3)
    bar.more_tiles(2)
    bar.picture(event('a.png'))
    bar.no_picture(event('b.png', error='broken'))
    bar.end(0.0)
    out, err = capsys.readouterr()
    assert '[1/2] out/a.png' in out
    assert '1/2' in err
    assert '[2/2] left out: broken' in err


def test_a_bar_tells_names_that_the_terminal_has_no_letters_for(monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding='latin-1', write_through=True)
    monkeypatch.setattr('sys.stdout', stdout)
    monkeypatch.setattr('sys.stderr.isatty', lambda: True)
    monkeypatch.setenv('TERM', 'xterm')
    bar = telling.telling(quiet=False, as_json=False)
    bar.begin(2, 2)
    bar.picture(event('été 🐈.png'))
    bar.end(0.0)
    assert '[1/2] out/été \\U0001f408.png'.encode('latin-1') in stdout.buffer.getvalue()
