"""One reader: files, the Python API and training see the same pixels, and nothing hostile is opened or decoded."""

import io
import os
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, ImageOps, TiffImagePlugin

from addsr_jax import installation
from addsr_jax.data import deep, formats, heads, pictures, sources
from addsr_jax.data.batches import Decoded
from addsr_jax.errors import UserError
from addsr_jax.restoration.pipeline import _as_array
from tests.data import icc

GREY = np.arange(20 * 24, dtype=np.uint16).reshape(20, 24).astype(np.uint8)
RGB = np.stack([GREY, 255 - GREY, GREY // 2], axis=2)
ALPHA = np.where(np.arange(24) < 12, 255, np.arange(24) * 5).astype(np.uint8)[None].repeat(20, axis=0)
RGBA = np.concatenate([RGB, ALPHA[..., None]], axis=2)
FEW = RGB // 64 * 64  # 16 colours at most, which a palette holds


def repeated(grey):
    return np.repeat(grey[..., None], 3, axis=2)


def on_white(rgb, alpha):
    """By the formula, in floats."""
    part = alpha[..., None] / 255
    return np.rint(rgb * part + 255 * (1 - part)).astype(np.uint8)


def encoded(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def picture(values, mode=None, **options):
    image = Image.fromarray(values)
    return encoded(image.convert(mode) if mode else image, **options)


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def png(width, height, depth, colour, rows, *others):
    """A PNG by hand, of a size or of chunks that Pillow would not write."""
    header = struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, 0)
    parts = [chunk(b'IHDR', header), *others, chunk(b'IDAT', zlib.compress(rows)), chunk(b'IEND', b'')]
    return b'\x89PNG\r\n\x1a\n' + b''.join(parts)


def clear_colour_of_16_bits():
    rows = b''.join(b'\0' + (row.astype('>u2') * 257).tobytes() for row in GREY)
    return png(24, 20, 16, 0, rows, chunk(b'tRNS', struct.pack('>H', 7 * 257)))


def with_chunks(png, other, kind):
    """A PNG with the chunks of that kind of another, after its head."""
    at, found = 8, b''
    while at < len(other):
        size = 12 + int.from_bytes(other[at : at + 4], 'big')
        found += other[at : at + size] if other[at + 4 : at + 8] == kind else b''
        at += size
    return png[:33] + found + png[33:]


def turned_png(data, orientation):
    return with_chunks(data, picture(GREY, format='PNG', exif=exif(orientation)), b'eXIf')


def retagged(data, **values):
    """A TIFF with other numbers in tags that it has."""
    data, wanted = bytearray(data), {ExifTags.Base[name]: value for name, value in values.items()}
    tags = int.from_bytes(data[4:8], 'little')
    for i in range(int.from_bytes(data[tags : tags + 2], 'little')):
        at = tags + 2 + 12 * i
        tag = int.from_bytes(data[at : at + 2], 'little')
        if tag in wanted:
            data[at + 2 : at + 12] = struct.pack('<HII', 4, 1, wanted[tag])
    return bytes(data)


def premultiplied_tiff():
    times = DEEP_RGBA * (np.dstack([ALPHA] * 3 + [ALPHA * 0 + 255]) / 255)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    return retagged(deep.encoded_tiff(np.rint(times).astype(np.uint16), tags), ExtraSamples=1)


def turned_tiff(values, orientation):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[274] = orientation
    return deep.encoded_tiff(values, tags)


def turned(rgb, orientation):
    return np.asarray(
        ImageOps.exif_transpose(Image.open(io.BytesIO(picture(rgb, format='PNG', exif=exif(orientation)))))
    )


def in_srgb(rgb):
    """As Pillow converts the wide profile."""
    ends = ImageCms.ImageCmsProfile(io.BytesIO(icc.wide())), ImageCms.createProfile('sRGB')
    return np.asarray(ImageCms.profileToProfile(Image.fromarray(rgb), *ends, renderingIntent=1))


def animation():
    frames = [Image.fromarray(part) for part in (GREY, 255 - GREY)]
    return encoded(frames[0], format='GIF', save_all=True, append_images=frames[1:])


def damaged_exif(kind):
    return picture(
        RGB, format=kind, exif=b'Exif\0\0MM\0\xaa\0\0\0\x08', **({'lossless': True} if kind == 'WEBP' else {})
    )


def inverted_tiff(values):
    """0 is white (PhotometricInterpretation 0)."""
    return encoded(Image.fromarray(values), format='TIFF', tiffinfo={262: 0})


def opencv(values, ending='.png'):
    order = {2: None, 3: [2, 1, 0], 4: [2, 1, 0, 3]}[2 if values.ndim == 2 else values.shape[2]]
    return cv2.imencode(ending, values if order is None else values[..., order])[1].tobytes()


def deep_grey_with_alpha():
    rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in np.dstack([DEEP, ALPHA.astype(np.uint16) * 257]))
    return png(24, 20, 16, 4, rows)


def clear_colour_of_48_bits():
    clear = struct.pack('>HHH', *(int(v) * 257 for v in RGB[0, 7]))
    rows = b''.join(b'\0' + (row.astype('>u2') * 257).tobytes() for row in RGB)
    return png(24, 20, 16, 2, rows, chunk(b'tRNS', clear))


DEEP = GREY.astype(np.uint16) * 257
DEEP_RGB, DEEP_RGBA = RGB.astype(np.uint16) * 257, RGBA.astype(np.uint16) * 257
assert formats.readable()  # makes HEIC known to Pillow
HEIC = picture(FEW, format='HEIF', quality=100, chroma=444)
# kind -> (file, its pixels, the most that they may differ)
KINDS = {
    'grey': (picture(GREY, format='PNG'), repeated(GREY), 0),
    'colours': (picture(RGB, format='PNG'), RGB, 0),
    'bitmap': (picture(RGB, format='BMP'), RGB, 0),
    'portable': (picture(RGB, format='PPM'), RGB, 0),
    'targa': (picture(RGB, format='TGA'), RGB, 0),
    'lossless webp': (picture(RGB, format='WEBP', lossless=True), RGB, 0),
    'tiff': (picture(RGB, format='TIFF', compression='tiff_lzw'), RGB, 0),
    'alpha': (picture(RGBA, format='PNG'), on_white(RGB, ALPHA), 1),
    'grey with alpha': (picture(np.stack([GREY, ALPHA], 2), format='PNG'), on_white(repeated(GREY), ALPHA), 1),
    'one clear grey': (
        picture(GREY, format='PNG', transparency=7),
        repeated(np.where(GREY == 7, 255, GREY).astype(np.uint8)),
        0,
    ),
    'one clear 16-bit grey': (
        clear_colour_of_16_bits(),
        repeated(np.where(GREY == 7, 255, GREY).astype(np.uint8)),
        0,
    ),
    'palette': (encoded(Image.fromarray(FEW).quantize(64), format='PNG'), FEW, 0),
    'palette with a clear colour': (
        encoded(Image.fromarray(GREY).convert('P'), format='PNG', transparency=bytes([0] * 128 + [255] * 128)),
        repeated(np.where(GREY < 128, 255, GREY).astype(np.uint8)),
        0,
    ),
    'one bit': (picture(GREY >= 128, format='PNG'), repeated(np.where(GREY >= 128, 255, 0).astype(np.uint8)), 0),
    '16-bit grey': (picture(DEEP, format='PNG'), repeated(GREY), 0),
    '16-bit grey, rounded': (picture(DEEP | 100, format='PNG'), repeated(np.rint((DEEP | 100) / 257)), 0),
    '16-bit portable grey': (picture(DEEP, format='PPM'), repeated(GREY), 0),
    '16-bit tiff': (picture(DEEP, format='TIFF'), repeated(GREY), 0),
    '16-bit tiff where 0 is white': (inverted_tiff(DEEP), repeated(255 - GREY), 0),
    '48 bits': (opencv(DEEP_RGB), RGB, 0),
    '48 bits, rounded': (opencv(DEEP_RGB | 100), np.rint((DEEP_RGB | 100) / 257), 0),
    '64 bits': (opencv(DEEP_RGBA), on_white(RGB, ALPHA), 1),
    '48 bits and a clear colour': (
        clear_colour_of_48_bits(),
        np.where((RGB[0, 7] == RGB).all(-1, keepdims=True), 255, RGB).astype(np.uint8),
        0,
    ),
    '16-bit grey with alpha': (deep_grey_with_alpha(), on_white(repeated(GREY), ALPHA), 1),
    '48-bit tiff': (opencv(DEEP_RGB, '.tiff'), RGB, 0),
    **{f'48-bit tiff, turned {n}': (turned_tiff(DEEP_RGB, n), turned(RGB, n), 0) for n in range(1, 9)},
    'floats of colours, turned': (turned_tiff(RGB.astype(np.float32), 7), turned(RGB, 7), 0),
    '64-bit tiff of colours times alpha': (premultiplied_tiff(), on_white(RGB, ALPHA), 1),
    '48-bit portable': (b'P6\n24 20\n65535\n' + DEEP_RGB.astype('>u2').tobytes(), RGB, 0),
    'turned 48 bits': (turned_png(opencv(DEEP_RGB), 6), RGB[::-1].swapaxes(0, 1), 0),
    'floats of colours': (opencv(RGB.astype(np.float32) / 255, '.tiff'), RGB, 0),
    'floats of colours to 255': (opencv(RGB.astype(np.float32), '.tiff'), RGB, 0),
    'heic': (HEIC, FEW, 12),
    'wide colours': (picture(RGB, format='PNG', icc_profile=icc.wide()), in_srgb(RGB), 1),
    '48 bits of wide colours': (
        with_chunks(opencv(DEEP_RGB), picture(RGB, format='PNG', icc_profile=icc.wide()), b'iCCP'),
        in_srgb(RGB),
        2,
    ),
    'floats of 0 to 1': (picture(GREY.astype(np.float32) / 255, format='TIFF'), repeated(GREY), 0),
    'floats of 0 to 255': (picture(GREY.astype(np.float32), format='TIFF'), repeated(GREY), 0),
    'print colours': (picture(FEW, 'CMYK', format='TIFF'), FEW, 0),
    'animation': (animation(), repeated(GREY), 0),
    'turned': (picture(RGB, format='PNG', exif=exif(6)), RGB[::-1].swapaxes(0, 1), 0),
    'turned grey of 16 bits': (picture(DEEP, format='PNG', exif=exif(8)), repeated(GREY.T[::-1]), 0),
    'turned tiff': (picture(RGB, format='TIFF', tiffinfo={274: 6}), RGB[::-1].swapaxes(0, 1), 0),
    'damaged exif': (damaged_exif('WEBP'), RGB, 0),
    'photograph': (picture(FEW, format='JPEG', quality=100, subsampling=0), FEW, 8),
}


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF', 'AVIF', 'HEIF'])
def test_the_head_of_a_file_says_how_large_it_is_when_it_stands_upright(tmp_path, kind, orientation):
    path = tmp_path / f'a.{kind.lower()}'
    path.write_bytes(picture(RGB, format=kind, exif=exif(orientation)))
    height, width = pictures.read(path).shape[:2]
    assert heads.head_of(path) == heads.Head((width, height), bits=8)


def test_the_head_of_a_file_says_whether_it_has_more_than_eight_bits(tmp_path):
    path = tmp_path / 'a.png'
    path.write_bytes(picture(DEEP, format='PNG'))
    assert heads.head_of(path) == heads.Head(DEEP.shape[::-1], bits=16)
    path.write_bytes(opencv(DEEP_RGB))
    assert heads.head_of(path) == heads.Head(DEEP.shape[::-1], bits=16)
    path.write_bytes(b'none')
    assert heads.head_of(path) is None


@pytest.mark.parametrize('kind', KINDS)
def test_files_the_python_api_and_training_see_the_same_right_pixels(kind, tmp_path):
    data, wanted, tolerance = KINDS[kind]
    path = tmp_path / 'x.png'  # the content decides, whatever the ending
    path.write_bytes(data)
    seen = pictures.read(path)
    assert (seen.dtype, seen.shape) == (np.uint8, wanted.shape)
    assert np.abs(seen.astype(int) - wanted.astype(int)).max() <= tolerance
    np.testing.assert_array_equal(pictures.decode(data, 'x'), seen)
    np.testing.assert_array_equal(Decoded(sources.folder(str(tmp_path)))[0]['image'], seen)
    if not kind.startswith(
        ('48', '64', 'turned 48', 'floats of colours')
    ):  # which Pillow makes 8 bits of, or does not open
        with Image.open(path) as opened:
            away = np.abs(_as_array(opened).astype(int) - seen)
        assert away.max() <= ('bits' in kind)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_every_orientation_is_turned_as_pillow_turns_it(orientation):
    data = picture(RGB, format='PNG', exif=exif(orientation))
    with Image.open(io.BytesIO(data)) as opened:
        np.testing.assert_array_equal(pictures.decode(data, 'x'), np.asarray(ImageOps.exif_transpose(opened)))


@pytest.mark.parametrize('orientation', [0, 9])
def test_an_orientation_that_is_none_turns_nothing(orientation):
    np.testing.assert_array_equal(pictures.decode(picture(RGB, format='PNG', exif=exif(orientation)), 'x'), RGB)


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP'])
def test_pixels_are_read_where_only_the_exif_is_damaged(kind):
    assert pictures.decode(damaged_exif(kind), 'x').shape == RGB.shape


POSTSCRIPT = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n'
NAN = np.full((20, 24), np.nan, np.float32)
REFUSED = {
    'not a number among colours': (opencv(NAN[..., None].repeat(3, 2), '.tiff'), 'not finite'),
    'a truncated picture of 48 bits': (
        opencv(np.random.default_rng(0).integers(0, 65536, (64, 64, 3)).astype(np.uint16))[:-999],
        'cannot be read',
    ),
    'a truncated tiff of floats': (opencv(RGB.astype(np.float32), '.tiff')[:-400], 'cannot be read'),
    'floats of a huge size': (
        retagged(opencv(RGB.astype(np.float32), '.tiff'), ImageWidth=60000, ImageLength=60000),
        'more than 178956970 pixels',
    ),
    'a truncated HEIC': (HEIC[:-60], 'cannot be read'),
    'nothing': (b'', 'it is no JPEG'),
    'text': (b'Dear reader, this is no picture.\n' * 9, 'it is no JPEG'),
    'PostScript': (POSTSCRIPT, 'it is no JPEG'),
    'a PDF': (b'%PDF-1.4\n%%EOF\n', 'it is no JPEG'),
    'a video': (b'\x00\x00\x01\xb3\x01\x00\x10\x13' + bytes(99), 'it is no JPEG'),
    'a broken header': (b'\x89PNG\r\n\x1a\n broken', 'cannot be read'),
    'a huge size': (png(60000, 60000, 8, 0, b''), 'more than 178956970 pixels'),
    'a size above the limit alone': (png(14000, 13000, 1, 0, b''), 'more than 178956970 pixels'),
    'a truncated PNG': (picture(RGB, format='PNG')[:-60], 'cannot be read'),
    'a truncated JPEG': (picture(RGB, format='JPEG')[:-60], 'truncated'),
    'a truncated WebP': (picture(RGB, format='WEBP')[:-60], 'cannot be read'),
    'a truncated AVIF': (picture(RGB, format='AVIF')[:-60], 'cannot be read'),
    'a TIFF without pixels': (picture(RGB, format='TIFF')[:200], 'cannot be read'),
    'not a number': (picture(NAN, format='TIFF'), 'not finite'),
    'infinity': (picture(NAN * 0 + np.float32(np.inf), format='TIFF'), 'not finite'),
    'floats beyond white': (picture(GREY.astype(np.float32) * 9, format='TIFF'), 'beyond 0 to 255'),
    'negative numbers': (picture(GREY.astype(np.int32) - 9, format='TIFF'), 'beyond 0 to 65535'),
}


@pytest.mark.parametrize('kind', REFUSED)
def test_what_is_no_picture_is_one_line_with_the_name(kind, tmp_path):
    data, message = REFUSED[kind]
    path = tmp_path / 'x.jpg'
    path.write_bytes(data)
    for call in (lambda: pictures.read(path), lambda: pictures.decode(data, str(path))):
        with pytest.raises(UserError, match=message) as caught:
            call()
        assert str(caught.value).startswith(f'{path} cannot be read as an image: ')
        assert len(str(caught.value).splitlines()) == 1


def test_a_large_picture_below_the_limit_brings_no_warning(monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 300)  # Pillow warns from here on; 600 is its error
    assert pictures.decode(picture(RGB, format='PNG'), 'x').shape == RGB.shape


@pytest.mark.parametrize(
    'error',
    [SyntaxError, TypeError, NotImplementedError, struct.error, MemoryError, EOFError, ZeroDivisionError, KeyError],
)
def test_whatever_a_decoder_raises_is_one_short_line_that_a_terminal_can_print(error, monkeypatch):
    def fails(*_):
        raise error('\x1b[31mred\nnext ' + 'long ' * 99)

    monkeypatch.setattr(pictures.Image.Image, 'load', fails)
    with pytest.raises(UserError) as caught:
        pictures.from_pillow(Image.new('RGB', (9, 9)), 'a\x1bb\n.png')
    text = str(caught.value)
    assert text.startswith('a\\x1bb .png cannot be read as an image: ')
    assert text.isprintable()
    assert len(text) < 250


def test_a_decoder_without_words_is_named_by_the_kind_of_its_error(monkeypatch):
    def fails(*_):
        raise MemoryError

    monkeypatch.setattr(pictures.Image.Image, 'load', fails)
    with pytest.raises(UserError, match='x cannot be read as an image: MemoryError'):
        pictures.from_pillow(Image.new('RGB', (9, 9)), 'x')


def test_a_damaged_length_inside_a_file_reserves_no_memory(tmp_path):
    data = bytearray(picture(RGB, format='PNG'))
    data[data.index(b'IDAT') - 4] = 0xFF  # the pixels are whole, and said to be 4 GB
    (tmp_path / 'x.png').write_bytes(data)
    check = (
        'import resource, sys\nfrom pathlib import Path\nfrom addsr_jax.data import pictures\n'
        'resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))\n'
        'sys.stdout.buffer.write(pictures.read(Path(sys.argv[1])).tobytes())\n'
    )
    ran = subprocess.run([sys.executable, '-c', check, tmp_path / 'x.png'], capture_output=True, check=True)
    assert ran.stdout == RGB.tobytes()


def test_missing_files_pipes_and_folders_are_refused_without_opening_them(tmp_path):
    os.mkfifo(tmp_path / 'pipe.png')
    for name, message in (('pipe.png', 'no regular file'), ('', 'no regular file'), ('gone.png', 'No such file')):
        with pytest.raises(UserError, match=message):
            pictures.read(tmp_path / name)


def test_endings_are_those_that_pillow_knows_for_each_format():
    assert formats.readable()
    known = Image.registered_extensions()
    for format_, endings in formats.FORMATS.items():
        assert {known[ending] for ending in endings} == {format_}


def test_no_format_that_starts_a_program_or_leaves_pixels_to_another_library_is_read():
    assert not set(formats.FORMATS) & {'EPS', 'PDF', 'MPEG', 'HDF5', 'GRIB', 'BUFR', 'WMF', 'FITS'}


def test_the_limit_of_pixels_is_the_caller_s_and_above_pillow_s_own(monkeypatch):
    data = picture(RGB, format='PNG')
    with pytest.raises(UserError, match=r'more than 479 pixels, the most that is read \(addsr upscale --max_pixels'):
        pictures.decode(data, 'x', limit=479)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)  # Pillow refuses twice as many
    assert pictures.decode(data, 'x', limit=480).shape == RGB.shape
    assert Image.MAX_IMAGE_PIXELS == 100


