"""Files appear whole or not at all."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from addsr_jax import atomic
from addsr_jax.errors import UserError


def test_text_and_json_are_written_into_folders_that_are_made(tmp_path):
    atomic.write_text(tmp_path / 'a' / 'b.txt', 'ü\n')
    atomic.write_json(tmp_path / 'a' / 'c.json', {'z': 1, 'a': 2}, sort_keys=True)
    assert (tmp_path / 'a' / 'b.txt').read_text(encoding='utf-8') == 'ü\n'
    assert (tmp_path / 'a' / 'c.json').read_text(encoding='utf-8') == '{\n "a": 2,\n "z": 1\n}\n'


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / 'x.txt'
    atomic.write_text(target, 'old')

    def half(path: Path) -> None:
        path.write_text('ne')
        raise OSError('no space left')

    with pytest.raises(UserError, match=r'x\.txt cannot be written: no space left'):
        atomic.write(target, half)
    assert [p.read_text() for p in tmp_path.iterdir()] == ['old']


def test_a_folder_in_the_way_is_the_users_to_move(tmp_path):
    with pytest.raises(UserError, match='cannot be written'):
        atomic.write_text(tmp_path, 'text')


def test_names_of_255_bytes_are_written(tmp_path):
    name = 'x' * 251 + '.txt'
    atomic.write_text(tmp_path / name, 'text')
    with atomic.folder(tmp_path / ('y' * 255)) as unfinished:
        (unfinished / 'file').write_text('text')
    assert sorted(p.name for p in tmp_path.iterdir()) == [name, 'y' * 255]


def test_a_temporary_name_that_is_taken_is_never_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, 'beside', lambda path: path.with_name('.taken.writing'))
    (tmp_path / '.taken.writing').write_text("another's")
    with pytest.raises(UserError, match='File exists'):
        atomic.write_text(tmp_path / 'x', 'text')
    assert (tmp_path / '.taken.writing').read_text() == "another's"


def test_two_writers_of_one_picture_never_show_half_of_it(tmp_path):
    code = (
        'import sys, numpy as np; from pathlib import Path; from addsr_jax import atomic; from PIL import Image\n'
        'picture = Image.fromarray(np.full((200, 200, 3), int(sys.argv[2]), np.uint8))\n'
        "save = lambda beside: picture.save(beside, format='PNG', compress_level=0)\n"
        'while True: atomic.write(Path(sys.argv[1]), save)\n'
    )
    path = tmp_path / 'x.png'
    writers = [
        subprocess.Popen([sys.executable, '-c', code, str(path), color], cwd=Path(__file__).parents[1])
        for color in ('10', '200')
    ]
    try:
        until, seen = time.monotonic() + 30, []
        while time.monotonic() < until and (len(seen) < 200 or len(set(seen)) < 2):
            if path.exists():
                with Image.open(path) as picture:
                    seen.append(np.unique(np.asarray(picture)).tolist()[0])  # raises where half is missing
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    assert set(seen) == {10, 200}


def test_a_folder_that_fails_leaves_the_old_one_and_one_that_ends_well_takes_its_place(tmp_path):
    target = tmp_path / 'model'
    for text in ('old', 'new'):
        with atomic.folder(target) as unfinished:
            (unfinished / text).write_text(text)

    def half() -> None:
        with atomic.folder(target) as unfinished:
            (unfinished / 'half').write_text('ha')
            raise OSError('no space')

    with pytest.raises(UserError, match='model cannot be written: no space'):
        half()
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob('*')] == ['model', 'model/new']


def test_where_folders_cannot_change_places_the_old_one_is_moved_away_first(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic.sys, 'platform', 'other')
    test_a_folder_that_fails_leaves_the_old_one_and_one_that_ends_well_takes_its_place(tmp_path)


def test_what_a_killed_process_has_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    code = (
        'import sys, time; from pathlib import Path; from addsr_jax import atomic\n'
        "with atomic.folder(Path(sys.argv[1])) as unfinished:\n    print('in', flush=True)\n    time.sleep(60)\n"
    )
    command = [sys.executable, '-c', code, str(tmp_path / 'other')]
    with subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with atomic.folder(tmp_path / 'model'):
            pass
        left = [p.name for p in tmp_path.iterdir() if p.name != 'model']
        assert len(left) == 1
        assert atomic.TEMPORARY.fullmatch(left[0])
        writer.kill()
    with atomic.folder(tmp_path / 'model'):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ['model']
