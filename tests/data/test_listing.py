"""What is a photograph: one rule for training and for the commands."""

import os

import pytest

from addsr_jax.data.listing import photographs
from addsr_jax.errors import UserError
from addsr_jax.restoration import files


@pytest.fixture
def folder(tmp_path):
    """A folder as they are on real disks; no file is opened, so none needs contents."""
    root = tmp_path / 'photos'
    for name in (
        *('b.png', 'a.JPG', 'deep/c.webp', 'a.txt'),
        *('._b.png', '.hidden.png', '.ipynb_checkpoints/b.png', '__MACOSX/b.png', '.git/x.png'),
        *('notes.md', 'paper.pdf', 'film.mpg', 'data.h5', 'deep/figure.eps'),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    os.mkfifo(root / 'pipe.png')
    (root / 'gone.png').symlink_to(root / 'nowhere.png')
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'elsewhere' / 'linked.png').touch()
    (root / 'link').symlink_to(tmp_path / 'elsewhere')
    (root / 'deep' / 'loop').symlink_to(root)
    return root


def test_photographs_are_found_in_order_links_followed_loops_seen_once(folder):
    found = photographs(folder, recursive=True)
    assert [str(p.relative_to(folder)) for p in found.paths] == ['a.JPG', 'b.png', 'deep/c.webp', 'link/linked.png']


def test_what_is_left_out_is_counted_by_reason(folder):
    listing = photographs(folder, recursive=True)
    assert listing.left_out == {
        'hidden': 5,
        'no photographs': 5,
        'no files': 1,
        'links to nothing': 1,
        'folders seen before': 1,
    }
    assert listing.told == (
        '; left out: 1 folders seen before, 5 hidden, 1 links to nothing, 1 no files, 5 no photographs'
    )


def test_the_commands_look_at_one_folder_by_the_same_rule(folder):
    assert [p.name for p in files.find_images(folder)] == ['a.JPG', 'b.png']
    (folder / 'link2').mkdir()
    with pytest.raises(UserError, match='holds no images'):
        files.find_images(folder / 'link2')