def test_without_pillow_heif_its_files_say_how_to_install_it(monkeypatch):
    monkeypatch.setattr(formats, 'has_heif', lambda: False)
    monkeypatch.setattr(formats, 'readable', lambda: ('JPEG', 'PNG'))
    monkeypatch.setattr(installation, 'origin', lambda: ('', {}))  # as if pip had been given the package's name
    with pytest.raises(UserError, match=r"x cannot be read as an image: .* pip install 'addsr-jax\[heic\]'"):
        pictures.decode(HEIC, 'x')


def test_of_several_frames_or_pages_the_first_is_read_and_the_others_are_said():
    pages = encoded(Image.fromarray(GREY), format='TIFF', save_all=True, append_images=[Image.fromarray(GREY)])
    assert pictures.decode_picture(pages, 'x').remarks == ('the first of 2 pages',)
    for name, (data, _, _) in KINDS.items():
        remarks = pictures.decode_picture(data, 'x').remarks
        assert ('the first of 2 frames' in remarks) == (name == 'animation')


@pytest.mark.parametrize('kind', ['GIF', 'PNG', 'TIFF', 'WEBP'])
def test_of_a_pillow_image_the_frame_that_it_is_on_is_the_picture_and_it_stays_there(kind):
    frames = [Image.fromarray(part) for part in (FEW, 255 - FEW, FEW[::-1])]
    options = {'lossless': True} if kind == 'WEBP' else {}
    data = encoded(frames[0], format=kind, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(data)) as image:
        for n in (2, 0, 1):
            image.seek(n)
            wanted = np.asarray(image.copy().convert('RGB'))
            picture = pictures.of_pillow(image)
            np.testing.assert_array_equal(picture.rgb, wanted)
            assert np.abs(wanted.astype(int) - np.asarray(frames[n])).mean() < 20
            assert (image.tell(), picture.remarks) == (n, ())
            np.testing.assert_array_equal(np.asarray(image.convert('RGB')), wanted)


