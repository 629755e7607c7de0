"""What people may name as a place, and what they hear where it is none. Nothing here asks a bucket."""

import os
from pathlib import Path

import pytest

from addsr_jax import places, train, upscale
from addsr_jax.errors import UserError, guard
from addsr_jax.flags import take
from addsr_jax.installation import with_extra
from tests.bucket import told


def test_a_path_of_this_machine_is_pathlib_s_and_its_tilde_the_home():
    assert places.place('~/runs') == Path.home() / 'runs'
    assert type(places.place('runs')) is type(Path('runs'))


def test_a_path_in_a_bucket_keeps_its_two_slashes_through_options_and_joins():
    command = take(upscale.parser().parse_args(['a.png', '-o', 'gs://b/out']), upscale.Command)
    assert str(command.output / 'x.png') == 'gs://b/out/x.png'
    assert str(places.absolute(command.output)) == 'gs://b/out'
    assert places.in_bucket(command.output)


@pytest.mark.parametrize(
    ('text', 'answer'),
    [
        ('gs://', 'names no bucket: write gs://BUCKET/FOLDER'),
        ('gs:/b/run', 'is no path on this machine: of other places only gs://BUCKET/... is read'),
        ('GS://b/run', 'is no path on this machine'),
        ('s3://b/run', 'is no path on this machine'),
        ('https://x/run', 'is no path on this machine'),
    ],
)
def test_what_is_no_place_is_refused_and_makes_no_folder_of_that_name(text, answer, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert guard(train.main, ['--config', 'configs/addsr.py:nano', '--workdir', text]) == 2
    line = told(capsys)
    assert line.startswith(f'addsr: --workdir: {text} ')
    assert answer in line
    assert not list(tmp_path.iterdir())


def test_without_the_extra_a_bucket_is_refused_in_one_line_with_the_command_that_brings_it(monkeypatch, capsys):
    monkeypatch.setattr(places.importlib.util, 'find_spec', lambda name: None)
    line = f'gs://b/x needs gcsfs, which is not installed: {with_extra("gcs")}\n'
    assert guard(train.main, ['--config', 'configs/addsr.py:nano', '--workdir', 'gs://b/x']) == 2
    assert told(capsys) == f'addsr: --workdir: {line}'
    for arguments in (['gs://b/x', '-o', 'out'], ['a.png', '-o', 'gs://b/x']):
        assert guard(upscale.main, arguments) == 2
        assert told(capsys).endswith(line)


def test_an_option_that_takes_no_bucket_says_so(capsys):
    arguments = ['a.png', '-o', 'out', '--tag_list', 'gs://b/tags.txt', '--thresholds', 'x']
    assert guard(upscale.main, arguments) == 2
    assert told(capsys) == 'addsr: --tag_list: gs://b/tags.txt lies in a bucket: give a path on this machine\n'


def test_a_copy_of_a_folder_has_all_that_lies_in_it(tmp_path):
    for name in ('a/b/c.txt', 'a/d.txt'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    places.copy(tmp_path / 'a', tmp_path / 'copy')
    assert (tmp_path / 'copy' / 'b' / 'c.txt').read_text() == 'a/b/c.txt'
    assert (tmp_path / 'copy' / 'd.txt').read_text() == 'a/d.txt'


def test_a_copy_is_of_files_in_folders_and_waits_for_no_pipe(tmp_path):
    for name, make in {'pipe': os.mkfifo, 'link': lambda path: path.symlink_to('.')}.items():
        (tmp_path / name).mkdir()
        make(tmp_path / name / 'x')
        with pytest.raises(UserError, match=f'{name}/x is '):
            places.copy(tmp_path / name, tmp_path / 'copy')


def test_a_folder_is_moved_with_all_that_lies_in_it_and_files_are_all_those_below(tmp_path):
    (tmp_path / 'a' / 'b').mkdir(parents=True)
    (tmp_path / 'a' / 'b' / 'c.txt').write_text('c')
    places.move_folder(tmp_path / 'a', tmp_path / 'aside' / 'a', 'c.txt')
    assert places.files(tmp_path) == [tmp_path / 'aside' / 'a' / 'b' / 'c.txt']
    assert places.files(tmp_path / 'none') == []


def test_text_is_of_a_file_of_some_size_and_utf_8(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('ä', encoding='utf-8')
    assert places.read_text(path, 2) == 'ä'
    with pytest.raises(ValueError, match='2 bytes, more than 1'):
        places.read_text(path, 1)
    path.write_bytes(b'\xe4')
    with pytest.raises(ValueError, match='utf-8'):
        places.read_text(path, 2)
    with pytest.raises(OSError, match='No such file'):
        places.read_text(tmp_path / 'none', 2)
    os.mkfifo(tmp_path / 'pipe')
    with pytest.raises(ValueError, match='no regular file'):
        places.read_text(tmp_path / 'pipe', 2)


def test_only_a_user_error_comes_out_of_a_bucket_and_a_disk_s_own_error_stays(tmp_path):
    with (
        pytest.raises(UserError, match='gs://b/x cannot be read: no token'),
        places.answering(places.place('gs://b/x'), 'read'),
    ):
        raise RuntimeError('no token')
    with pytest.raises(RuntimeError), places.answering(tmp_path, 'read'):
        raise RuntimeError('no token')
