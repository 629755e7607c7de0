"""The one rule of what a photograph is."""

import os

import pytest
from PIL import Image

from addsr_jax import tag
from addsr_jax.data.photographs import photographs, text_of
from addsr_jax.errors import UserError, guard


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(found, root):
    return [str(path.relative_to(root)) for path in found.paths]


def test_photographs_are_found_by_their_endings_in_order(tmp_path):
    touch(tmp_path, 'b.png', 'a.jpg', 'deep/er/c.webp', 'd.TIFF', 'a.txt')
    assert names(photographs(tmp_path, recursive=True), tmp_path) == ['a.jpg', 'b.png', 'd.TIFF', 'deep/er/c.webp']
    assert names(photographs(tmp_path, recursive=False), tmp_path) == ['a.jpg', 'b.png', 'd.TIFF']


def test_hidden_files_and_folders_and_what_macos_adds_are_no_photographs(tmp_path):
    touch(tmp_path, 'a.jpg', '._a.jpg', '.b.jpg', '.ipynb_checkpoints/a.jpg', '__MACOSX/a.jpg', 'in/.hidden/a.jpg')
    found = photographs(tmp_path, recursive=True)
    assert names(found, tmp_path) == ['a.jpg']
    assert found.left_out == {'hidden': 5}


@pytest.mark.parametrize('name', ['@eaDir', '#recycle', '@Recycle', '$RECYCLE.BIN', '$Recycle.Bin'])
def test_thumbnails_and_deleted_pictures_of_network_disks_and_windows_are_no_photographs(tmp_path, name):
    touch(tmp_path, 'a.jpg', f'{name}/S-1-5/a.jpg', f'in/{name}/a.jpg/SYNOPHOTO_THUMB_XL.jpg')
    found = photographs(tmp_path, recursive=True)
    assert names(found, tmp_path) == ['a.jpg']
    assert found.left_out == {'hidden': 2}


def test_a_hidden_folder_that_is_asked_for_is_searched(tmp_path):
    touch(tmp_path, '.photos/a.jpg')
    assert len(photographs(tmp_path / '.photos', recursive=True).paths) == 1


@pytest.mark.parametrize('name', ['', ' '])
def test_an_empty_name_is_not_the_current_folder_whose_photographs_would_all_get_a_text(name, capsys):
    assert guard(tag.main, [name, '--weights', 'nano']) == 2
    assert 'FOLDER is empty: it may come from a variable that has no value' in capsys.readouterr().err


@pytest.mark.parametrize('name', ['a.eps', 'a.pdf', 'a.mpg', 'a.h5', 'a.exe', 'a'])
def test_other_kinds_are_counted_and_left_out(tmp_path, name):
    touch(tmp_path, 'a.jpg', name)
    assert photographs(tmp_path, recursive=True).remark == '1 of another kind'


def test_captions_are_not_counted(tmp_path):
    touch(tmp_path, 'a.jpg', 'a.txt')
    assert photographs(tmp_path, recursive=True).remark == ''


@pytest.mark.parametrize(
    ('there', 'found'), [(['a.txt', 'a.TXT'], 'a.txt'), (['a.TXT'], 'a.TXT'), (['b.txt'], None), (['a.Txt'], None)]
)
def test_the_text_of_a_photograph_has_its_stem_in_small_or_capital_letters(tmp_path, there, found):
    touch(tmp_path, 'a.jpg', *there)
    wanted = found and tmp_path / found
    assert text_of(tmp_path / 'a.jpg') == text_of(tmp_path / 'a.jpg', frozenset(tmp_path.iterdir())) == wanted
    assert photographs(tmp_path, recursive=True).remark == ('1 of another kind' if there == ['a.Txt'] else '')


def test_tag_leaves_a_text_in_capital_letters_as_it_is(tmp_path, capsys):
    touch(tmp_path, 'a.jpg', 'a.TXT')
    assert guard(tag.main, [str(tmp_path), '--weights', 'nano']) == 0
    assert '1 of 1 images have a text, which stays' in capsys.readouterr().out
    assert not (tmp_path / 'a.txt').exists()


def test_pipes_and_links_to_pipes_or_to_nothing_are_left_out(tmp_path):
    touch(tmp_path, 'a.jpg')
    os.mkfifo(tmp_path / 'pipe.png')
    (tmp_path / 'link.png').symlink_to('pipe.png')
    (tmp_path / 'gone.png').symlink_to('nowhere.png')
    (tmp_path / 'self.png').symlink_to('self.png')
    found = photographs(tmp_path, recursive=True)
    assert names(found, tmp_path) == ['a.jpg']
    assert found.remark == '2 no regular files, 2 that cannot be opened'


def test_linked_folders_are_searched_once_and_loops_end(tmp_path):
    root, elsewhere = tmp_path / 'root', tmp_path / 'elsewhere'
    touch(root, 'in/a.jpg')
    touch(elsewhere, 'b.jpg')
    (root / 'again').symlink_to('in')  # earlier in order than the real one
    (root / 'in' / 'up').symlink_to(root)
    (root / 'more').symlink_to(elsewhere)
    (elsewhere / 'self').symlink_to(elsewhere)
    found = photographs(root, recursive=True)
    assert names(found, root) == ['in/a.jpg', 'more/b.jpg']
    assert found.left_out == {'linked twice': 3}


def test_a_folder_named_like_a_photograph_is_a_folder(tmp_path):
    touch(tmp_path, 'album.jpg/a.png')
    assert names(photographs(tmp_path, recursive=True), tmp_path) == ['album.jpg/a.png']


def test_a_folder_without_photographs_says_what_it_holds(tmp_path):
    Image.new('RGB', (9, 9)).save(tmp_path / '.a.png')
    with pytest.raises(UserError, match=r'holds no images \(left out: 1 hidden\)'):
        photographs(tmp_path, recursive=True)
    with pytest.raises(UserError, match='there is no folder'):
        photographs(tmp_path / 'missing', recursive=True)
