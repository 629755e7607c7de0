"""Results as files: in the colours, depth and kind of the picture that they are made of, with what its file said."""

import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin

from addsr_jax import atomic, places
from addsr_jax.data import deep, formats, heif, metadata, profiles
from addsr_jax.data.formats import HEIF, WRITTEN
from addsr_jax.data.metadata import TAGS, Beside
from addsr_jax.data.pictures import Picture, eight_bits
from addsr_jax.errors import UserError, printable
from addsr_jax.ops import rows as by_rows
from addsr_jax.ops.enlarged import Enlarged
from addsr_jax.restoration.views import sized

KEY = 'addsr'  # of the text in a PNG that says what made it; elsewhere EXIF's ProcessingSoftware does
SEGMENT = 65_000  # bytes of EXIF, XMP or a comment that a JPEG takes
ROUNDING = 1.5  # levels of 255 between a colour and the same after a way to sRGB and back that are no loss
FINE = 90  # quality from which colours are as fine as light is
TIFF = (b'II*\0', b'MM\0*')  # how a file begins
SEEN = 8  # times its opacity: how far a transparent pixel's own colour counts


@dataclass(frozen=True)
class Encoded:
    """A file's bytes, and what of the picture they do not hold, in words."""

    data: bytes
    remarks: tuple[str, ...]


def visible(picture: Picture) -> np.ndarray:
    """[H, W, 3] to restore: what is transparent gets the colours that are seen next to it.

    Files hold anything there, often black, and what is hidden must not come through at soft edges.
    """
    if picture.alpha is None or picture.is_opaque:
        return picture.rgb
    white = np.iinfo(picture.rgb.dtype).max
    share = np.clip(picture.alpha.astype(np.float32) * np.float32(SEEN / white), 0, 1)[..., None]
    colours = _spread(picture.rgb.astype(np.float32) * share, share)
    return np.rint(np.clip(colours, 0, white)).astype(picture.rgb.dtype)


