"""Where photographs come from."""

import io

import numpy as np
import pytest
from PIL import Image

from addsr_jax.data import sources
from addsr_jax.errors import UserError
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
        decoded = sources.decode(found[i]['image'])
        assert decoded is not None
        assert decoded.shape == (160, 160, 3)


def test_a_sidecar_of_the_same_stem_is_the_caption(tmp_path):
    photos.folder(tmp_path, 2)
    (tmp_path / '01.txt').write_text('a rocket, sky\n')
    assert [sources.folder(str(tmp_path))[i]['caption'] for i in (0, 1)] == ['', 'a rocket, sky']


@pytest.mark.parametrize(('name', 'message'), [('missing', 'no folder'), ('', 'no folder'), ('empty', 'no images')])
def test_a_folder_without_photographs_is_refused(tmp_path, name, message):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match=message):
        sources.folder(str(tmp_path / name) if name else '')


def encoded(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def test_grey_transparent_and_16_bit_files_become_rgb():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    kinds = (
        Image.fromarray(grey),
        Image.fromarray(grey).convert('RGBA'),
        Image.fromarray(grey.astype(np.uint16) * 257),
        Image.fromarray(grey).convert('P'),
    )
    for image in kinds:
        out = sources.decode(encoded(image, format='PNG'))
        assert out is not None
        np.testing.assert_array_equal(out, np.repeat(grey[..., None], 3, axis=2))


def test_photographs_are_turned_as_their_exif_says():
    image = Image.fromarray(photos.crops(1)[0][:, :80])
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    out = sources.decode(encoded(image, format='JPEG', exif=exif))
    assert out is not None
    assert out.shape == (80, 160, 3)


@pytest.mark.parametrize('data', [b'', b'no image', b'\x89PNG\r\n\x1a\n broken'])
def test_what_nothing_can_read_is_none(data):
    assert sources.decode(data) is None


def test_the_held_out_photograph_is_not_trained_on():
    assert not set(sources.held_out().paths) & set(sources.sample_photos().paths)


def test_an_unknown_source_is_refused_with_the_choices():
    with pytest.raises(UserError, match='folder, tfds, sample_photos'):
        sources.open_source('zip', '')


def test_tfds_data_sets_that_are_not_there_are_one_clear_line():
    with pytest.raises(UserError, match="tfds cannot open 'no_such_set:train'"):
        sources.tfds('no_such_set:train')
    with pytest.raises(UserError, match='div2k:train'):
        sources.tfds('')


def test_a_tfds_data_set_is_read_through_its_data_source(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    class Photos(tfds.core.GeneratorBasedBuilder):
        """Three crops, written as ArrayRecord on this machine."""

        VERSION = tfds.core.Version('1.0.0')

        def _info(self):
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict({'image': tfds.features.Image(encoding_format='png')})
            )

        def _split_generators(self, dl_manager):
            return {'train': self._generate_examples()}

        def _generate_examples(self):
            yield from ((i, {'image': image}) for i, image in enumerate(photos.crops(3)))

    builder = Photos(data_dir=tmp_path, file_format='array_record')
    builder.download_and_prepare()
    monkeypatch.setattr(tfds, 'data_source', lambda name, **options: builder.as_data_source(**options))
    source = sources.tfds('photos:train')
    assert len(source) == 3
    crops = {image.tobytes() for image in photos.crops(3)}
    for i in range(3):
        image = sources.decode(source[i]['image'])
        assert image is not None
        assert image.tobytes() in crops
        assert source[i]['name'] == f'photos:train[{i}]'
