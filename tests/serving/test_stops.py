"""The end of a session's work: what runs, and what still waits in the queue."""

import time

from addsr_jax.serving import stops
from addsr_jax.serving.stops import Stops


def test_what_runs_ends_in_its_own_session_alone():
    found, now = Stops(), time.monotonic()
    mine, also_mine, another = (found.begin(session, 'one', now) for session in 'aab')
    found.end('a', 'one', also_mine)
    found.stop('a')
    assert [event.is_set() for event in (mine, also_mine, another)] == [True, False, False]
    found.stop_all()
    assert another.is_set()


def test_what_was_asked_for_before_the_stop_does_not_begin_and_what_came_after_does():
    found, before = Stops(), time.monotonic()
    time.sleep(0.01)
    found.stop('a')
    assert found.begin('a', 'one', before).is_set()
    assert not found.begin('b', 'one', before).is_set()
    time.sleep(0.01)
    assert not found.begin('a', 'one', time.monotonic()).is_set()


def test_it_remembers_so_many_sessions(monkeypatch):
    monkeypatch.setattr(stops, 'SESSIONS', 2)
    found, before = Stops(), time.monotonic() - 1
    for session in 'abac':
        found.stop(session)
    assert [found.begin(session, 'one', before).is_set() for session in 'abc'] == [True, False, True]


def test_one_kind_of_work_is_stopped_without_the_other_and_whether_it_ran_is_said():
    found, now = Stops(), time.monotonic()
    one, several = found.begin('a', 'one', now), found.begin('a', 'several', now)
    assert found.stop('a', 'one')
    assert (one.is_set(), several.is_set()) == (True, False)
    assert not found.begin('a', 'several', now).is_set()  # asked for before the stop of the other
    assert found.begin('a', 'one', now).is_set()
    found.end('a', 'one', one)
    assert found.stop('a')
    assert several.is_set()
    assert not found.stop('b')
    assert not Stops().stop('a', 'one')
