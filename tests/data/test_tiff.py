"""TIFFs of many kinds: an extra channel is no transparency, and a kind that is not read is not called damaged."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms

from addsr_jax.data import heads, metadata, pictures
from addsr_jax.errors import PictureError

RGB = np.random.default_rng(0).integers(0, 256, (12, 18, 3)).astype(np.uint8)
DEEP, FLOATS = RGB.astype(np.uint16) * 257, RGB.astype(np.float32) / 255
OF = {'u': 1, 'i': 2, 'f': 3}  # SampleFormat of numpy's kinds
NO_ALPHA = 'its extra channel is no transparency and plays no part'


def tiff(values, photometric=2, big=False, **tags):
    """By hand, as Pillow and OpenCV write few of these: extra=, planar= and orientation= are tags."""
    values = np.atleast_3d(values)
    height, width, channels = values.shape
    raw = values.astype(values.dtype.newbyteorder('<')).tobytes()
    numbers = {256: [width], 257: [height], 258: [8 * values.itemsize] * channels, 259: [1], 262: [photometric]}
    numbers |= {273: [0], 277: [channels], 278: [height], 279: [len(raw)], 339: [OF[values.dtype.kind]] * channels}
    places = {'extra': 338, 'planar': 284, 'orientation': 274}
    numbers |= {places[name]: value if isinstance(value, list) else [value] for name, value in tags.items()}
    head, counts, entry, fits = (b'II+\0\x08\0\0\0' + struct.pack('<Q', 16), 'Q', '<HHQ', 8) if big else (
        b'II*\0' + struct.pack('<I', 8), 'H', '<HHI', 4
    )  # fmt: skip
    directory = struct.pack('<' + counts, len(numbers))
    beyond = len(head) + len(directory) + len(numbers) * (struct.calcsize(entry) + fits) + fits
    far = b''
    numbers[273] = [beyond + sum(2 * len(v) for v in numbers.values() if 2 * len(v) > fits)]
    for tag, value in sorted(numbers.items()):
        packed = struct.pack(f'<{len(value)}H', *value)
        if len(packed) > fits:
            packed, far = struct.pack('<Q', beyond + len(far))[:fits], far + packed
        directory += struct.pack(entry, tag, 3, len(value)) + packed.ljust(fits, b'\0')
    return head + directory + bytes(fits) + far + raw


@pytest.mark.parametrize('values', [RGB, DEEP, FLOATS], ids=['8 bits', '16 bits', 'floats'])
def test_an_extra_channel_that_is_no_alpha_leaves_colours_alone_and_is_said(values):
    picture = pictures.decode_picture(tiff(np.dstack([values, values[..., 0] * 0]), extra=0), 'x')
    assert picture.alpha is None
    np.testing.assert_array_equal(pictures.eight_bits(picture.rgb), RGB)
    assert picture.remarks == (NO_ALPHA,)


@pytest.mark.parametrize('values', [RGB, DEEP, FLOATS], ids=['8 bits', '16 bits', 'floats'])
@pytest.mark.parametrize('kind', [1, 2])
def test_alpha_is_alpha_and_colours_times_alpha_are_divided(values, kind):
    half = np.full_like(values[..., :1], 1 if values.dtype.kind == 'f' else np.iinfo(values.dtype).max) / 2
    stored = np.dstack([values * (0.5 if kind == 1 else 1), half])
    stored = stored if values.dtype.kind == 'f' else np.rint(stored)
    picture = pictures.decode_picture(tiff(stored.astype(values.dtype), extra=kind), 'x')
    assert picture.remarks == ()
    assert picture.alpha is not None
    assert np.abs(pictures.eight_bits(picture.alpha).astype(int) - 128).max() <= 1
    assert np.abs(pictures.eight_bits(picture.rgb).astype(int) - RGB).max() <= 2


def test_floats_a_little_above_1_are_cut_off_and_said():
    for values in (FLOATS * np.float32(1.05), FLOATS[..., 0] * np.float32(1.05)):
        picture = pictures.decode_picture(tiff(values, 2 if values.ndim == 3 else 1), 'x')
        wanted = np.rint(np.minimum(values, 1) * 255)
        seen = pictures.eight_bits(picture.rgb)
        np.testing.assert_allclose(seen if values.ndim == 3 else seen[..., 0], wanted, atol=1)
        assert picture.white == 1
        assert picture.remarks == (f'its values reach to {values.max():g}: what is above 1 is cut off',)


def test_a_few_bright_lights_do_not_darken_a_picture_of_floats():
    values = FLOATS.copy()
    values[:2, :2] = 300
    picture = pictures.decode_picture(tiff(values), 'x')
    np.testing.assert_array_equal(pictures.eight_bits(picture.rgb)[3:], RGB[3:])
    assert picture.remarks == ('its values reach to 300: what is above 1 is cut off',)


def apart(values, **options):
    """A TIFF whose channels lie one after the other, as tifffile writes it."""
    file = io.BytesIO()
    tifffile.imwrite(file, np.moveaxis(values, -1, 0), photometric='rgb', planarconfig='separate', **options)
    return file.getvalue()


@pytest.mark.parametrize('compression', [None, 'zlib'])
@pytest.mark.parametrize('byteorder', ['<', '>'])
@pytest.mark.parametrize('values', [DEEP, FLOATS, FLOATS.astype(np.float64)], ids=['16 bits', 'floats', 'doubles'])
def test_deep_channels_that_lie_apart_are_those_that_lie_together(values, byteorder, compression):
    data = apart(values, byteorder=byteorder, compression=compression, rowsperstrip=5)
    picture = pictures.decode_picture(data, 'x')
    np.testing.assert_array_equal(picture.rgb, pictures.decode_picture(tiff(values), 'x').rgb)
    assert (picture.format, picture.bits, picture.alpha, picture.remarks) == ('TIFF', 16, None, ())


def test_what_stands_beside_channels_that_lie_apart_is_kept_and_the_picture_turned():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    data = apart(DEEP, iccprofile=profile, extratags=[(274, 'H', 1, 6, True), (271, 's', 0, 'Maker', True)])
    picture = pictures.decode_picture(data, 'x')
    np.testing.assert_array_equal(pictures.eight_bits(picture.rgb), np.rot90(RGB, -1))
    assert picture.profile == profile
    assert metadata.opened(picture.beside.exif)[ExifTags.Base.Make] == 'Maker'


def test_alpha_that_lies_apart_is_alpha():
    values = np.dstack([DEEP, DEEP[..., :1]])
    picture = pictures.decode_picture(apart(values, extrasamples=['unassalpha']), 'x')
    np.testing.assert_array_equal(picture.rgb, DEEP)
    np.testing.assert_array_equal(picture.alpha, DEEP[..., 0])


@pytest.mark.parametrize('values', [DEEP, FLOATS], ids=['16 bits', 'floats'])
def test_deep_grey_with_alpha_stays_grey(values):
    picture = pictures.decode_picture(tiff(values[..., :2], 1, extra=2), 'x')
    assert picture.grey
    np.testing.assert_array_equal(pictures.eight_bits(picture.rgb), np.repeat(RGB[..., :1], 3, -1))
    np.testing.assert_array_equal(pictures.eight_bits(picture.alpha), RGB[..., 1])


def test_halves_are_floats_and_more_than_four_channels_are_said():
    picture = pictures.decode_picture(tiff(FLOATS.astype(np.float16)), 'x')
    np.testing.assert_array_equal(pictures.eight_bits(picture.rgb), RGB)
    assert picture.white == 1
    picture = pictures.decode_picture(tiff(np.dstack([DEEP, DEEP[..., :2]]), extra=[0, 0]), 'x')
    np.testing.assert_array_equal(picture.rgb, DEEP)
    assert picture.alpha is None
    assert picture.remarks == ('its 2 extra channels are no transparency and play no part',)


OF_NUMBERS = {'floats': FLOATS, 'halves': FLOATS.astype(np.float16), 'five channels': np.dstack([DEEP, DEEP[..., :2]])}


@pytest.mark.parametrize('orientation', [1, 6])
@pytest.mark.parametrize('kind', OF_NUMBERS)
def test_the_head_of_numbers_that_pillow_does_not_open_says_their_size_upright_and_their_bits(
    tmp_path, kind, orientation
):
    path = tmp_path / 'a.tif'
    path.write_bytes(tiff(OF_NUMBERS[kind], orientation=orientation))
    assert heads.head_of(path) == heads.Head(pictures.open_picture(path).size, 16)
    assert heads.size_of(path) == ((18, 12) if orientation == 1 else (12, 18))


def test_of_a_tiff_of_floats_without_a_size_there_is_no_head(tmp_path):
    path = tmp_path / 'a.tif'
    path.write_bytes(changed(written(FLOATS, photometric='rgb'), 'ImageWidth', [0]))
    assert heads.head_of(path) is None


@pytest.mark.parametrize('values', [DEEP, FLOATS], ids=['16 bits', 'floats'])
def test_the_first_of_several_pages_is_read_and_their_number_said(values):
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for page in (values, values * 0, values * 0):
            writer.write(np.moveaxis(page, -1, 0), photometric='rgb', planarconfig='separate')
    picture = pictures.decode_picture(file.getvalue(), 'x')
    np.testing.assert_array_equal(pictures.eight_bits(picture.rgb), RGB)
    assert picture.remarks == ('the first of 3 pages',)


def written(values, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def changed(data, name, numbers):
    """With other numbers in a tag of the first page, as many as it has."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tag = file.pages.first.tags[name]
        kind = {3: 'H', 4: 'I'}[int(tag.dtype)]
        new = struct.pack(f'<{len(numbers)}{kind}', *numbers)
        return data[: tag.valueoffset] + new + data[tag.valueoffset + len(new) :]


