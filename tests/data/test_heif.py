"""AVIF and HEIC of 10 and 12 bits: read as 16, written as 10, and what is lost on the way is said."""

import io

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import ExifTags, Image

from addsr_jax.data import formats, heif, pictures
from addsr_jax.errors import PictureError
from addsr_jax.restoration import results

assert formats.readable()  # makes HEIC known to Pillow
RAMP = np.linspace(0, 65535, 64 * 48).reshape(48, 64)
DEEP = np.rint(np.stack([RAMP, 65535 - RAMP, RAMP / 2], -1)).astype(np.uint16)
ALPHA = np.linspace(20_000, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
RGBA = np.dstack([DEEP, ALPHA])


def avif(values, bits):
    few = values >> (16 - bits)
    few = few if few.ndim == 2 else few[..., [2, 1, 0, 3][: few.shape[2]]]
    return cv2.imencode('.avif', few, (cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_QUALITY, 100))[1].tobytes()


def heic(values, mode='RGB;16', **options):
    file = io.BytesIO()
    options = {'quality': 100, 'chroma': 444, **options}
    pillow_heif.encode(mode, values.shape[1::-1], np.ascontiguousarray(values).tobytes(), file, **options)
    return file.getvalue()


FILES = {
    'AVIF of 10 bits': (avif(DEEP, 10), DEEP, None),
    'AVIF of 12 bits': (avif(DEEP, 12), DEEP, None),
    'AVIF of 10 bits with alpha': (avif(RGBA, 10), DEEP, ALPHA),
    'grey AVIF of 10 bits': (avif(DEEP[..., 0], 10), DEEP[..., :1].repeat(3, -1), None),
    'HEIC of 10 bits': (heic(DEEP), DEEP, None),
    'HEIC of 10 bits with alpha': (heic(RGBA, 'RGBA;16'), DEEP, ALPHA),
    'grey HEIC of 10 bits': (heic(DEEP[..., 0], 'L;16'), DEEP[..., :1].repeat(3, -1), None),
    'HEIC of 10 bits of colours times alpha': (
        heic(np.dstack([DEEP * (ALPHA[..., None] / 65535), ALPHA]).astype(np.uint16), 'RGBa;16'),
        DEEP,
        ALPHA,
    ),
}


@pytest.mark.parametrize('kind', FILES)
def test_more_than_8_bits_are_read_as_16(kind):
    data, wanted, alpha = FILES[kind]
    picture = pictures.decode_picture(data, 'x')
    assert picture.rgb.dtype == np.uint16
    assert picture.bits == (12 if '12' in kind else 10)
    assert picture.grey == kind.startswith('grey')
    assert picture.remarks == ()
    off = np.abs(picture.rgb.astype(int) - wanted)
    assert off.mean() < 150  # of 65535: 8 bits are 257 apart
    assert off.max() < 1200
    assert picture.rgb.max() > 65535 - 300
    assert len(np.unique(picture.rgb)) > 300
    assert (picture.alpha is None) == (alpha is None)
    if alpha is not None and picture.alpha is not None:
        assert np.abs(picture.alpha.astype(int) - alpha).mean() < 150


@pytest.mark.parametrize('kind', ['AVIF of 10 bits', 'HEIC of 10 bits'])
def test_a_damaged_one_is_one_line_with_its_name(kind, capfd):
    with pytest.raises(PictureError, match='x cannot be read as an image'):
        pictures.decode_picture(FILES[kind][0][:-40], 'x')
    assert capfd.readouterr() == ('', '')


def test_8_bits_stay_8():
    for format_ in ('AVIF', 'HEIF'):
        file = io.BytesIO()
        Image.fromarray((DEEP >> 8).astype(np.uint8)).save(file, format_)
        assert pictures.decode_picture(file.getvalue(), 'x').rgb.dtype == np.uint8


def test_opencv_leaves_an_avif_as_it_is_stored_and_pillow_says_how_it_is_to_be_turned():
    """Pillow alone writes an orientation: in 8 bits."""
    file, tags = io.BytesIO(), Image.Exif()
    tags[ExifTags.Base.Orientation] = 6
    Image.fromarray((DEEP >> 8).astype(np.uint8)).save(file, 'AVIF', exif=tags)
    stored = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_UNCHANGED)
    assert stored is not None
    assert stored.shape == (48, 64, 3)
    assert pictures.decode_picture(file.getvalue(), 'x').size == (48, 64)


def test_an_opencv_without_avif_means_8_bits_and_is_said(monkeypatch):
    monkeypatch.setattr(heif, 'reads_avif', lambda: False)
    picture = pictures.decode_picture(FILES['AVIF of 12 bits'][0], 'x')
    assert picture.rgb.dtype == np.uint8
    assert picture.remarks == ('its 12 bits are read as 8, since this OpenCV was built without AVIF',)


def test_colours_that_are_not_those_of_srgb_and_have_no_profile_are_said():
    wide = {'color_primaries': 9, 'transfer_characteristics': 16, 'matrix_coefficients': 9, 'full_range_flag': 1}
    data = heic(DEEP, nclx_profile=wide, **wide)
    assert pictures.decode_picture(data, 'x').remarks == ('its colours are BT.2020, PQ, which is taken for sRGB',)


@pytest.mark.parametrize('kind', ['HEIC of 10 bits', 'HEIC of 10 bits with alpha', 'grey HEIC of 10 bits'])
def test_a_heic_of_10_bits_becomes_one_again_and_nothing_is_lost(kind):
    picture = pictures.decode_picture(FILES[kind][0], 'x')
    done = results.encode(picture, picture.rgb, format='HEIF', quality=100, compression=6, made_by='{"addsr": "1"}')
    assert done.remarks == ()
    again = pictures.decode_picture(done.data, 'x')
    assert (again.bits, again.grey, again.rgb.dtype) == (10, picture.grey, np.uint16)
    assert np.abs(again.rgb.astype(int) - picture.rgb).mean() < 150
    assert (again.alpha is None) == (picture.alpha is None)
    with Image.open(io.BytesIO(done.data)) as image:
        assert image.getexif()[ExifTags.Base.ProcessingSoftware] == '{"addsr": "1"}'


def test_bits_that_a_format_is_not_written_with_are_said():
    ten, twelve = (pictures.decode_picture(FILES[f'AVIF of {n} bits'][0], 'x') for n in (10, 12))
    for picture, format_, remarks in (
        (ten, 'AVIF', ('AVIF is written with 8 bits: 10 are rounded',)),
        (ten, 'HEIF', ()),
        (twelve, 'HEIF', ('HEIF is written with 10 bits: 12 are rounded',)),
        (twelve, 'PNG', ()),
    ):
        done = results.encode(picture, picture.rgb, format=format_, quality=95, compression=6, made_by=None)
        assert done.remarks == remarks
