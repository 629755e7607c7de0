"""The end of a session's work: what runs, and what still waits in the queue."""

import time

from addsr_jax.serving import stops
from addsr_jax.serving.stops import Stops


def test_what_runs_ends_in_its_own_session_alone():
    found, now = Stops(), time.monotonic()
    mine, also_mine, another = found.begin('a', now), found.begin('a', now), found.begin('b', now)
    found.end('a', also_mine)
    found.stop('a')
    assert [event.is_set() for event in (mine, also_mine, another)] == [True, False, False]
    found.stop_all()
    assert another.is_set()


def test_what_was_asked_for_before_the_stop_does_not_begin_and_what_came_after_does():
    found, before = Stops(), time.monotonic()
    time.sleep(0.01)
    found.stop('a')
    assert found.begin('a', before).is_set()
    assert not found.begin('b', before).is_set()
    time.sleep(0.01)
    assert not found.begin('a', time.monotonic()).is_set()


def test_it_remembers_so_many_sessions(monkeypatch):
    monkeypatch.setattr(stops, 'SESSIONS', 2)
    found, before = Stops(), time.monotonic() - 1
    for session in 'abac':
        found.stop(session)
    assert [found.begin(session, before).is_set() for session in 'abc'] == [True, False, True]
