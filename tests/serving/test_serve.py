"""What `addsr serve` says of its weights, and the measurement of many people on its page."""

from types import SimpleNamespace
from unittest import mock

import pytest

import addsr_jax
from addsr_jax import serve
from addsr_jax.errors import Cancelled, UserError
from addsr_jax.restoration.computing import Computing
from addsr_jax.weights import hub
from benchmarks import serve as measured


@pytest.mark.parametrize(('weights', 'notes'), [('nano', 0), ('our/photos', 1)])
def test_weights_are_found_on_a_hub_aloud_and_others_than_the_dial_was_measured_on_are_said(
    weights, notes, monkeypatch, capsys
):
    monkeypatch.setattr(hub, 'located', lambda text, report: report(f'fetching {text}') or f'kept/{text}')
    monkeypatch.setattr(addsr_jax, 'load', lambda path, *, method, **rest: (path, method))
    assert serve.loaded(weights, Computing(), 'addsr') == (f'kept/{weights}', 'addsr')
    told = capsys.readouterr().out
    assert told.startswith(f'loading {weights}\nfetching {weights}\n')
    assert told.count(f'was measured on nano, not on {weights}') == notes


@pytest.mark.parametrize(
    ('ends', 'line'),
    [
        (None, 'ready for the first photo after 0 s'),
        (Cancelled('stopped'), ''),
        (UserError('no memory'), 'addsr: nothing is compiled ahead: UserError: no memory'),
    ],
)
def test_compiling_ahead_is_said_and_no_mistake_of_it_ends_the_page(ends, line, capsys):
    serve.warm(mock.Mock(warm=mock.Mock(side_effect=ends)), mock.Mock())
    told = capsys.readouterr()
    assert told.out.startswith('compiling, or looking up what is compiled; the page is open meanwhile\n')
    assert (told.out + told.err).splitlines()[1:] == [line] * bool(line)


@pytest.mark.parametrize('compiles', [True, False])
def test_a_signal_does_not_wait_for_the_compiler(compiles, monkeypatch):
    ended = mock.Mock()
    monkeypatch.setattr(serve.os, '_exit', ended)
    serve.leave(mock.Mock(is_alive=lambda: compiles))
    assert ended.call_args_list == [mock.call(130)] * compiles


@pytest.fixture
def servers(monkeypatch):
    """Processes that were started and not ended, in the place of real ones."""
    running = []

    def start(place, *arguments):
        process = mock.Mock()
        process.terminate = process.kill = lambda: running.remove(process)
        running.append(process)
        return SimpleNamespace(process=process, address='', temporary=place)

    monkeypatch.setattr(measured, 'start', start)
    naps = iter(range(100))

    def sleep(seconds):
        if next(naps, None) is None:
            raise TimeoutError
        nap(0.01)

    nap = measured.time.sleep
    monkeypatch.setattr(measured.time, 'sleep', sleep)
    return running


def test_a_crowd_that_gives_up_ends_and_so_does_its_server(servers, tmp_path, monkeypatch):
    monkeypatch.setattr(measured.User, 'takes', lambda *_: False)
    users, *_ = measured.crowd(tmp_path, 3, 16)
    assert [user.tries for user in users] == [measured.TRIES] * 3
    assert not servers


def test_what_breaks_in_between_leaves_no_server(servers, tmp_path, monkeypatch):
    monkeypatch.setattr(measured.User, 'photo', mock.Mock(side_effect=FileNotFoundError))
    with pytest.raises(FileNotFoundError):
        measured.crowd(tmp_path, 1, 16)
    assert not servers
