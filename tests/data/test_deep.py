"""Colours of more than 8 bits keep them where something reads them, and elsewhere it is said that 8 are left."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from addsr_jax.data import deep, pictures
from tests.data.test_tiff import tiff

DEEP = np.random.default_rng(0).integers(0, 65536, (64, 80, 4)).astype(np.uint16)
RGB = DEEP[..., :3]


def portable(values, white, kind=b'P6'):
    body = values.astype('>u2').tobytes() if kind == b'P6' else b' '.join(b'%d' % n for n in values.reshape(-1))
    return b'%s # a comment\n80 64\n%d\n' % (kind, white) + body


def jpeg2000(values):
    order = [2, 1, 0, 3][: values.shape[2]]
    options = (cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000)
    return cv2.imencode('.jp2', values[..., order], options)[1].tobytes()


@pytest.mark.parametrize('white', [300, 1023, 65534])
def test_a_portable_map_of_any_maximum_keeps_its_depth(white):
    values = np.minimum(RGB, white)
    picture = pictures.decode_picture(portable(values, white), 'x')
    np.testing.assert_allclose(picture.rgb, values * (65535 / white), atol=1)
    assert picture.bits == white.bit_length()
    assert picture.remarks == ()


@pytest.mark.parametrize('channels', [3, 4])
def test_a_jpeg_2000_keeps_16_bits(channels):
    picture = pictures.decode_picture(jpeg2000(DEEP[..., :channels]), 'x')
    np.testing.assert_array_equal(picture.rgb, RGB)
    assert (picture.alpha is not None) == (channels == 4)
    assert picture.alpha is None or (picture.alpha == DEEP[..., 3]).all()
    assert picture.remarks == ()


def test_where_16_bits_become_8_it_is_said(monkeypatch):
    words = 'its 16 bits are read as 8'
    assert words in pictures.decode_picture(tiff(DEEP, 5), 'x').remarks
    assert words in pictures.decode_picture(portable(RGB, 65535, b'P3'), 'x').remarks
    data = jpeg2000(RGB)

    def fails(_):
        raise ValueError

    monkeypatch.setattr(deep, 'decoded', fails)
    assert words in pictures.decode_picture(data, 'x').remarks


def test_opencv_s_level_of_telling_is_as_before_after_many_threads_have_read():
    level, data = cv2.utils.logging.getLogLevel(), cv2.imencode('.png', DEEP)[1].tobytes()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: deep.decoded(data), range(400)))
    assert cv2.utils.logging.getLogLevel() == level


def test_8_bits_say_nothing():
    for data in (jpeg2000((RGB >> 8).astype(np.uint8)), tiff((DEEP >> 8).astype(np.uint8)), portable(RGB >> 8, 255)):
        picture = pictures.decode_picture(data, 'x')
        assert picture.rgb.dtype == np.uint8
        assert picture.remarks == ()
