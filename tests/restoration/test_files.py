"""Image files: found and checked before work starts, written whole or not at all."""

import os

import numpy as np
import pytest
from PIL import Image

from addsr_jax.data import pictures
from addsr_jax.errors import UserError
from addsr_jax.restoration import files

GREY = np.full((12, 16, 3), 90, np.uint8)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / 'in'
    folder.mkdir()
    for name in ('b.jpg', 'a.png', 'c.webp'):
        Image.fromarray(GREY).save(folder / name)
    (folder / 'notes.txt').write_text('')
    (folder / '._a.png').write_bytes(b'of a Mac')
    return folder


def test_results_are_named_after_their_source_and_the_scale(photos, tmp_path):
    jobs = files.plan_jobs([str(photos)], tmp_path / 'out', 4)
    assert [j.target.name for j in jobs] == ['a_x4.png', 'b_x4.png', 'c_x4.png']
    (job,) = files.plan_jobs([str(photos / 'a.png')], tmp_path / 'one.png', 4)
    assert job.target == tmp_path / 'one.png'


def test_existing_results_are_refused_unless_overwritten_or_left(photos, tmp_path):
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'b_x4.png').write_bytes(b'mine')
    jobs = files.plan_jobs([str(photos)], out, 4)
    with pytest.raises(UserError, match=r'b_x4\.png exists: add --resume'):
        files.remaining(jobs, overwrite=False, resume=False)
    assert files.remaining(jobs, overwrite=True, resume=False) == jobs
    left = files.remaining(jobs, overwrite=False, resume=True)
    assert [job.target.name for job in left] == ['a_x4.png', 'c_x4.png']
    assert (out / 'b_x4.png').read_bytes() == b'mine'


def test_a_result_never_falls_on_another_input(photos):
    Image.fromarray(GREY).save(photos / 'a_x4.png')
    with pytest.raises(UserError, match=r'would replace .*a_x4\.png, another input'):
        files.plan_jobs([str(photos)], photos, 4)


def test_two_sources_of_one_name_are_refused(photos, tmp_path):
    Image.fromarray(GREY).save(photos / 'a.bmp')
    with pytest.raises(UserError, match='would both become'):
        files.plan_jobs([str(photos)], tmp_path / 'out', 4)


def test_a_result_never_falls_on_its_source(photos):
    source = photos / 'a.png'
    with pytest.raises(UserError, match='would replace its own source'):
        files.plan_jobs([str(source)], source, 4)


@pytest.mark.parametrize(
    ('inputs', 'output', 'message'),
    [
        (['missing.png'], 'out', 'there is no file or folder'),
        (['in'], 'one.png', 'cannot go into the one file'),
        (['in/a.png'], 'in/notes.txt', 'is a file'),
        (['empty'], 'out', 'holds no images'),
        (['pipe.png'], 'out', 'is no regular file'),
    ],
)
def test_impossible_inputs_and_outputs_are_refused(photos, tmp_path, inputs, output, message):
    (tmp_path / 'empty').mkdir()
    os.mkfifo(tmp_path / 'pipe.png')
    with pytest.raises(UserError, match=message):
        files.plan_jobs([str(tmp_path / i) for i in inputs], tmp_path / output, 4)


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
