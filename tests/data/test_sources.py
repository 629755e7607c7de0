"""Where photographs come from."""

import os
from unittest import mock

import pytest
import requests
from PIL import Image

from addsr_jax.data import pictures, sources
from addsr_jax.errors import UserError, guard
from tests.data import photos


def test_a_folder_is_searched_through_in_order_whatever_the_format_and_the_depth(tmp_path):
    image = Image.fromarray(photos.crops(1)[0])
    for name in ('b.png', 'a.jpg', 'deep/er/c.webp', 'd.TIFF', 'e.bmp'):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    (tmp_path / 'notes.txt').write_text('no image')
    found = sources.folder(str(tmp_path))
    assert [p.name for p in found.paths] == ['a.jpg', 'b.png', 'd.TIFF', 'c.webp', 'e.bmp']
    for i in range(len(found)):
        assert pictures.decode(**_encoded(found[i])).shape == (160, 160, 3)


def _encoded(record):
    return {'data': record['image'], 'name': record['name']}


def test_a_sidecar_of_the_same_stem_is_the_caption(tmp_path):
    photos.folder(tmp_path, 2)
    (tmp_path / '01.txt').write_text('a rocket, sky\n')
    assert [sources.folder(str(tmp_path))[i]['caption'] for i in (0, 1)] == ['', 'a rocket, sky']


def test_a_sidecar_of_an_old_camera_or_system_with_capital_letters_is_read_too(tmp_path):
    photos.folder(tmp_path, 2)
    (tmp_path / '01.TXT').write_text('a rocket, sky\n')
    found = sources.folder(str(tmp_path))
    assert [found[i]['caption'] for i in (0, 1)] == ['', 'a rocket, sky']
    assert found.captioned() == 1


def test_a_byte_order_mark_is_no_part_of_a_caption(tmp_path):
    photos.folder(tmp_path, 1)
    (tmp_path / '00.txt').write_bytes(b'\xef\xbb\xbfsharp')
    assert sources.folder(str(tmp_path))[0]['caption'] == 'sharp'


def test_a_caption_that_is_not_utf_8_is_named_with_its_photograph(tmp_path):
    photos.folder(tmp_path, 1)
    (tmp_path / '00.txt').write_bytes('caf\xe9'.encode('cp1252'))
    with pytest.raises(UserError, match=r'00\.png has a caption that is not UTF-8, 00\.txt'):
        sources.folder(str(tmp_path))[0]


def test_a_pipe_as_caption_and_a_photograph_that_is_gone_are_refused(tmp_path):
    photos.folder(tmp_path, 2)
    found = sources.folder(str(tmp_path))
    os.mkfifo(tmp_path / '00.txt')
    (tmp_path / '01.png').unlink()
    for i, message in enumerate(
        (r'00\.png cannot be read \(00\.txt\): it is no regular', r'01\.png cannot .*: it is gone')
    ):
        with pytest.raises(UserError, match=message):
            found[i]
        assert found.name_of(i) == str(tmp_path / f'0{i}.png')


def test_a_folder_says_what_it_left_out(tmp_path):
    photos.folder(tmp_path, 1)
    for name in ('._a.png', 'a.eps', 'b.eps'):
        (tmp_path / name).touch()
    assert sources.folder(str(tmp_path)).left_out == '1 hidden, 2 of another kind'


@pytest.mark.parametrize(('name', 'message'), [('missing', 'no folder'), ('', 'no folder'), ('empty', 'no images')])
def test_a_folder_without_photographs_is_refused(tmp_path, name, message):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match=message):
        sources.folder(str(tmp_path / name) if name else '')


def test_the_held_out_photograph_is_not_trained_on():
    assert not set(sources.held_out().paths) & set(sources.sample_photos().paths)


def test_an_unknown_source_is_refused_with_the_choices():
    with pytest.raises(UserError, match='folder, pairs, packed, tfds, sample_photos'):
        sources.open_source('zip', '')


def test_tfds_data_sets_that_are_not_there_are_one_clear_line():
    with pytest.raises(UserError, match="tfds cannot open 'no_such_set:train'"):
        sources.tfds('no_such_set:train')
    with pytest.raises(UserError, match='div2k:train'):
        sources.tfds('')


@pytest.mark.parametrize(
    ('error', 'code', 'said'),
    [
        (AssertionError('Manual directory\n  m does not exist'), 2, 'Manual directory m does not exist'),
        (requests.ConnectionError('no route'), 1, 'no route: see that this machine reaches the network, and run the'),
        (KeyError(), 2, 'KeyError'),
    ],
    ids=['to be fetched by hand', 'no network', 'a broken one'],
)
def test_a_tfds_data_set_that_cannot_be_fetched_is_one_line_and_no_fault_of_ours(
    error, code, said, monkeypatch, capsys
):
    import tensorflow_datasets as tfds

    monkeypatch.setattr(tfds, 'builder', mock.Mock(side_effect=error))
    assert guard(lambda names: sources.tfds(names[0]), ['photos:train']) == code
    told = capsys.readouterr().err
    assert told.startswith(f"addsr: tfds cannot open 'photos:train': {said}")
    assert told.count('\n') == 1


def test_a_tfds_data_set_is_read_through_its_data_source(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    class Photos(tfds.core.GeneratorBasedBuilder):
        """Three crops, written as ArrayRecord on this machine."""

        VERSION = tfds.core.Version('1.0.0')

        def _info(self):
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict(
                    {'hr': tfds.features.Image(encoding_format='png'), 'label': tfds.features.ClassLabel(num_classes=3)}
                )
            )

        def _split_generators(self, dl_manager):
            return {'train': self._generate_examples()}

        def _generate_examples(self):
            yield from ((i, {'hr': image, 'label': i}) for i, image in enumerate(photos.crops(3)))

    builder = Photos(data_dir=tmp_path, file_format='array_record')
    builder.download_and_prepare()
    monkeypatch.setattr(tfds, 'builder', lambda name: builder)
    with pytest.raises(UserError, match=r"no picture called 'image': set --config.data.image_key to one of hr"):
        sources.tfds('photos:train')
    with pytest.raises(UserError, match=r"no picture called 'label': set --config.data.image_key to one of hr$"):
        sources.tfds('photos:train', 'label')
    monkeypatch.setattr(tfds, 'data_source', lambda name, **options: builder.as_data_source(**options))
    source = sources.open_source('tfds', 'photos:train', image_key='hr')
    assert len(source) == 3
    crops = {image.tobytes() for image in photos.crops(3)}
    for i in range(3):
        assert pictures.decode(**_encoded(source[i])).tobytes() in crops
        assert source[i]['name'] == f'photos:train[{i}]'
