"""Results as files: what a picture's file said is there again, or its loss is said."""

import io
import json

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, PngImagePlugin, TiffImagePlugin

from addsr_jax.data import deep, formats, metadata, pictures, profiles
from addsr_jax.errors import UserError
from addsr_jax.ops import rows as by_rows
from addsr_jax.restoration import results
from addsr_jax.restoration.views import sized
from tests.data import icc, photos

PHOTO = photos.crops(1, 48)[0][:40]
TAGS = ExifTags.Base
LINE = results.line('0.1', 'nano', 'фото.png', '0f', steps=1)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def encoded(image, format='PNG', **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def opened(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def larger(picture):
    """A restoration that loses and adds nothing: the picture twice as large."""
    return results.visible(picture).repeat(2, 0).repeat(2, 1)


def through(data, format=None, made_by=LINE, quality=95, compression=6):
    """(picture, result's file, remarks) of a file that goes in and out."""
    picture = pictures.decode_picture(data, 'x')
    said = {'quality': quality, 'compression': compression, 'made_by': made_by}
    done = results.encode(picture, larger(picture), format=format or picture.format, **said)
    return picture, done.data, done.remarks


def exif():
    tags = Image.Exif()
    tags[TAGS.Orientation], tags[TAGS.Make], tags[TAGS.DateTime] = 6, 'Maker', '2020:01:02 03:04:05'
    tags.get_ifd(ExifTags.IFD.Exif)[TAGS.ExifImageWidth] = 48
    tags.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = 'N'
    return tags


@pytest.mark.parametrize('format', ['JPEG', 'PNG', 'WEBP', 'TIFF', 'AVIF', 'HEIF'])
def test_exif_xmp_and_resolution_are_kept_and_pixels_are_upright(format):
    data = encoded(Image.fromarray(PHOTO), 'JPEG', exif=exif(), xmp=XMP, dpi=(300, 300), quality=100, subsampling=0)
    picture, out, remarks = through(data, format)
    image = opened(out)
    assert image.size == (80, 96)  # turned, twice as large
    found = image.getexif()
    assert (found[TAGS.Make], found[TAGS.DateTime]) == ('Maker', '2020:01:02 03:04:05')
    assert found.get(TAGS.Orientation, 1) == 1
    assert found.get_ifd(ExifTags.IFD.Exif)[TAGS.ExifImageWidth] == 80
    assert found.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == 'N'
    xmp = image.info['xmp'] if format != 'PNG' else image.info['XML:com.adobe.xmp'].encode()
    assert b'tiff:Orientation="1"' in xmp
    dpi = image.info.get('dpi') or (found[TAGS.XResolution], found[TAGS.YResolution])
    assert dpi == pytest.approx((300, 300), abs=0.01)
    assert remarks == ()
    assert np.abs(np.asarray(image.convert('RGB')).astype(int) - larger(picture)).mean() < 6


@pytest.mark.parametrize('format', formats.WRITTEN)
def test_what_made_a_picture_is_in_it_and_no_metadata_leaves_everything_out(format):
    info = PngImagePlugin.PngInfo()
    info.add_text('Title', 'a picture')
    data = encoded(Image.fromarray(PHOTO), exif=exif(), pnginfo=info, dpi=(300, 300))
    image = opened(through(data, format)[1])
    if format == 'PNG':
        assert image.info['Title'] == 'a picture'
        said = image.info['addsr']
    else:
        said = image.getexif().get(TAGS.ProcessingSoftware)
    if format != 'BMP':  # which has no place
        assert json.loads(said) == {
            'addsr': '0.1',
            'weights': 'nano',
            'source': 'фото.png',
            'content': '0f',
            'steps': 1,
        }
    bare = opened(through(data, format, made_by=None)[1])
    assert not set(bare.getexif()) - metadata.OF_PIXELS
    assert not {'dpi', 'xmp', 'XML:com.adobe.xmp', 'Title'} & set(bare.info) or format in ('BMP', 'TIFF')
    assert bare.getexif().get(TAGS.ProcessingSoftware) is None


def test_a_text_that_a_format_has_no_place_for_is_said():
    info = PngImagePlugin.PngInfo()
    info.add_text('Title', 'a picture')
    assert through(encoded(Image.fromarray(PHOTO), pnginfo=info), 'WEBP')[2] == ('WEBP holds no Title',)
    image = opened(through(encoded(Image.fromarray(PHOTO), 'JPEG', comment='hello'))[1])
    assert image.info['comment'] == b'hello'


@pytest.mark.parametrize(
    ('comment', 'is_cut'), [('é'.encode('latin-1') * 40_000, True), ('写'.encode() * 20_000, False)], ids=['é', '写']
)
def test_a_comment_of_more_bytes_than_characters_is_cut_to_what_a_jpeg_takes(comment, is_cut):
    _, out, remarks = through(encoded(Image.fromarray(PHOTO), 'JPEG', comment=comment))
    kept = opened(out).info['comment']
    assert kept == ('é'.encode() * 32_500 if is_cut else comment)
    assert remarks == (('its comment is too long for JPEG and cut',) if is_cut else ())


def test_a_long_comment_of_another_kind_of_file_is_cut_between_characters():
    info = PngImagePlugin.PngInfo()
    info.add_itxt('Comment', '写' * 30_000)
    kept = opened(through(encoded(Image.fromarray(PHOTO), pnginfo=info), 'JPEG')[1]).info['comment']
    assert kept.decode() == '写' * (65_000 // 3)


@pytest.mark.parametrize('format', ['PNG', 'TIFF', 'WEBP'])
def test_transparent_colours_with_a_profile_for_inks_are_no_inks(format):
    image = Image.fromarray(np.dstack([PHOTO, np.full(PHOTO.shape[:2], 90, np.uint8)]))
    picture, out, _ = through(encoded(image, icc_profile=icc.inks()), format)
    assert 'its colour profile is for CMYK and not applied to RGB' in picture.remarks
    image = opened(out)
    assert image.mode == 'RGBA'
    assert 'icc_profile' not in image.info


@pytest.mark.parametrize('format', ['PNG', 'TIFF'])
@pytest.mark.parametrize('channels', [1, 3, 4])
def test_sixteen_bits_come_back_as_they_went_in(format, channels):
    values = np.random.default_rng(0).integers(0, 65536, (20, 24, channels)).astype(np.uint16)
    values[..., 3:] |= 0xF000  # seen
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
    data = cv2.imencode('.png', values[..., order])[1].tobytes()
    picture, out, remarks = through(data, format)
    assert remarks == ()
    again = pictures.decode_picture(out, 'x')
    assert again.rgb.dtype == np.uint16
    assert again.grey == (channels == 1)
    np.testing.assert_array_equal(again.rgb[::2, ::2], picture.rgb)
    if channels == 4:
        assert again.alpha is not None
        assert again.alpha.dtype == np.uint16
    assert pictures.decode_picture(through(data, 'WEBP')[1], 'x').rgb.dtype == np.uint8
    assert 'WEBP is written with 8 bits: 16 are rounded' in through(data, 'WEBP')[2]


@pytest.mark.parametrize('format', ['PNG', 'TIFF'])
@pytest.mark.parametrize('bits', [8, 16])
def test_compression_makes_files_smaller_and_loses_nothing(format, bits):
    values = PHOTO if bits == 8 else PHOTO.astype(np.uint16) * 257
    data = cv2.imencode('.png', values[..., ::-1])[1].tobytes()
    none, usual, most = (through(data, format, compression=level)[1] for level in (0, 6, 9))
    assert len(none) > PHOTO.size * 4 * bits // 8 > len(usual) >= len(most)
    for out in (none, most):
        np.testing.assert_array_equal(pictures.decode_picture(out, 'x').rgb[::2, ::2], values)


@pytest.mark.parametrize('white', [1, 255])
def test_floats_come_back_as_floats(white):
    """With what their file says."""
    values = np.random.default_rng(0).uniform(0, 1, (20, 24, 3)).astype(np.float32) * white
    values[0, 0] = white
    data = cv2.imencode('.tiff', values[..., ::-1])[1].tobytes()
    _, out, remarks = through(data)
    again = deep.decoded(out)
    assert again.dtype == np.float32
    np.testing.assert_allclose(again[::2, ::2], values, atol=white / 65535)
    assert remarks == ()
    assert through(data, 'PNG')[2] == ()
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[TAGS.Orientation], tags[TAGS.Make], tags[TAGS.InterColorProfile] = 6, 'Maker', icc.wide()
    picture, out, _ = through(deep.encoded_tiff(values, tags))
    assert picture.size == (20, 24)
    found = Image.Exif()
    found.load_from_fp(io.BytesIO(out))
    assert (found[TAGS.Make], found.get(TAGS.Orientation, 1)) == ('Maker', 1)
    assert found[TAGS.InterColorProfile] == icc.wide()
    assert json.loads(found[TAGS.ProcessingSoftware])['addsr'] == '0.1'


@pytest.mark.parametrize('channels', [1, 3, 4])
def test_what_made_a_result_of_floats_is_found_in_it(tmp_path, channels):
    values = np.random.default_rng(0).uniform(0, 1, (20, 24, channels)).astype(np.float32)
    path = tmp_path / 'x.tif'
    path.write_bytes(through(cv2.imencode('.tiff', values)[1].tobytes())[1])
    assert results.made_by(path) == LINE
    path.write_bytes(b'II*\0damaged')
    assert results.made_by(path) is None


@pytest.mark.parametrize('format', ['PNG', 'JPEG', 'WEBP', 'TIFF', 'AVIF', 'HEIF'])
def test_a_viewer_sees_the_colours_of_a_wide_profile_as_before(format):
    shown = photos.crops(1, 32)[0]
    shown[:8] = (0, 255, 0)  # a green that sRGB lacks
    data = encoded(Image.fromarray(shown), icc_profile=icc.wide())
    picture, out, remarks = through(data, format, quality=100)
    image = opened(out)
    assert image.info['icc_profile'] == icc.wide()
    assert remarks == ()
    assert (picture.rgb[:8] == (0, 255, 0)).all()
    away = np.abs(np.asarray(image.convert('RGB'))[::2, ::2].astype(int) - shown)
    tolerance = 2 if format in ('PNG', 'TIFF', 'WEBP') else 6
    assert np.delete(away, (7, 8), axis=0).max() <= tolerance  # not where what sRGB lacks ends


def test_sixteen_bits_of_a_wide_profile_keep_their_steps():
    """Through 8 bits a ramp would keep 256 steps."""
    ramp = np.linspace(8000, 50000, 600).astype(np.uint16)[None, :, None].repeat(8, 0).repeat(3, 2)
    ramp[..., 1] //= 2
    data = cv2.imencode('.png', ramp[..., ::-1])[1].tobytes()
    iccp = encoded(Image.new('L', (1, 1)), icc_profile=icc.wide())
    at = iccp.index(b'iCCP') - 4
    size = 12 + int.from_bytes(iccp[at : at + 4], 'big')
    picture, out, _ = through(data[:33] + iccp[at : at + size] + data[33:])
    assert len(np.unique(picture.rgb[0, :, 0])) == 600
    again = deep.decoded(out)
    assert np.abs(again[::2, ::2].astype(int) - ramp).max() <= 8
    eight = profiles.to_srgb(pictures.eight_bits(ramp), icc.wide())[0]
    assert np.abs(pictures.eight_bits(picture.rgb).astype(int) - eight).max() <= 1  # as LittleCMS has it


def test_a_broken_profile_is_left_out_and_said():
    picture, out, _ = through(encoded(Image.fromarray(PHOTO), icc_profile=b'no profile' * 20))
    assert picture.remarks == ('its colour profile is broken and left out',)
    np.testing.assert_array_equal(picture.rgb, PHOTO)
    assert 'icc_profile' not in opened(out).info


def test_a_profile_of_lab_is_left_out_and_not_called_broken():
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile('LAB')).tobytes()
    picture, out, _ = through(encoded(Image.fromarray(PHOTO), icc_profile=lab))
    assert picture.remarks == ('its colour profile is for Lab, not for RGB, and left out',)
    assert 'icc_profile' not in opened(out).info


def test_a_profile_for_another_kind_of_colours_is_said_and_kept():
    srgb = profiles.srgb()
    picture, out, _ = through(encoded(Image.fromarray(PHOTO[..., 0]), icc_profile=srgb))
    assert picture.remarks == ('its colour profile is for RGB and not applied to L',)
    assert opened(out).info['icc_profile'] == srgb


@pytest.mark.parametrize('format', ['JPEG', 'TIFF', 'PNG'])
def test_print_colours_without_a_profile_become_srgb_and_it_is_said(format):
    inks = np.asarray(Image.fromarray(PHOTO).convert('CMYK'))
    data = encoded(Image.frombytes('CMYK', (48, 40), inks.tobytes()), 'TIFF')
    picture, out, _ = through(data, format, quality=100)
    assert opened(out).mode == 'RGB'
    assert picture.remarks == ('its print colours have no profile: the result is in sRGB',)
    assert np.abs(np.asarray(opened(out).convert('RGB'))[::2, ::2].astype(int) - PHOTO).mean() < 4


@pytest.mark.parametrize('format', ['JPEG', 'TIFF', 'PNG'])
def test_print_colours_go_through_their_profile_and_back_where_the_format_holds_them(format):
    inks = np.clip(255 - PHOTO[::2, ::2].repeat(2, 0).repeat(2, 1), 0, 255)
    inks = np.dstack([inks, np.zeros(PHOTO.shape[:2], np.uint8)])
    data = encoded(Image.frombytes('CMYK', (48, 40), inks.tobytes()), 'TIFF', icc_profile=icc.inks())
    picture, out, remarks = through(data, format, quality=100)
    assert picture.remarks == ()
    seen = pictures.decode(out, 'x')
    assert np.abs(seen[::2, ::2].astype(int) - picture.rgb).mean() < 4
    if format == 'PNG':
        assert remarks == ('PNG holds no CMYK: the result is in sRGB',)
        assert opened(out).mode == 'RGB'
    else:
        assert remarks == ()
        assert opened(out).mode == 'CMYK'
        assert opened(out).info['icc_profile'] == icc.inks()


@pytest.mark.parametrize('format', formats.WRITTEN)
def test_grey_stays_grey(format):
    out = opened(through(encoded(Image.fromarray(PHOTO[..., 0])), format)[1])
    values = np.asarray(out.convert('RGB')).astype(int)
    assert np.abs(values - values[..., :1]).max() <= (format == 'WEBP')  # its own colours are not whole
    if 'L' in formats.WRITTEN[format].modes and format != 'HEIF':
        assert out.mode == 'L'


def deep_grey_with_alpha(profile=b''):
    """As a TIFF."""
    values = np.full((16, 16, 2), 20_000, np.uint16)
    values[:8, :, 1] = 65_535
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    if profile:
        tags[TAGS.InterColorProfile] = profile
    return deep.encoded_tiff(values, tags)


@pytest.mark.parametrize('format', ['PNG', 'TIFF', 'HEIF', 'WEBP', 'JPEG'])
@pytest.mark.parametrize('bits', [8, 16])
def test_grey_with_alpha_and_a_profile_of_grey_has_its_tone_in_any_kind_of_result(format, bits):
    data = deep_grey_with_alpha(icc.grey())
    if bits == 8:
        data = encoded(Image.new('LA', (16, 16), (78, 255)), icc_profile=icc.grey())
    picture, out, _ = through(data, format, quality=100)
    seen = pictures.decode_picture(out, 'x')
    assert not [remark for remark in seen.remarks if 'profile' in remark]
    assert profiles.space(seen.profile) == ('L' if seen.grey else 'RGB')
    tone = pictures.eight_bits(picture.rgb)[0, 0].astype(int)
    assert tone[0] > 140  # 78 in linear light
    assert np.abs(pictures.eight_bits(seen.rgb)[0, 0] - tone).max() <= 2


def test_pillow_s_result_of_deep_grey_with_alpha_is_grey_with_alpha_in_its_profile():
    picture = pictures.decode_picture(deep_grey_with_alpha(icc.grey()), 'x')
    image = results.pillow(picture, picture.rgb)
    assert (image.mode, image.info['icc_profile']) == ('LA', icc.grey())
    assert image.getpixel((0, 0)) == (78, 255)


@pytest.mark.parametrize('profile', [b'', icc.grey()])
def test_pillow_s_result_of_deep_grey_has_its_profile_exif_and_resolution(profile):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[TAGS.Make], tags[TAGS.XResolution], tags[TAGS.YResolution] = 'Maker', 300.0, 300.0
    tags[TAGS.ResolutionUnit] = 2
    if profile:
        tags[TAGS.InterColorProfile] = profile
    picture = pictures.decode_picture(deep.encoded_tiff(np.full((16, 16, 1), 20_000, np.uint16), tags), 'x')
    image = results.pillow(picture, picture.rgb)
    assert (image.mode, image.getpixel((0, 0))) == ('I;16', 20_000)
    assert image.info.get('icc_profile', b'') == profile
    assert image.info['dpi'] == (300, 300)
    assert image.getexif()[TAGS.Make] == 'Maker'


def test_a_profile_that_was_not_applied_to_grey_is_not_applied_to_its_result_of_three_channels():
    grey = Image.new('L', (16, 16), 78)
    picture, out, _ = through(encoded(grey, icc_profile=icc.wide(gamma=1.0)), 'WEBP', quality=100)
    assert picture.remarks == ('its colour profile is for RGB and not applied to L',)
    assert np.abs(pictures.decode(out, 'x').astype(int) - 78).max() <= 1


def logo():
    """White on nothing, as logos are, over a hidden black."""
    alpha = np.zeros((40, 48), np.uint8)
    cv2.circle(alpha, (24, 20), 12, 255, -1, cv2.LINE_AA)
    return np.dstack([np.repeat(np.where(alpha > 0, 255, 0).astype(np.uint8)[..., None], 3, 2), alpha])


@pytest.mark.parametrize('format', ['PNG', 'WEBP', 'TIFF', 'AVIF', 'HEIF'])
def test_transparency_is_kept_and_what_is_hidden_does_not_show_at_its_edges(format):
    picture, out, remarks = through(encoded(Image.fromarray(logo())), format)
    assert remarks == ()
    image = opened(out)
    assert image.mode == 'RGBA'
    values = np.asarray(image)
    assert abs(int(values[..., 3].astype(int).sum()) // 4 - int(logo()[..., 3].astype(int).sum())) < 3000
    assert values[..., :3][values[..., 3] > 0].min() >= 250
    assert results.visible(picture).min() == 255


def test_colours_spread_from_what_is_seen():
    rgba = np.zeros((33, 47, 4), np.uint8)
    rgba[:, :20] = (200, 30, 60, 255)
    rgba[:, 27:] = (10, 220, 90, 255)
    seen = results.visible(pictures.decode_picture(encoded(Image.fromarray(rgba)), 'x'))
    np.testing.assert_array_equal(seen[:, :20], rgba[:, :20, :3])
    assert (np.abs(seen[:, 20:23].astype(int) - (200, 30, 60)).max(), seen.min()) < (80, 1) or seen.min() >= 10


def test_a_nearly_invisible_colour_that_srgb_lacks_stays_nearly_invisible_on_white():
    for alpha in (3, 128, 255):
        green = Image.new('RGBA', (16, 16), (0, 255, 0, alpha))
        out = through(encoded(green, icc_profile=icc.wide()), 'JPEG', quality=100)[1]
        on_white = np.array((0, 255, 0)) * alpha / 255 + 255 - alpha
        assert np.abs(np.asarray(opened(out)).mean((0, 1)) - on_white).max() <= 2


@pytest.mark.parametrize('format', ['JPEG', 'BMP'])
def test_where_a_format_holds_no_transparency_it_is_on_white_and_said(format):
    data = encoded(Image.fromarray(np.dstack([PHOTO, np.full((40, 48), 0, np.uint8)])))
    _, out, remarks = through(data, format)
    assert remarks == (f'{format} holds no transparency: it is on white',)
    assert np.asarray(opened(out)).min() >= 250


def test_what_is_half_transparent_everywhere_is_on_white_and_said_and_what_is_opaque_says_nothing():
    for alpha, said in ((128, ('JPEG holds no transparency: it is on white',)), (255, ())):
        data = encoded(Image.new('RGBA', (16, 16), (200, 30, 30, alpha)))
        assert through(data, 'JPEG')[2] == said


def test_hidden_colours_do_not_show_where_even_they_are_not_wholly_transparent():
    faint = logo()
    faint[..., 3] = np.maximum(faint[..., 3], 1)
    picture = pictures.decode_picture(encoded(Image.fromarray(faint)), 'x')
    enlarged = sized(results.visible(picture), 192, 160)
    seen = pictures.shown(pictures.Picture(enlarged, sized(picture.alpha, 192, 160)))
    assert seen.min() > 240  # with the hidden black 229


def test_whatever_an_encoder_raises_is_one_line_and_nothing_is_written(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise struct_error

    struct_error = ValueError('too\nlong')
    monkeypatch.setattr(results.Image.Image, 'save', fails)
    picture = pictures.Picture(PHOTO)
    with pytest.raises(UserError, match=r'x\.png cannot be written as PNG: too long'):
        results.write(tmp_path / 'x.png', picture, PHOTO, format='PNG', quality=95, compression=6, made_by=None)
    assert not list(tmp_path.iterdir())


def test_damaged_parts_beside_the_pixels_are_said_and_the_rest_is_kept():
    data = encoded(Image.fromarray(PHOTO), 'JPEG', exif=b'Exif\0\0MM\0\xaa\0\0\0\x08' + b'x' * 30, xmp=XMP)
    picture = pictures.decode_picture(data, 'x')
    assert picture.remarks == ('its EXIF is damaged and left out',)
    assert picture.beside.xmp == XMP.replace(b'"6"', b'"1"')


def test_exif_that_is_too_long_for_a_jpeg_is_left_out_and_said():
    tags = exif()
    tags[TAGS.ImageDescription] = 'x' * 70_000
    _, out, remarks = through(encoded(Image.fromarray(PHOTO), 'PNG', exif=tags), 'JPEG')
    assert remarks == ('its EXIF is too long for JPEG and left out',)
    assert opened(out).size == (80, 96)


def test_of_exif_that_is_too_long_for_a_jpeg_what_made_the_result_is_kept(tmp_path):
    tags = exif()
    tags[TAGS.ImageDescription] = 'x' * 70_000
    data, path = encoded(Image.fromarray(PHOTO), 'PNG', exif=tags), tmp_path / 'x.jpg'
    path.write_bytes(through(data, 'JPEG')[1])
    assert results.made_by(path) == LINE
    path.write_bytes(through(data, 'JPEG', made_by=None)[1])
    assert not opened(path.read_bytes()).getexif()


IPTC = b'\x1c\x02\x05\0\x05Title'
OF_TIFF = {
    'layers': ({37724: b'8BIM' * 20_000}, 'its Photoshop layers are not kept'),
    'map': ({33550: (1.0, 1.0, 0.0), 33922: (0.0,) * 6}, 'its places on the map (GeoTIFF) are not kept'),
    'map turned': ({34264: (1.0,) * 16}, 'its places on the map (GeoTIFF) are not kept'),
    'iptc': ({33723: IPTC}, 'its IPTC data is not kept'),
    'iptc of photoshop': ({34377: b'8BIM\x04\x04\0\0\0\0\0\x0a' + IPTC}, 'its IPTC data is not kept'),
}


@pytest.mark.parametrize('kind', [np.uint8, np.float32])
@pytest.mark.parametrize(('values', 'remark'), OF_TIFF.values(), ids=OF_TIFF)
def test_what_of_a_tiff_describes_its_old_pixels_or_has_no_place_is_left_out_and_said(values, remark, kind):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[TAGS.Make] = 'Maker'
    for tag, value in values.items():
        tags.tagtype[tag] = 7 if isinstance(value, bytes) else 12
        tags[tag] = value
    data = deep.encoded_tiff((PHOTO / 255).astype(kind) if kind == np.float32 else PHOTO, tags)
    picture, out, _ = through(data)
    assert picture.remarks == (remark,)
    found = Image.Exif()
    found.load_from_fp(io.BytesIO(out))
    assert found[TAGS.Make] == 'Maker'
    assert not set(values) & set(found)


def test_photoshop_s_settings_without_iptc_are_left_out_without_a_word():
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags.tagtype[34377] = 7
    tags[34377] = b'8BIM\x04\x04\0\0\0\0\0\0' + b'8BIM\x03\xed\0\0\0\0\0\x02' + IPTC[:2]
    assert through(deep.encoded_tiff(PHOTO, tags))[0].remarks == ()


def test_exif_in_a_text_of_a_png_is_turned_with_the_picture_and_not_kept_twice():
    told = b'Exif\0\0' + exif().tobytes().removeprefix(b'Exif\0\0')
    info = PngImagePlugin.PngInfo()
    info.add_text('Raw profile type exif', f'\nexif\n{len(told):8}\n{told.hex()}\n')
    image = opened(through(encoded(Image.fromarray(PHOTO), pnginfo=info))[1])
    assert image.size == (80, 96)
    assert 'Raw profile type exif' not in image.info
    assert (image.getexif()[TAGS.Make], image.getexif()[TAGS.Orientation]) == ('Maker', 1)


def test_metadata_of_the_caller_s_picture_is_left_alone():
    image = opened(encoded(Image.fromarray(PHOTO), exif=exif()))
    pictures.from_pillow(image)
    assert metadata.orientation(image) == 6


def test_a_profile_is_used_both_ways_as_littlecms_does():
    theirs = ImageCms.profileToProfile(
        Image.fromarray(PHOTO), io.BytesIO(icc.wide()), ImageCms.createProfile('sRGB'), renderingIntent=1
    )
    ours = pictures.decode(encoded(Image.fromarray(PHOTO), icc_profile=icc.wide()), 'x')
    assert np.abs(ours.astype(int) - np.asarray(theirs)).max() <= 1
    assert np.abs(ours.astype(int) - PHOTO).max() > 5


@pytest.mark.parametrize('mode', ['L', 'LA', 'RGB', 'RGBA', 'I;16'])
def test_pillow_s_results_can_be_changed(mode):
    picture = pictures.of_pillow(Image.new(mode, (6, 5), 7 if mode in ('L', 'I;16') else (7,) * len(mode)))
    result = results.pillow(picture, picture.rgb)
    pixels = result.load()
    assert pixels is not None
    pixels[0, 0] = pixels[1, 1]


@pytest.mark.parametrize('kind', [np.uint8, np.uint16])
def test_a_result_is_converted_rows_at_a_time_as_it_is_whole(monkeypatch, kind):
    rng = np.random.default_rng(0)
    white = np.iinfo(kind).max
    rgb, alpha = rng.integers(0, white, (40, 24, 3)).astype(kind), rng.integers(0, white, (40, 24)).astype(kind)
    wide = pictures.Picture(rgb[:10, :6], alpha[:10, :6], False, profile=icc.wide(), native=rgb[10:20, :6])
    whole = [results.encode(wide, rgb, format=f, quality=90, compression=1, made_by=None) for f in ('PNG', 'JPEG')]
    monkeypatch.setattr(by_rows, 'PIXELS', 7 * 24)
    rows = [results.encode(wide, rgb, format=f, quality=90, compression=1, made_by=None) for f in ('PNG', 'JPEG')]
    assert [found.data for found in rows] == [found.data for found in whole]