MISREAD = {
    '4 channels of 16-bit numbers that lie apart': written(
        np.zeros((4, 12, 18), np.uint16), photometric='separated', planarconfig='separate'
    ),
    '2 channels of 8-bit numbers that lie apart': written(
        np.zeros((2, 12, 18), np.uint8), photometric='minisblack', planarconfig='separate', extrasamples=['unassalpha']
    ),
    'one channel of 16-bit numbers with signs': written(np.ones((12, 18), np.int16), photometric='minisblack'),
    'one channel of 8-bit numbers with signs': written(np.ones((12, 18), np.int8), photometric='minisblack'),
}


@pytest.mark.parametrize('kind', MISREAD)
def test_what_decoders_would_make_another_picture_of_is_refused(kind):
    with pytest.raises(PictureError, match=f'{kind}, which is not read'):
        pictures.decode_picture(MISREAD[kind], 'x')


@pytest.mark.parametrize('values', [RGB[..., 0], DEEP[..., 0], FLOATS[..., 0]], ids=['8 bits', '16 bits', 'floats'])
@pytest.mark.parametrize('photometric', ['minisblack', 'miniswhite'])
def test_a_single_channel_may_lie_apart(values, photometric):
    data = changed(written(values, photometric=photometric), 'SamplesPerPixel', [1])
    lone = pictures.decode_picture(changed_planar(data), 'x')
    np.testing.assert_array_equal(lone.rgb, pictures.decode_picture(data, 'x').rgb)


