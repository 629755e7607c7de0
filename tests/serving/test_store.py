"""Files of a running page: for a while, and none afterwards."""

import fcntl
import os
import tempfile
import time
from pathlib import Path

import pytest

from addsr_jax.errors import UserError
from addsr_jax.serving import store
from addsr_jax.serving.store import PREFIX, Store


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    return tmp_path


@pytest.fixture
def made():
    found = Store(keep=3600, most=100)
    yield found
    found.close()


def filled(made, name):
    """A folder of finished work with one file."""
    with made.working() as place:
        (place / name).write_bytes(b'x')
    return place


def test_what_is_older_goes_with_its_folder_and_the_rest_stays(made, monkeypatch):
    old, start = filled(made, 'old.png'), time.time()
    (made.root / 'half an upload').write_bytes(b'x')
    time.sleep(0.05)
    new = filled(made, 'new.png')
    between = (new / 'new.png').stat().st_ctime - 0.02
    monkeypatch.setattr(store.time, 'time', lambda: between + 3600)
    with made.working() as busy:
        made.sweep()
        assert not list(old.glob('*'))
        assert not (made.root / 'half an upload').exists()
        assert (new / 'new.png').exists()
        monkeypatch.setattr(store.time, 'time', lambda: start + 10_000)
        (busy / 'in work.png').write_bytes(b'x')
        made.sweep()
        made.sweep()
        assert list(made.root.iterdir()) == [busy]
        assert (busy / 'in work.png').exists()
    made.sweep()
    assert not (busy / 'in work.png').exists()


def test_it_sweeps_by_itself_and_nothing_is_left_at_the_end(temporary):
    made = Store(keep=0.2, most=100)
    filled(made, 'a.png')
    for _ in range(100):
        if not list(made.root.rglob('*.png')):
            break
        time.sleep(0.05)
    else:
        raise AssertionError
    filled(made, 'b.png')
    made.close()
    assert list(temporary.iterdir()) == []


def test_only_this_user_reads_it_and_names_are_not_guessed(made):
    assert made.root.stat().st_mode & 0o77 == 0
    names = {filled(made, 'a.png').name for _ in range(3)}
    assert len(names) == 3
    assert all(len(name) == 32 for name in names)


def test_it_is_full_above_its_limit(made):
    assert not made.is_full()
    (filled(made, 'a.png') / 'b.png').write_bytes(b'x' * 10_000)
    assert made.is_full()


def test_what_stands_in_two_folders_is_counted_once(made):
    upload = filled(made, 'a.png') / 'b.png'
    upload.write_bytes(b'x' * (made.most - 10))
    with made.working() as work:
        os.link(upload, work / 'b.png')
        assert not made.is_full()


def test_what_a_killed_process_left_is_removed_and_what_another_holds_stays(temporary, monkeypatch):
    for name in ('killed', 'held', 'fresh'):
        (temporary / f'{PREFIX}{name}').mkdir()
        (temporary / f'{PREFIX}{name}' / 'a.png').write_bytes(b'x')
    lock = os.open(temporary / f'{PREFIX}held', os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    store.remove_abandoned()
    assert len(list(temporary.iterdir())) == 3
    later = time.time() + 6
    monkeypatch.setattr(store.time, 'time', lambda: later)
    (temporary / f'{PREFIX}fresh').touch()
    store.remove_abandoned()
    assert not (temporary / f'{PREFIX}killed').exists()
    assert (temporary / f'{PREFIX}held' / 'a.png').exists()
    os.close(lock)


def test_a_second_server_leaves_the_files_of_the_first(made, monkeypatch):
    kept, later = filled(made, 'a.png'), time.time() + 6
    monkeypatch.setattr(store.time, 'time', lambda: later)
    store.remove_abandoned()
    assert (kept / 'a.png').exists()


def test_no_place_for_a_folder_is_one_line(monkeypatch):
    monkeypatch.setattr(tempfile, 'tempdir', str(Path('/proc/nowhere')))
    with pytest.raises(UserError, match='no folder for uploads can be made in /proc/nowhere'):
        Store(keep=1, most=1)
