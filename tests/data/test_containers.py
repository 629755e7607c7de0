"""Files that ask their decoders for far more than a photograph does are refused before one sees them."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from addsr_jax.data import containers, pictures
from addsr_jax.errors import UserError
from benchmarks import bombs_pictures
from benchmarks.bombs_pictures import bmp, chunk, encoded, joined, png, tiff

ROWS = zlib.compress(bytes(64 * (64 * 3 + 1)))
GREY = ((256, 4, 1, 4), (257, 4, 1, 4), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1), (278, 4, 1, 4))
MANY = containers.MOST_PIECES + 1
REFUSED = {
    'chunks of a PNG': (png(64, 64, ROWS, chunk(b'prVt', b'') * 11_000), 'too many chunks'),
    'segments of a JPEG': (b'\xff\xd8' + b'\xff\xe1\0\2' * 11_000 + encoded('JPEG')[2:], 'too many segments'),
    'padding of a JPEG': (b'\xff\xd8' + b'\xff' * 11_000 + encoded('JPEG')[2:], 'too much padding'),
    'zeros between segments': (b'\xff\xd8' + bytes(12_000) + encoded('JPEG')[2:], 'too many segments'),
    'scans of a JPEG': (bombs_pictures.scans(200, 64, 64), 'more than 100 scans'),
    'scans behind an end in a comment': (
        b'\xff\xd8\xff\xfe\0\x04\xff\xd9' + bombs_pictures.scans(200, 64, 64)[2:],
        'more than 100 scans',
    ),
    'scans behind an end in a comment among them': (
        bombs_pictures.scans(50, 64, 64)[:-2] + b'\xff\xfe\0\x04\xff\xd9' + bombs_pictures.scans(200, 64, 64)[2:],
        'more than 100 scans',
    ),
    'segments behind an end before the first scan': (
        b'\xff\xd8\xff\xd9' + b'\xff\xe1\0\2' * 11_000 + encoded('JPEG')[2:],
        'too many segments',
    ),
    'chunks behind an end before the pixels': (
        joined([(b'IEND', b'')]) + chunk(b'prVt', b'') * 11_000,
        'too many chunks',
    ),
    'strips of a TIFF': (tiff(*GREY, (273, 4, MANY, 122), (279, 4, 1, 16), tail=bytes(16)), f'{MANY} strips'),
    'tiles of a TIFF': (tiff(*GREY, (324, 4, MANY, 122), (325, 4, 1, 16), tail=bytes(16)), f'{MANY} strips'),
    'strips of a large TIFF': (
        b'MM\0+\0\x08\0\0' + struct.pack('>QQHHQQ', 16, 1, 273, 4, MANY, 0) + bytes(8),
        f'{MANY} strips',
    ),
    'a raw photograph': (tiff((254, 4, 1, 1), *GREY, (273, 4, 1, 134), (279, 4, 1, 16), tail=bytes(16)), 'develop it'),
    'a raw photograph of Canon': (b'II*\0\x10\0\0\0CR\2\0' + bytes(90), 'develop it'),
    'a comment of a map': (b'P6\n#' + b'a' * 70_000 + b'\n4 4 255\n' + bytes(48), 'no end'),
    'comments of a map in words': (b'P3\n4 4 255\n' + b'#\n' * 1001 + b'1 ' * 48, 'too many comments'),
    'pixels of a slow decoder': (b'qoif' + struct.pack('>IIBB', 3000, 3000, 3, 0) + bytes(9_000_000), 'save it as PNG'),
    'a slow decoder, many bytes': (bmp(64, 64, 1, b'\1\0' * 5_000_000), 'save it as PNG'),
    'integers of a JPEG 2000': (
        bombs_pictures.sized_jpeg_2000(encoded('JPEG2000'), 24, 524_308, 24, 524_308),
        '12583392 pixels in',
    ),
    'pixels out of nothing': (png(6000, 6000, zlib.compress(bytes(1000))), '36000000 pixels in'),
}


@pytest.mark.parametrize('kind', REFUSED)
def test_what_no_photograph_has_is_refused(kind):
    data, message = REFUSED[kind]
    with pytest.raises(UserError, match=message):
        pictures.decode(data, 'x')


@pytest.mark.parametrize(
    'data',
    [
        png(64, 64, ROWS, chunk(b'prVt', b'') * 9_000),
        b'\xff\xd8' + b'\xff\xe1\0\2' * 9_000 + encoded('JPEG')[2:],
        b'\xff\xd8' + b'\xff' * 9_000 + encoded('JPEG')[2:],
        bombs_pictures.scans(90, 64, 64),
        encoded('JPEG', progressive=True),
        png(4096, 4096, bombs_pictures.zeros(4096 * (4096 * 3 + 1))),
        b'P3\n# one\n2 1 255\n' + b'1 2 3 # two\n' * 2,
    ],
    ids=['chunks', 'segments', 'padding', 'scans', 'progressive', 'flat', 'words'],
)
def test_what_is_a_little_odd_is_read(data):
    assert pictures.decode(data, 'x').ndim == 3


@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
@pytest.mark.parametrize(
    'behind',
    [b'\xff\xda\0\2' * 500, b'\xff' * 20_000, bytes(1_000_000)],
    ids=['a video', 'a map of depths', 'zeros'],
)
def test_what_phones_append_to_a_picture_is_no_part_of_it(kind, behind):
    picture = encoded(kind)
    assert (pictures.decode(picture + behind, 'x') == pictures.decode(picture, 'x')).all()


def test_a_photograph_with_a_restart_after_every_block_is_read():
    whole = Image.fromarray(np.zeros((1600, 1600, 3), np.uint8))
    buffer = io.BytesIO()
    whole.save(buffer, 'JPEG', restart_marker_blocks=1)
    assert buffer.getvalue().count(b'\xff\xd0') > 1000
    assert pictures.decode(buffer.getvalue(), 'x').shape == (1600, 1600, 3)


def test_damaged_directories_are_left_to_the_decoder():
    for cut in range(8, 140):
        containers.check(tiff(*GREY, (273, 4, 1, 122), (279, 4, 1, 16), tail=bytes(16))[:cut])
