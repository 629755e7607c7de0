"""Image files: found, named and checked before work starts, written whole or not at all."""

import dataclasses
import io
import os
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from addsr_jax import places
from addsr_jax.data import formats, heif, pictures
from addsr_jax.errors import UserError
from addsr_jax.restoration import files
from addsr_jax.restoration.files import Naming
from addsr_jax.restoration.settings import Settings

GREY = np.full((12, 16, 3), 90, np.uint8)
USUAL = Settings()


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / 'in'
    folder.mkdir()
    for name in ('b.jpg', 'a.png', 'c.webp'):
        Image.fromarray(GREY).save(folder / name)
    (folder / 'notes.txt').write_text('')
    (folder / '._a.png').write_bytes(b'of a Mac')
    return folder


def plan(inputs, output, settings=USUAL, **naming):
    return files.plan_jobs([str(i) for i in inputs], Naming(output, **naming), settings)[0]


def names(jobs):
    return [job.target.name for job in jobs]


def test_results_are_named_after_their_source_and_the_scale_and_keep_its_kind(photos, tmp_path):
    jobs, left_out = files.plan_jobs([str(photos)], Naming(tmp_path / 'out'), USUAL)
    assert names(jobs) == ['a_x4.png', 'b_x4.jpg', 'c_x4.webp']
    assert [job.format for job in jobs] == ['PNG', 'JPEG', 'WEBP']
    assert left_out == f'{photos}: left out 1 hidden'
    assert names(plan([photos], tmp_path / 'out', format='tif', suffix='')) == ['a.tif', 'b.tif', 'c.tif']


@pytest.mark.parametrize('ending', formats.WRITABLE)
def test_the_ending_of_an_output_for_one_image_says_its_kind(photos, tmp_path, ending):
    (job,) = plan([photos / 'a.png'], tmp_path / f'one{ending}')
    assert job.target == tmp_path / f'one{ending}'
    assert job.format == formats.of_ending(ending)


def test_a_kind_that_cannot_hold_the_result_becomes_png_and_says_why(photos, tmp_path):
    Image.fromarray(GREY).save(photos / 'd.gif')
    Image.fromarray(np.zeros((2, 5000, 3), np.uint8)).save(photos / 'wide.webp')
    jobs = {job.source.name: job for job in plan([photos], tmp_path / 'out')}
    assert (jobs['d.gif'].target.name, jobs['d.gif'].remark) == (
        'd_x4.png',
        'as PNG, since results are not written as GIF',
    )
    assert jobs['wide.webp'].target.name == 'wide_x4.png'
    assert jobs['wide.webp'].remark == 'as PNG, since WEBP holds 16383 pixels a side'
    with pytest.raises(UserError, match=r'wide_x4\.webp would have more than 16383 pixels a side'):
        plan([photos], tmp_path / 'out', format='webp')


@pytest.mark.skipif(not heif.reads_avif(), reason='this OpenCV makes no AVIF')
def test_an_avif_of_more_than_8_bits_becomes_png_which_holds_them(tmp_path):
    for bits in (8, 10):
        values = np.full((12, 16, 3), 1 << bits - 1, np.uint8 if bits == 8 else np.uint16)
        data = cv2.imencode('.avif', values, (cv2.IMWRITE_AVIF_DEPTH, bits))[1]
        (tmp_path / f'{bits}.avif').write_bytes(data.tobytes())
    jobs = {job.source.name: job for job in plan([tmp_path], tmp_path / 'out')}
    assert jobs['8.avif'].target.name == '8_x4.avif'
    assert jobs['10.avif'].target.name == '10_x4.png'
    assert jobs['10.avif'].remark == 'as PNG, since AVIF is written with 8 bits'
    assert names(plan([tmp_path / '10.avif'], tmp_path / 'out', format='avif')) == ['10_x4.avif']


@pytest.mark.parametrize(('bits', 'name'), [(8, 'x_x4.heic'), (10, 'x_x4.heic'), (12, 'x_x4.png')])
def test_a_heic_becomes_png_where_it_has_more_bits_than_are_written(tmp_path, bits, name):
    file = io.BytesIO()
    values = np.full((16, 16, 3), 1 << 15, np.uint16)
    mode = {8: 'RGB', 10: 'RGB;10', 12: 'RGB;12'}[bits]
    few = (values >> (16 - bits)).astype(np.uint8 if bits == 8 else np.uint16)
    pillow_heif.encode(mode, (16, 16), few.tobytes(), file)
    (tmp_path / 'x.heic').write_bytes(file.getvalue())
    assert names(plan([tmp_path / 'x.heic'], tmp_path / 'out')) == [name]


def made_by(job, content):
    return None


def test_a_result_of_a_bucket_s_picture_that_its_format_cannot_hold_is_refused_when_its_size_is_known():
    job = files.Job(places.place('gs://b/wide.webp'), places.place('gs://b/out/wide_x4.webp'))
    with pytest.raises(UserError, match=r'gs://b/out/wide_x4\.webp would have more than 16383 pixels a side'):
        files.check_size(job, 16_384)
    files.check_size(job, 16_383)


def test_existing_results_are_refused_unless_overwritten_or_left(photos, tmp_path):
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'b_x4.jpg').write_bytes(b'mine')
    jobs = plan([photos], out)
    with pytest.raises(UserError, match=r'b_x4\.jpg exists and is not of this picture with these settings'):
        files.remaining(jobs, made_by, overwrite=False, resume=False)
    assert files.remaining(jobs, made_by, overwrite=True, resume=False) == jobs
    left = files.remaining(jobs, made_by, overwrite=False, resume=True)
    assert names(left) == ['a_x4.png', 'c_x4.webp']
    assert (out / 'b_x4.jpg').read_bytes() == b'mine'


