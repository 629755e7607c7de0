"""One reader: every kind of file looks as it should, and the same to training, to the commands and to Python."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from addsr_jax.data import batches, pictures, sources
from addsr_jax.errors import UserError
from addsr_jax.restoration import pipeline
from tests.data import photos

GREY = np.linspace(0, 255, 16 * 20).reshape(16, 20).astype(np.uint8)
COLOURS = photos.crops(1)[0][:16, :20]
HALF = np.where(np.arange(20) < 10, 255, 0).astype(np.uint8)  # the right half is clear


def encoded(image: Image.Image, form: str = 'PNG', **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()


def grey_of(values) -> np.ndarray:
    return np.repeat(np.asarray(values, np.uint8)[..., None], 3, axis=2)


def with_alpha(colours: np.ndarray) -> Image.Image:
    alpha = np.broadcast_to(HALF, colours.shape[:2])[..., None]
    return Image.fromarray(np.concatenate([colours, alpha], axis=2))


def turned_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def animation() -> bytes:
    return encoded(Image.fromarray(GREY), 'GIF', save_all=True, append_images=[Image.fromarray(255 - GREY)])


ON_WHITE = np.where(HALF[None, :, None] > 0, COLOURS, 255).astype(np.uint8)
RED_INK = Image.merge('CMYK', [Image.new('L', (20, 16), v) for v in (0, 255, 255, 0)])
KINDS = {
    'rgb': (encoded(Image.fromarray(COLOURS)), COLOURS),
    'grey': (encoded(Image.fromarray(GREY)), grey_of(GREY)),
    '16-bit grey': (encoded(Image.fromarray(GREY.astype(np.uint16) * 257)), grey_of(GREY)),
    '16-bit grey tiff': (encoded(Image.fromarray(GREY.astype(np.uint16) * 257), 'TIFF'), grey_of(GREY)),
    'float tiff': (encoded(Image.fromarray(GREY.astype(np.float32) / 255), 'TIFF'), grey_of(GREY)),
    'one bit': (encoded(Image.fromarray(GREY > 127)), grey_of(np.where(GREY > 127, 255, 0))),
    'grey with alpha': (
        encoded(Image.merge('LA', [Image.fromarray(GREY), Image.fromarray(np.tile(HALF, (16, 1)))])),
        grey_of(np.where(HALF > 0, GREY, 255)),
    ),
    'clear right half': (encoded(with_alpha(COLOURS)), ON_WHITE),
    'black under what is clear': (encoded(with_alpha(np.where(HALF[None, :, None] > 0, COLOURS, 0))), ON_WHITE),
    'palette': (encoded(Image.fromarray(GREY).convert('P')), grey_of(GREY)),
    'palette with a clear colour': (
        encoded(Image.fromarray(np.tile(HALF // 255, (16, 1))).convert('P'), transparency=0),
        None,
    ),
    'cmyk': (encoded(RED_INK, 'TIFF'), np.asarray(RED_INK.convert('RGB'))),
    'first frame': (animation(), grey_of(GREY)),
    'turned': (encoded(Image.fromarray(COLOURS), 'PNG', exif=turned_exif()), np.rot90(COLOURS, -1)),
    'bmp': (encoded(Image.fromarray(COLOURS), 'BMP'), COLOURS),
    'webp': (encoded(Image.fromarray(COLOURS), 'WEBP', lossless=True), COLOURS),
    'ppm': (encoded(Image.fromarray(COLOURS), 'PPM'), COLOURS),
}


@pytest.mark.parametrize('kind', KINDS)
def test_a_file_looks_as_it_should_and_the_same_to_everyone(kind, tmp_path):
    data, wanted = KINDS[kind]
    path = tmp_path / 'a.png'
    path.write_bytes(data)
    seen = pictures.read(path)
    assert seen.dtype == np.uint8
    if wanted is not None:
        np.testing.assert_array_equal(seen, wanted)
    with Image.open(path) as opened:  # Python
        np.testing.assert_array_equal(np.asarray(pipeline._as_pillow(opened)), seen)
    trained = batches.usable(sources.folder(str(tmp_path)), 0)['image']
    np.testing.assert_array_equal(trained, seen)


def test_a_picture_whose_exif_alone_is_damaged_is_read_as_it_is_stored():
    data = encoded(Image.fromarray(COLOURS), 'WEBP', lossless=True, exif=b'Exif\x00\x00II*\x00\xff\xff\xff\xff')
    np.testing.assert_array_equal(pictures.decode(data, ''), COLOURS)


def png_header(width: int, height: int) -> bytes:
    body = b'IHDR' + struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + body + struct.pack('>I', zlib.crc32(body))


def text_bomb() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text('comment', 'a' * 70_000_000, zip=True)
    return encoded(Image.fromarray(COLOURS), pnginfo=info)


HOSTILE = {
    'nothing': b'',
    'text': b'no image at all',
    'broken png': b'\x89PNG\r\n\x1a\n broken',
    'half a jpeg': encoded(Image.fromarray(photos.crops(1)[0]), 'JPEG')[:900],
    'a header of 60,000 x 60,000': png_header(60_000, 60_000),
    'a text of 70 MB in a png': text_bomb(),
    'postscript': b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n',
    'not a number': encoded(Image.fromarray(np.full((8, 8), np.nan, np.float32)), 'TIFF'),
    'floats of a thousand': encoded(Image.fromarray(np.full((8, 8), 1e3, np.float32)), 'TIFF'),
    'a damaged tiff': encoded(Image.fromarray(COLOURS), 'TIFF')[:-90],
    'escape codes': b'P6\n\x1b[31m',
}


@pytest.mark.parametrize('kind', HOSTILE)
def test_what_cannot_be_read_is_one_line_with_its_name(kind):
    with pytest.raises(UserError, match=r'^photo\.jpg cannot be read as an image: .+') as refused:
        pictures.decode(HOSTILE[kind], 'photo.jpg')
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300


def test_nothing_is_opened_that_needs_another_program(monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, 'Ghostscript', lambda *_, **__: pytest.fail('Ghostscript was started'))
    assert not {'EPS', 'PDF', 'WMF', 'MPEG', 'HDF5', 'GRIB', 'BUFR'} & set(pictures.FORMATS)
    with pytest.raises(UserError):
        pictures.decode(HOSTILE['postscript'], 'photo.jpg')


def test_a_record_that_cannot_be_used_is_replaced_by_the_next_whatever_is_wrong_with_it(tmp_path):
    photos.folder(tmp_path, 1)  # 00.png
    for i, (name, data) in enumerate(HOSTILE.items(), 1):
        if name != 'a text of 70 MB in a png':
            (tmp_path / f'{i:02}.png').write_bytes(data)
    Image.fromarray(np.zeros((1, 200, 3), np.uint8)).save(tmp_path / '90.png')
    photos.folder(tmp_path / 'named', 1)
    (tmp_path / 'named' / '00.txt').write_bytes(b'caf\xe9')
    source = sources.folder(str(tmp_path))
    (tmp_path / '10.png').unlink()  # vanished since
    good = batches.Decoded(source)[0]
    assert good['replaced'] == -1
    for i in range(1, len(source)):
        record = batches.Decoded(source)[i]
        assert record['replaced'] == i
        np.testing.assert_array_equal(record['image'], good['image'])


def test_where_nothing_can_be_used_the_first_reason_is_said(tmp_path):
    (tmp_path / 'a.png').write_bytes(b'no image')
    with pytest.raises(UserError, match=r'a\.png and the records after it cannot be used \(.*cannot be read'):
        batches.Decoded(sources.folder(str(tmp_path)))[0]


def test_a_crop_of_what_cannot_be_reflected_ends_with_an_error():
    with pytest.raises(ValueError, match='nothing to reflect'):
        batches.random_crop(np.zeros((1, 200, 3), np.uint8), 80, np.random.default_rng(0))
