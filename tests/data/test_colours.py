"""Colours that are not those of sRGB and that no profile describes are said."""

import struct

import numpy as np
import pytest
from PIL import Image

from addsr_jax.data import pictures, profiles
from tests.data.test_pictures import RGB, chunk, encoded, png

ROWS = b''.join(b'\0' + row.tobytes() for row in RGB)


def gamma(number):
    return chunk(b'gAMA', struct.pack('>I', number))


def cicp(primaries, curve):
    return chunk(b'cICP', bytes([primaries, curve, 0, 1]))


SAID = {
    'linear light': ((gamma(100_000),), 'of gamma 1'),
    'an old Mac': ((gamma(55_556),), 'of gamma 1.8'),
    'HDR': ((cicp(9, 16),), 'BT.2020, PQ'),
    'Display P3': ((cicp(12, 13), gamma(45_455)), 'Display P3'),
    'gamma of sRGB': ((gamma(45_455),), ''),
    'sRGB beside a gamma': ((chunk(b'sRGB', b'\0'), gamma(100_000)), ''),
    'sRGB by its numbers': ((cicp(1, 13), gamma(100_000)), ''),
    'nothing': ((), ''),
}


@pytest.mark.parametrize('kind', SAID)
def test_a_png_of_other_colours_says_so(kind):
    chunks, words = SAID[kind]
    picture = pictures.decode_picture(png(24, 20, 8, 2, ROWS, *chunks), 'x')
    np.testing.assert_array_equal(picture.rgb, RGB)
    assert picture.remarks == ((f'its colours are {words}, which is taken for sRGB',) if words else ())


def test_a_profile_says_more_than_a_gamma():
    data = encoded(Image.fromarray(RGB), format='PNG', icc_profile=profiles.srgb())
    assert pictures.decode_picture(data[:33] + gamma(100_000) + data[33:], 'x').remarks == ()