def test_a_result_never_falls_on_another_input(photos):
    Image.fromarray(GREY).save(photos / 'a_x4.png')
    with pytest.raises(UserError, match=r'would replace .*a_x4\.png, another input'):
        plan([photos], photos)


def test_a_result_never_falls_on_its_source(photos):
    source = photos / 'a.png'
    with pytest.raises(UserError, match='would replace its own source'):
        plan([source], source)


@pytest.mark.parametrize(
    ('inputs', 'output', 'message'),
    [
        (['missing.png'], 'out', 'there is no file or folder'),
        (['in'], 'one.png', 'cannot go into the one file'),
        (['in/a.png'], 'in/notes.txt', 'is a file'),
        (['in/a.png'], 'in/notes.txt/out', 'cannot be a folder, since .*notes.txt is a file'),
        (['in/a.png'], 'one.gif', 'results are not written as GIF: choose one of .png'),
        (['in/a.png'], f'{"x" * 252}.png', 'too long a name: 255 bytes at most'),
        (['in/a.png'], 'one.xyz', r'not written as \.xyz: choose one of .*or make the folder first'),
        (['in/a.png'], 'gone', 'gone is a link to nothing'),
        (['in/a.png'], 'gone/out', 'cannot be a folder, since .*gone is a link to nothing'),
        (['in/a.png'], 'full', r'a_x4\.png is a folder, where a result would be'),
        (['empty'], 'out', 'holds no images'),
        (['pipe.png'], 'out', 'is no regular file'),
        (['/dev/null'], 'out', 'is no regular file'),
    ],
)
def test_impossible_inputs_and_outputs_are_refused(photos, tmp_path, inputs, output, message):
    (tmp_path / 'empty').mkdir()
    os.mkfifo(tmp_path / 'pipe.png')
    (tmp_path / 'gone').symlink_to('nowhere')
    (tmp_path / 'full' / 'a_x4.png').mkdir(parents=True)
    with pytest.raises(UserError, match=message):
        plan([tmp_path / i for i in inputs], tmp_path / output)


def test_a_folder_may_end_like_an_unknown_kind_of_file(photos, tmp_path):
    assert plan([photos], tmp_path / 'in.old')[0].target.parent == tmp_path / 'in.old'
    (tmp_path / 'one.xyz').mkdir()
    assert plan([photos / 'a.png'], tmp_path / 'one.xyz')[0].target.parent == tmp_path / 'one.xyz'
    with pytest.raises(UserError, match='-o -: results are files'):
        plan([photos], Path('-'))


def test_an_output_and_a_format_that_disagree_are_refused(photos, tmp_path):
    with pytest.raises(UserError, match='say two kinds of file'):
        plan([photos / 'a.png'], tmp_path / 'one.png', format='jpg')
    with pytest.raises(UserError, match='--suffix is for names in a folder'):
        plan([photos / 'a.png'], tmp_path / 'one.png', suffix='_big')


def test_a_folder_that_takes_no_files_is_refused_before_work_starts(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'access', lambda path, mode: path != tmp_path)  # root may write anywhere
    with pytest.raises(UserError, match='nothing can be written into'):
        plan([photos], tmp_path / 'new' / 'out')


def test_without_pillow_heif_its_files_are_left_out_with_the_command_that_installs_it(photos, tmp_path, monkeypatch):
    (photos / 'phone.HEIC').write_bytes(b'')
    monkeypatch.setattr(formats, 'has_heif', lambda: False)
    _, left_out = files.plan_jobs([str(photos)], Naming(tmp_path / 'out'), USUAL)
    assert f'1 {formats.heif_missing()}' in left_out
    with pytest.raises(UserError, match=r'pip install .*\[heic\]'):
        plan([photos / 'a.png'], tmp_path / 'one.heic')


def test_names_with_spaces_and_other_letters_stay_as_they_are(tmp_path):
    Image.fromarray(GREY).save(tmp_path / 'Ünder the  sea 写真.png')
    assert names(plan([tmp_path], tmp_path / 'out')) == ['Ünder the  sea 写真_x4.png']


def test_the_size_of_a_result_follows_from_what_was_asked():
    sizes = {
        (): (400, 200),
        ('scale', 1.5): (150, 75),
        ('width', 60): (60, 30),
        ('height', 60): (120, 60),
        ('max_side', 300): (300, 150),
        ('max_side', 500): (400, 200),
    }
    for asked, wanted in sizes.items():
        assert dataclasses.replace(USUAL, **dict([asked] if asked else [])).size(100, 50) == wanted
    assert Settings(width=60, height=10).size(100, 50) == (20, 10)
    assert Settings(scale=1).size(1, 1) == (1, 1)
    with pytest.raises(UserError, match='scale and width or height both say'):
        Settings(scale=2, width=60)


def test_a_picture_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    target = tmp_path / 'deep' / 'x.png'
    files.write_image(target, GREY)
    np.testing.assert_array_equal(pictures.read(target), GREY)

    def full(*_, **__):
        raise OSError('no space left')

    monkeypatch.setattr(files.Image.Image, 'save', full)
    with pytest.raises(UserError, match='no space left'):
        files.write_image(target, GREY * 2)
    monkeypatch.undo()
    np.testing.assert_array_equal(pictures.read(target), GREY)
    assert [p.name for p in target.parent.iterdir()] == ['x.png']
