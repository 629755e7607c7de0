"""What results are called: what was asked for is in their names, and no two are alike."""

import hashlib
import os
from pathlib import Path

import pytest

from addsr_jax.restoration import naming
from addsr_jax.restoration.inputs import Source
from addsr_jax.restoration.settings import Settings


def named(*paths, ending=''):
    """Of files that are named themselves; ending: of all results, '' for each one's own."""
    sources = [Source(Path(path)) for path in paths]
    return list(map(str, naming.apart(sources, '', [ending or source.path.suffix for source in sources])))


@pytest.mark.parametrize(
    ('settings', 'label'),
    [
        ({}, '_x4'),
        ({'scale': 1.5}, '_x1.5'),
        ({'width': 1000}, '_w1000'),
        ({'width': 1000, 'height': 90}, '_w1000_h90'),
        ({'width': 80, 'height': 60, 'fit': 'crop'}, '_w80_h60_crop'),
        ({'megapixels': 0.5}, '_0.5mp'),
        ({'max_side': 2000}, '_x4_max2000'),
    ],
    ids=str,
)
def test_names_say_the_size_that_was_asked_for(settings, label):
    assert naming.label(Settings(**settings)) == label


@pytest.mark.parametrize('stem', ['x' * 251, 'ж' * 125, 'x' * 200 + os.fsdecode(b'\xff' * 51)], ids=['a', 'ж', 'bytes'])
def test_names_that_would_be_too_long_are_shortened_and_differ_where_their_ends_do(stem, tmp_path):
    short = naming.short(stem, '_x4.png')
    assert len(os.fsencode(short)) <= naming.LONGEST_NAME
    assert short.endswith('_x4.png')
    assert short == naming.short(stem, '_x4.png') != naming.short(stem[:-1] + 'y', '_x4.png')
    (tmp_path / short).write_bytes(b'')


def test_a_name_without_room_is_a_digest():
    long = 'x' * 246 + '.png'
    assert naming.short('y' * 300, long) == f'-{hashlib.sha256(b"y" * 300).hexdigest()[:8]}{long}'


def test_two_endings_of_one_stem_do_not_meet():
    assert named('a.png', 'a.bmp') == ['a.png', 'a.bmp']
    assert named('a.png', 'a.bmp', ending='.png') == ['a.png', 'a_bmp.png']
    assert named('a.png', 'a.bmp', ending='.jpg') == ['a_png.jpg', 'a_bmp.jpg']


def test_a_name_that_keeps_its_ending_does_not_meet_one_that_is_called_so():
    first, *rest = named('a.jpg', 'a.png', 'a_jpg.png', ending='.png')
    assert rest == ['a.png', 'a_jpg.png']
    assert first.startswith('a_jpg-')
    assert named('a.jpg', 'a.png', 'a_jpg.png', ending='.png')[0] == first


def test_files_of_one_name_keep_their_folders_below_the_one_they_share_and_others_need_none():
    paths = ('scans/x/1.tif', 'scans/y/deep/1.tif', 'scans/x/2.tif')
    assert named(*paths) == ['x/1.tif', 'y/deep/1.tif', '2.tif']
    assert named('x/in/1.tif', 'y/in/1.tif') == ['x/in/1.tif', 'y/in/1.tif']
    assert named('1.tif', 'scans/1.tif') == ['1.tif', 'scans/1.tif']
    assert named('x/1.png', 'y/1.png', 'y/1.bmp', ending='.png') == ['x/1.png', 'y/1.png', '1_bmp.png']


def test_files_of_folders_of_one_name_keep_what_lies_above_those():
    sources = [Source(Path(top, 'in/a.png'), Path('in'), named=False) for top in ('x', 'y')]
    assert list(map(str, naming.apart(sources, '_x4', ['.png', '.png']))) == ['x/in/a_x4.png', 'y/in/a_x4.png']
