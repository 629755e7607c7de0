"""What a user names as input: trees are kept, patterns and lists understood, results not taken for inputs."""

import io
import os
import sys
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from addsr_jax.errors import UserError
from addsr_jax.restoration import inputs
from addsr_jax.restoration.inputs import find


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('in/a.png', 'in/sub/b.png', 'in/sub/deep/c.png', 'more/a.png'):
        make(name)


def make(name):
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (8, 8)).save(path)


def found(*inputs, output='out'):
    return [(str(s.path), str(s.below)) for s in find(inputs, Path(output))[0]]


def test_a_folder_is_searched_with_all_below_it_and_its_tree_is_kept():
    assert found('in') == [('in/a.png', '.'), ('in/sub/b.png', 'sub'), ('in/sub/deep/c.png', 'sub/deep')]


def test_a_folder_that_is_named_twice_is_one_folder():
    assert found('in', 'in/../in') == found('in')


def test_folders_of_one_name_stay_apart_and_each_together():
    for name in ('a/x/p.png', 'a/x/q.png', 'b/x/p.png', 'c/p.png'):
        make(name)
    assert found('a/x', 'b/x', 'c') == [
        ('a/x/p.png', 'a/x'),
        ('a/x/q.png', 'a/x'),
        ('b/x/p.png', 'b/x'),
        ('c/p.png', 'c'),
    ]


def test_of_the_root_of_the_disk_nothing_is_kept():
    assert inputs._tops([Path('/'), Path('in')]) == {Path('/'): Path(), Path('in'): Path('in')}


def test_several_folders_keep_their_names_so_that_equal_names_do_not_meet():
    assert ('in/a.png', 'in') in found('in', 'more')
    assert ('more/a.png', 'more') in found('in', 'more')


def test_a_pattern_is_understood_where_the_shell_left_it_and_a_name_that_looks_like_one_is_a_name():
    assert found('in/**/*.png') == [(p, '.') for p in ('in/a.png', 'in/sub/b.png', 'in/sub/deep/c.png')]
    make('odd[1].png')
    assert found('odd[1].png') == [('odd[1].png', '.')]
    with pytest.raises(UserError, match=r'nothing\*\.png matches no file'):
        find(['nothing*.png'], Path('out'))


def test_a_list_on_stdin_may_hold_any_names(monkeypatch):
    odd = os.fsdecode(b'in/\xff.png')
    make('in/a b.png')
    os.rename('in/a.png', odd)
    monkeypatch.setattr(
        sys, 'stdin', io.TextIOWrapper(io.BytesIO(b'in/a b.png\n\n in\n'.replace(b' in', os.fsencode(odd))))
    )
    assert found('-') == [('in/a b.png', '.'), (odd, '.')]
    monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(b'\n')))
    with pytest.raises(UserError, match='the list on stdin is empty'):
        find(['-'], Path('out'))
    monkeypatch.setattr(sys, 'stdin', None)
    with pytest.raises(UserError, match='a list on stdin, which is closed'):
        find(['-'], Path('out'))


def test_a_file_that_is_named_twice_is_restored_once():
    assert found('in/a.png', 'in') == [('in/a.png', '.'), ('in/sub/b.png', 'sub'), ('in/sub/deep/c.png', 'sub/deep')]
    Path('link').symlink_to('in')
    assert found('in/a.png', 'in/sub/../a.png', 'link/a.png', str(Path('in/a.png').absolute())) == [('in/a.png', '.')]


def test_a_folder_of_results_inside_is_not_searched():
    make('in/out/a_x4.png')
    assert ('in/out/a_x4.png', 'out') not in found('in', output='in/out')
    assert ('in/out/a_x4.png', 'out') in found('in', output='elsewhere')
    assert found('in', output='in')  # results beside their sources


def test_originals_in_the_folder_of_results_are_counted_and_results_are_not():
    Path('in/out/deep').mkdir(parents=True)
    said = PngImagePlugin.PngInfo()
    said.add_text('addsr', '{"addsr": "1"}')
    Image.new('RGB', (8, 8)).save('in/out/a_x4.png', pnginfo=said)
    assert find(['in'], Path('in/out'))[1] == ''
    make('in/out/deep/mine.png')
    sources, told = find(['in'], Path('in/out'))
    assert len(sources) == 3
    assert told == 'in: left out 1 in the folder of results'


def test_loops_of_links_end():
    Path('in/loop').symlink_to('..')
    assert len(found('in')) == 4  # more/a.png, through the link


@pytest.mark.parametrize(
    ('named', 'message'),
    [('no.png', 'there is no file or folder no.png'), ('pipe.png', 'is no regular file'), ('empty', 'holds no images')],
)
def test_what_is_not_there_or_no_picture_is_one_line(named, message):
    os.mkfifo('pipe.png')
    Path('empty').mkdir()
    with pytest.raises(UserError, match=message):
        find([named], Path('out'))