def test_filters_of_warnings_are_as_before_after_many_threads_have_read():
    before, data = list(warnings.filters), KINDS['alpha'][0]
    threads = [
        threading.Thread(target=lambda: [pictures.decode(data, 'x') for _ in range(30)], daemon=True) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


def test_the_sample_photographs_are_read_as_opencv_reads_them_but_for_the_one_in_wide_colours():
    for path in (*sources.sample_photos().paths, *sources.held_out().paths):
        theirs = cv2.imread(str(path))
        assert theirs is not None
        if path.name == 'rocket.jpg':
            assert np.abs(pictures.read(path).astype(int) - theirs[..., ::-1]).max() > 20
            continue
        np.testing.assert_array_equal(pictures.read(Path(path)), theirs[..., ::-1])


def test_a_damaged_tiff_is_one_error_and_no_line_of_libtiff_s(capfd):
    stored = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(stored, 'TIFF', compression='tiff_lzw')
    damaged = bytearray(stored.getvalue())
    damaged[40:60] = b'\xff' * 20
    with pytest.raises(UserError, match='cannot be read as an image'):
        pictures.decode(bytes(damaged), 'scan.tif')
    assert capfd.readouterr() == ('', '')
    with pytest.raises(OSError, match='decod'):
        Image.open(io.BytesIO(damaged)).load()
    assert 'Using code not yet in table' in capfd.readouterr().err  # whoever uses Pillow beside us still hears it


def test_pillow_s_log_of_a_damaged_tiff_is_not_shown_and_heard_again_afterwards(capfd, caplog):
    stored = io.BytesIO()
    Image.new('RGB', (8, 8)).save(stored, 'TIFF')
    damaged = bytearray(stored.getvalue())
    samples_per_pixel = damaged.index(struct.pack('<HHI', 277, 3, 1)) + 8
    damaged[samples_per_pixel : samples_per_pixel + 2] = struct.pack('<H', 259)
    with pytest.raises(UserError, match='cannot be read as an image'):
        pictures.decode(bytes(damaged), 'scan.tif')
    assert capfd.readouterr() == ('', '')
    assert not caplog.records
    with pytest.raises(OSError, match='cannot identify'):
        Image.open(io.BytesIO(damaged))
    assert 'More samples per pixel' in caplog.text