def _spread(colours: np.ndarray, share: np.ndarray) -> np.ndarray:
    """[H, W, 3] times `share` [H, W, 1] -> [H, W, 3] everywhere: what lacks comes from a picture of half the size."""
    height, width = share.shape[:2]
    if max(height, width) == 1 or share.min() == 1:
        return colours / np.maximum(share, 1e-6)
    half = (-(-width // 2), -(-height // 2))
    small, part = (
        cv2.resize(x, half, interpolation=cv2.INTER_AREA).reshape(half[1], half[0], -1) for x in (colours, share)
    )
    known = np.minimum(4 * part, 1)  # one of four is enough
    around = _spread(small * (known / np.maximum(part, 1e-6)), known)
    return colours + (1 - share) * cv2.resize(around, (width, height), interpolation=cv2.INTER_LINEAR).reshape(
        colours.shape
    )


def line(version: str, weights: str, name: str, content: str, **given: Any) -> str:
    """What made a result, as JSON in ASCII: `given` are options that are not the default ones.

    content: the hash of the picture's file, since others may have its name.
    """
    return json.dumps({KEY: version, 'weights': weights, 'source': name, 'content': content, **given})


def made_by(path: Path) -> str | None:
    """The line that `write` has put into a file; None where there is none."""
    try:
        with places.on_this_machine(path) as file:
            found = _said(file)
    except Exception:  # whatever it is, it is none of ours
        return None
    return found if isinstance(found, str) and found.startswith('{"addsr"') else None


def _said(path: Path) -> Any:
    """A TIFF's tags are read without its pixels, since Pillow opens none with several channels of floats."""
    with path.open('rb') as file:
        is_tiff = file.read(4) in TIFF
        file.seek(0)
        if is_tiff:
            tags = Image.Exif()
            tags.load_from_fp(file)
            return tags.get(metadata.MADE_BY)
        with Image.open(file, formats=formats.readable()) as image:
            return image.info.get(KEY) if image.format == 'PNG' else image.getexif().get(metadata.MADE_BY)


def is_same(made: str, wanted: str) -> bool:
    """Whether two lines say the same of a picture; how many tiles went together changes nothing."""
    try:
        a, b = ({key: value for key, value in json.loads(line).items() if key != 'batch'} for line in (made, wanted))
    except (ValueError, AttributeError, RecursionError):
        return False
    return a == b


def write(
    path: Path,
    picture: Picture,
    restored: np.ndarray,
    *,
    format: str,
    quality: int,
    compression: int,
    made_by: str | None,
) -> tuple[str, ...]:
    """`restored` [H, W, 3], sRGB of the picture's type, as a file that appears whole or not at all; what it lacks.

    format: a name of `WRITTEN`. made_by: a line about what made the result; None leaves out all metadata.
    """
    try:
        encoded = encode(picture, restored, format=format, quality=quality, compression=compression, made_by=made_by)
    except Exception as error:  # encoders raise nearly everything, as decoders do
        raise UserError(f'{path} cannot be written as {format}: {printable(str(error))}') from error
    atomic.write(path, lambda beside: beside.write_bytes(encoded.data))
    return encoded.remarks


def pillow(picture: Picture, restored: np.ndarray) -> Image.Image:
    """`restored` as Pillow's image of the picture's kind: L, LA, RGB, RGBA, CMYK or I;16, its profile in `info`.

    Pillow has no colours of 16 bits: those are rounded to 8.
    """
    pixels, profile = _in_colours(picture, restored, 'TIFF', [], deep=False)
    if picture.alpha is not None:
        alpha = sized(picture.alpha, restored.shape[1], restored.shape[0])
        pixels = np.concatenate([pixels, alpha[..., None]], axis=2)
    is_deep_grey = pixels.dtype == np.uint16 and pixels.shape[2] == 1
    image = Image.fromarray(pixels[..., 0]) if is_deep_grey else _pillow(eight_bits(pixels), profile)
    image = image.copy()  # one that can be changed
    image.info |= {'icc_profile': profile} if profile else {}
    image.info |= {'exif': picture.beside.exif} if picture.beside.exif else {}
    image.info |= {'dpi': picture.beside.dpi} if picture.beside.dpi else {}
    return image


def encode(
    picture: Picture, restored: np.ndarray, *, format: str, quality: int, compression: int, made_by: str | None
) -> Encoded:
    """`write` to memory."""
    height, width = restored.shape[:2]
    kind, remarks = WRITTEN[format], []
    alpha = None if picture.alpha is None else sized(picture.alpha, width, height)
    deep = restored.dtype == np.uint16 and kind.bits == 16
    pixels, profile = _in_colours(picture, restored, format, remarks, deep=deep)
    if alpha is not None and not any(mode.endswith('A') for mode in kind.modes):
        remarks += [] if picture.is_opaque else [f'{format} holds no transparency: it is on white']
        pixels, alpha = _on_white(pixels, alpha), None
    if pixels.dtype == np.uint16 and (picture.white or kind.bits < picture.bits) and kind.bits < 16:
        rounded = 'floats' if picture.white else picture.bits
        remarks.append(f'{format} is written with {kind.bits} bits: {rounded} are rounded')
    if pixels.dtype == np.uint16 and kind.bits == 8:
        pixels, alpha = eight_bits(pixels), None if alpha is None else eight_bits(alpha)
    if alpha is not None:
        pixels = np.concatenate([pixels, alpha[..., None]], axis=2)
    beside = Beside()
    if made_by is not None:
        beside = metadata.sized(picture.beside, width, height)
        beside = _with_line(beside, format, made_by)
    beside = _kept(beside, format, remarks)
    return Encoded(_file(pixels, profile, beside, format, quality, compression, picture.white), tuple(remarks))


def _on_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Of grey or RGB in the file's own colours: what sRGB lacks is in there, and is to fade like the rest."""
    white = np.float32(np.iinfo(pixels.dtype).max)

    def of(rows: slice) -> np.ndarray:
        part = alpha[rows, :, None] / white
        return np.rint(pixels[rows] * part + white * (1 - part)).astype(pixels.dtype)

    return by_rows.joined(pixels.shape, of)


def _grey(rgb: np.ndarray) -> np.ndarray:
    """The mean of the channels, [H, W, 3] that is read only."""

    def of(rows: slice) -> np.ndarray:
        return np.rint(rgb[rows].mean(-1, keepdims=True, dtype=np.float32)).astype(rgb.dtype)

    return np.broadcast_to(by_rows.joined(rgb.shape, of), rgb.shape)


def _stays_grey(picture: Picture, format: str, *, deep: bool) -> bool:
    """Whether a result has one channel beside its alpha: of 16 bits there is no such kind that programs read."""
    modes = WRITTEN[format].modes
    if picture.alpha is None or not any(mode.endswith('A') for mode in modes):
        return picture.grey and 'L' in modes
    return picture.grey and 'LA' in modes and not deep


def _in_colours(
    picture: Picture, rgb: np.ndarray, format: str, remarks: list[str], *, deep: bool
) -> tuple[np.ndarray, bytes]:
    """([H, W, channels] of the file's colours where the format holds them, else sRGB; the profile to embed).

    deep: the result has 16 bits. A profile of grey fits none of three channels, so those are in sRGB.
    """
    modes = WRITTEN[format].modes
    if picture.grey:
        rgb = _grey(rgb)
    grey = _stays_grey(picture, format, deep=deep)
    plain = rgb[..., :1] if grey else rgb
    if format == 'BMP':
        remarks += ['BMP holds no colour profile: it is in sRGB'] if picture.native is not None else []
        return plain, b''
    if picture.native is None:
        return plain, profiles.srgb() if picture.profile and picture.grey and not grey else picture.profile
    mode = {1: 'L', 3: 'RGB', 4: 'CMYK'}[picture.native.shape[2]]
    if mode in modes and grey == (mode == 'L'):
        try:
            done = by_rows.joined(rgb.shape, lambda rows: profiles.from_srgb(rgb[rows], picture.profile))
            return (_with_rest(done, picture) if mode == 'RGB' else done), picture.profile
        except profiles.BrokenProfile:
            remarks.append('its colour profile leads only one way: the result is in sRGB')
    elif mode == 'CMYK':
        remarks.append(f'{format} holds no CMYK: the result is in sRGB')
    return plain, profiles.srgb() if plain.shape[2] == 3 else b''


def _with_rest(done: np.ndarray, picture: Picture) -> np.ndarray:
    """Colours of a profile, with what sRGB could not hold of the picture's: that is enlarged and added."""
    assert picture.native is not None
    white = np.iinfo(done.dtype).max
    rest = picture.native.astype(np.float32) - profiles.from_srgb(picture.rgb, picture.profile)
    rest[np.abs(rest).max(-1) <= ROUNDING * white / 255] = 0
    if picture.alpha is not None:
        rest[picture.alpha == 0] = 0
    if not rest.any():
        return done
    height, width = done.shape[:2]
    large = Enlarged(rest, width, height)

    def of(rows: slice) -> np.ndarray:
        return np.rint(np.clip(done[rows] + large.rows(rows.start, rows.stop), 0, white)).astype(done.dtype)

    return by_rows.joined(done.shape, of)


def _with_line(beside: Beside, format: str, made_by: str) -> Beside:
    """With what made the picture, where the format has a place."""
    if format == 'PNG':
        return replace(beside, text={**beside.text, KEY: made_by})
    return beside if format == 'BMP' else metadata.made_by(beside, made_by)


def _kept(beside: Beside, format: str, remarks: list[str]) -> Beside:
    """What the format holds; the rest is said."""
    if format in ('WEBP', 'AVIF', HEIF):
        beside = metadata.with_dpi(beside)
    if format == 'BMP' and (beside.exif or beside.xmp or beside.text):
        remarks.append('BMP holds no metadata')
        return Beside(dpi=beside.dpi)
    comment = {'Comment': beside.text['Comment']} if format == 'JPEG' and 'Comment' in beside.text else {}
    if format != 'PNG' and beside.text != comment:
        remarks.append(f'{format} holds no {", ".join(sorted(set(beside.text) - set(comment)))}')
        beside = replace(beside, text=comment)
    if format == 'JPEG' and len(_comment(beside)) > SEGMENT:
        remarks.append('its comment is too long for JPEG and cut')
    if format == 'JPEG' and len(beside.exif) > SEGMENT:
        remarks.append('its EXIF is too long for JPEG and left out')
        beside = metadata.only_made_by(beside)
    if format == 'JPEG' and len(beside.xmp) > SEGMENT:
        remarks.append('its XMP is too long for JPEG and left out')
        beside = replace(beside, xmp=b'')
    return beside


def _comment(beside: Beside) -> bytes:
    """Pillow counts a text's characters and writes its bytes, and does not end where those are too many."""
    return beside.text.get('Comment', '').encode(errors='replace')


def _file(
    pixels: np.ndarray, profile: bytes, beside: Beside, format: str, quality: int, compression: int, white: float
) -> bytes:
    """uint8 or uint16 [H, W, channels] as a file of that format."""
    if format == 'TIFF':
        return _tiff(pixels, profile, beside, compression, white)
    options: dict[str, Any] = {'icc_profile': profile} if profile else {}
    options |= {'dpi': beside.dpi} if beside.dpi else {}
    options |= {'exif': beside.exif} if beside.exif else {}
    if format == 'PNG':
        said = _png_text(beside)
        if pixels.dtype == np.uint16:
            return deep.encoded_png(pixels, said, compression, **options)
        options |= {'pnginfo': said, 'compress_level': compression}
    elif beside.xmp:
        options['xmp'] = beside.xmp
    if format == 'JPEG':
        options['comment'] = _comment(beside)[:SEGMENT].decode(errors='ignore').encode()  # whole characters
    if WRITTEN[format].lossy:
        options['quality'] = quality
    if quality >= FINE:
        options |= {'JPEG': {'subsampling': 0}, 'AVIF': {'subsampling': '4:4:4'}, HEIF: {'chroma': 444}}.get(format, {})
    if format == 'WEBP':
        options['lossless'] = quality == 100
    if pixels.dtype == np.uint16:
        return heif.encoded(pixels, **options)
    file = io.BytesIO()
    _pillow(pixels, profile).save(file, format, **options)
    return file.getvalue()


def _pillow(pixels: np.ndarray, profile: bytes) -> Image.Image:
    """uint8 [H, W, 1 to 4]; four channels are print colours where the profile is of such."""
    height, width, channels = pixels.shape
    mode = {1: 'L', 2: 'LA', 3: 'RGB', 4: 'RGBA'}[channels]
    if channels == 4 and _is_print(profile):
        mode = 'CMYK'
    return Image.frombuffer(mode, (width, height), np.ascontiguousarray(pixels), 'raw', mode, 0, 1)


def _is_print(profile: bytes) -> bool:
    try:
        return bool(profile) and profiles.space(profile) == 'CMYK'
    except profiles.BrokenProfile:
        return False


def _png_text(beside: Beside) -> PngImagePlugin.PngInfo:
    said = PngImagePlugin.PngInfo()
    for key, value in beside.text.items():
        said.add_text(key, value)
    if beside.xmp:
        said.add_itxt('XML:com.adobe.xmp', beside.xmp.decode('utf-8', 'replace'))
    return said


def _tiff(pixels: np.ndarray, profile: bytes, beside: Beside, compression: int, white: float) -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in metadata.tiff_tags(beside).items():
        tags[tag] = value
    if profile:
        tags[TAGS.InterColorProfile] = profile
    if white:
        pixels = (pixels.astype(np.float32) * np.float32(white / 65535)).astype(np.float32)
    return deep.encoded_tiff(pixels, tags, compression, inks=_is_print(profile) and pixels.shape[2] == 4)