def changed_planar(data):
    """The tag SamplesPerPixel's neighbour, of which tifffile writes none for one channel, made by hand."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        at = file.pages.first.tags['RowsPerStrip'].offset
    # PlanarConfiguration (284) in the place of RowsPerStrip (278): all rows are one strip by default
    return data[:at] + struct.pack('<HHIHH', 284, 3, 1, 2, 0) + data[at + 12 :]


def test_a_later_page_that_nobody_reads_leaves_the_first_alone():
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(DEEP[..., 0], photometric='minisblack')
        writer.write(FLOATS.astype(np.float16), photometric='rgb', extratags=[(274, 'H', 1, 6, True)])
    picture = pictures.decode_picture(file.getvalue(), 'x')
    np.testing.assert_array_equal(pictures.eight_bits(picture.rgb), np.repeat(RGB[..., :1], 3, -1))
    assert picture.remarks == ('the first of 2 pages',)


@pytest.mark.parametrize('what', ['StripByteCounts', 'StripOffsets'])
def test_a_strip_that_is_missing_is_damage_and_not_black(what):
    data = apart(DEEP, compression='zlib', rowsperstrip=5)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        numbers = list(file.pages.first.tags[what].value)
    with pytest.raises(PictureError, match='or damaged'):
        pictures.decode_picture(changed(data, what, [*numbers[:-1], 0]), 'x')


def test_a_strip_that_inflates_to_more_than_it_should_hold_is_not_inflated():
    bomb = zlib.compress(bytes(1 << 26), 9)
    data = bytearray(apart(DEEP, compression='zlib'))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        offsets, sizes = (list(file.pages.first.tags[n].value) for n in ('StripOffsets', 'StripByteCounts'))
    moved = changed(bytes(data), 'StripOffsets', [*offsets[:-1], len(data)])
    with pytest.raises(PictureError, match='or damaged'):
        pictures.decode_picture(changed(moved, 'StripByteCounts', [*sizes[:-1], len(bomb)]) + bomb, 'x')


def test_a_file_of_many_channels_is_measured_by_them():
    data = bytearray(written(np.zeros((64, 64, 6), np.uint16), photometric='minisblack', planarconfig='contig'))
    data = changed(changed(bytes(data), 'ImageWidth', [4000]), 'ImageLength', [4000])
    with pytest.raises(PictureError, match='pixels in'):
        pictures.decode_picture(data, 'x')


def test_numbers_that_are_none_in_alpha_are_said(recwarn):
    values = np.dstack([FLOATS, np.full_like(FLOATS[..., :1], np.nan)])
    with pytest.raises(PictureError, match='not finite'):
        pictures.decode_picture(tiff(values, extra=2), 'x')
    assert not recwarn.list


def test_xmp_of_floats_says_that_the_picture_is_upright():
    xmp = b'<x tiff:Orientation="6"/>'
    data = apart(FLOATS, extratags=[(274, 'H', 1, 6, True), (700, 'B', len(xmp), xmp, True)])
    assert pictures.decode_picture(data, 'x').beside.xmp == b'<x tiff:Orientation="1"/>'


def test_a_big_tiff_with_the_high_byte_first_is_named():
    with pytest.raises(PictureError, match='BigTIFF with the high byte first, which is not read'):
        pictures.decode_picture(written(DEEP, photometric='rgb', bigtiff=True, byteorder='>'), 'x')


@pytest.mark.parametrize('seed', range(3))
def test_damage_to_one_whose_channels_lie_apart_is_one_error(seed, capfd):
    data, random = apart(DEEP, compression='zlib'), np.random.default_rng(seed)
    for _ in range(100):
        broken = np.frombuffer(data, np.uint8).copy()
        broken[random.integers(4, broken.size, 3)] = random.integers(0, 256, 3)
        with contextlib.suppress(PictureError):
            pictures.decode_picture(broken.tobytes()[: random.integers(20, len(data) + 1)], 'x')
    assert capfd.readouterr() == ('', '')


def test_one_that_is_packed_in_a_way_that_is_not_read_says_so():
    data = bytearray(apart(DEEP, compression='zlib'))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        tag = file.pages.first.tags['Compression']
        data[tag.valueoffset : tag.valueoffset + 2] = (5).to_bytes(2, 'little')
    with pytest.raises(PictureError, match='save it as RGB or grey of 8 or 16 bits, not compressed'):
        pictures.decode_picture(bytes(data), 'x')


@pytest.mark.parametrize('values', [DEEP, FLOATS], ids=['16 bits', 'floats'])
@pytest.mark.parametrize('orientation', [1, 6])
def test_a_big_tiff_is_read_and_turned_as_a_small_one(values, orientation):
    small, big = (tiff(values, big=big, orientation=orientation) for big in (False, True))
    np.testing.assert_array_equal(pictures.decode(big, 'x'), pictures.decode(small, 'x'))
    assert pictures.decode_picture(big, 'x').remarks == ()


UNREAD = {
    '3 channels of 16-bit numbers with signs': tiff((DEEP >> 1).astype(np.int16)),
    'Lab in 3 channels of 16-bit numbers': tiff(DEEP, 8),
    'CMYK in 4 channels of 32-bit floats': tiff(np.dstack([FLOATS, FLOATS[..., 0]]), 5),
}


@pytest.mark.parametrize('kind', UNREAD)
def test_a_whole_tiff_of_a_kind_that_is_not_read_says_which_and_not_that_it_is_damaged(kind):
    with pytest.raises(PictureError, match=f'it is a TIFF of {kind}, which is not read: save it as RGB or grey'):
        pictures.decode_picture(UNREAD[kind], 'x')


def test_one_that_lacks_pixels_is_damaged():
    with pytest.raises(PictureError, match='or damaged'):
        pictures.decode_picture(UNREAD['Lab in 3 channels of 16-bit numbers'][:-99], 'x')


def test_a_big_tiff_keeps_its_exif():
    file, tags = io.BytesIO(), Image.Exif()
    tags[ExifTags.Base.Make] = 'Maker'
    tags[ExifTags.IFD.Exif] = {ExifTags.Base.DateTimeOriginal: '2020:01:01 00:00:00'}
    Image.fromarray(RGB).save(file, 'TIFF', big_tiff=True, exif=tags.tobytes())
    picture = pictures.decode_picture(file.getvalue(), 'x')
    assert picture.remarks == ()
    kept = metadata.opened(picture.beside.exif)
    assert kept[ExifTags.Base.Make] == 'Maker'
    assert kept.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] == '2020:01:01 00:00:00'
