"""Files appear whole or not at all."""

from pathlib import Path

import pytest

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
