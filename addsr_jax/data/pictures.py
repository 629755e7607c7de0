"""The one reader of pictures, for training, the commands and the Python API alike.

`decode` and `read` give what training and networks see, uint8 [H, W, 3] RGB as it looks: turned as EXIF says, colour
profiles converted to sRGB, transparency on white, grey repeated, palettes and print colours as RGB, more than 8 bits
scaled to 8, the first picture of several. `open_picture` gives a `Picture`, which keeps what that leaves out.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import xxhash
from PIL import Image, UnidentifiedImageError

from addsr_jax import places
from addsr_jax.data import colours, containers, deep, formats, heif, levels, metadata, profiles, tiff, tiff_numbers
from addsr_jax.data.formats import LIMIT
from addsr_jax.data.metadata import TAGS, Beside
from addsr_jax.data.quiet import QUIET
from addsr_jax.errors import PictureError, printable

LYING = (5, 6, 7, 8)  # orientations of pictures whose rows are stored as columns


@dataclass(frozen=True)
class Picture:
    """Pixels in sRGB, upright, and what their file says beside them."""

    rgb: np.ndarray  # uint8 or uint16 [H, W, 3]; where it is transparent, whatever the file holds
    alpha: np.ndarray | None = None  # [H, W] of the same type; None: opaque
    grey: bool = False  # a file of one channel
    format: str = ''  # Pillow's name; '': from no file
    bits: int = 16  # of a channel of the file, where they are more than 8
    white: float = 0.0  # what stands for white in a file of floats; 0: a file of whole numbers
    profile: bytes = b''  # the file's, '' for none and for a broken one
    native: np.ndarray | None = None  # [H, W, channels] as stored, where the profile has been applied; None: as rgb
    beside: Beside = field(default_factory=Beside)
    remarks: tuple[str, ...] = ()  # what of the file plays no part, in words
    content: str = ''  # hash of the file's bytes; '': from no file, or nobody has asked

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.rgb.shape[1], self.rgb.shape[0]

    @property
    def is_opaque(self) -> bool:
        """Whether nothing shines through, be there an alpha or none."""
        return self.alpha is None or bool(self.alpha.min() == np.iinfo(self.alpha.dtype).max)

    def part(self, left: int, top: int, width: int, height: int) -> 'Picture':
        """What lies in a rectangle."""
        if (width, height) == self.size:
            return self
        whole = {'rgb': self.rgb, 'alpha': self.alpha, 'native': self.native}
        cut = {k: np.ascontiguousarray(x[top:, left:][:height, :width]) for k, x in whole.items() if x is not None}
        return replace(self, **cut)


def decode(data: bytes, name: str, limit: int = LIMIT) -> np.ndarray:
    """Encoded bytes -> uint8 [H, W, 3]; a UserError that begins with `name` where that is impossible.

    limit: pixels of a picture; one of more is not decoded.
    """
    return shown(decode_picture(data, name, limit))


def decode_picture(data: bytes, name: str, limit: int = LIMIT) -> Picture:
    """Encoded bytes -> all of the picture."""
    with _named(name, limit):
        containers.check(data)
        tags = tiff.directory(data)
        if tags is not None:
            tiff.check(data, tags)
            data = tiff.together(data, tags)
        if tags is not None and is_of_numbers(tags):
            return _of_numbers(data, tags, limit)
        try:
            image = Image.open(io.BytesIO(data), formats=formats.readable())
        except UnidentifiedImageError:
            if formats.is_heif(data) and not formats.has_heif():
                raise ValueError(formats.heif_missing()) from None
            if tags is not None and tiff.is_whole(tags, data):
                raise ValueError(tiff.not_read(tags)) from None
            raise
        with image:
            return _picture(image, limit, data)


def read(path: Path, limit: int = LIMIT) -> np.ndarray:
    """`decode` of a file; only regular files are opened."""
    return decode(_content(path, limit), str(path), limit)


def open_picture(path: Path, limit: int = LIMIT) -> Picture:
    """`decode_picture` of a file, with what tells its content from another's."""
    data = _content(path, limit)
    return replace(decode_picture(data, str(path), limit), content=content_of(data))


def content_of(data: bytes) -> str:
    """A hash of a file's bytes, as quick as memory."""
    return xxhash.xxh3_128_hexdigest(data)


def from_pillow(image: Image.Image, name: str = 'the picture') -> np.ndarray:
    """What `decode` makes of the file that Pillow has opened, or of a picture of the same kind."""
    with _named(name, LIMIT):
        return shown(_picture(image, LIMIT))


def of_pillow(image: Image.Image, name: str = 'the picture') -> Picture:
    """All of the picture that Pillow has opened, or that is of the same kind."""
    with _named(name, LIMIT):
        return _picture(image, LIMIT)


def shown(picture: Picture) -> np.ndarray:
    """uint8 [H, W, 3] as it looks on white."""
    rgb, alpha = (x if x is None else eight_bits(x) for x in (picture.rgb, picture.alpha))
    assert rgb is not None
    if alpha is None:
        return rgb
    image = Image.fromarray(np.dstack([rgb, alpha]))
    return np.asarray(Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image).convert('RGB'))


def eight_bits(values: np.ndarray) -> np.ndarray:
    """uint16 rounded to uint8; uint8 as it is."""
    if values.dtype == np.uint8:
        return values
    scaled = values / np.float32(257)
    return np.rint(scaled, out=scaled).astype(np.uint8)


def is_of_numbers(tags: tiff.Tags) -> bool:
    """Whether a TIFF is one that others than Pillow decode."""
    return tiff.is_floats(tags) or tiff_numbers.are_unusual(tags)


def _content(path: Path, limit: int) -> bytes:
    """Of a regular file. Read whole, since a decoder would reserve as much as a damaged length inside asks for."""
    with _named(str(path), limit):
        return places.read_bytes(path)


def _picture(image: Image.Image, limit: int, data: bytes | None = None) -> Picture:
    """Of an opened picture and its bytes, if there are any; ValueError and all that Pillow raises where it has none."""
    _check_size(image.size, limit)
    if data is not None:
        slow = any(tile[0] in Image.DECODERS for tile in getattr(image, 'tile', [])[:1])  # those are written in Python
        containers.check_size(image.width * image.height, len(data), slow, image.format or '')
    format_ = 'JPEG' if image.format == 'MPO' else image.format or ''
    remarks = (*(_several(image, data) if data is not None else ()), *tiff.left_out(getattr(image, 'tag_v2', {})))
    bits, values = (8, None) if data is None else _deep(image, data)
    found = None if values is None else _deep_colours(image, values)
    stored = metadata.orientation(image) if found is not None and image.format == 'TIFF' else 0
    image.load()  # which turns a TIFF
    beside = metadata.of(image)
    white, beyond = 0.0, ()
    if found is not None:
        pixels, alpha = found
    elif image.mode in ('I', 'F') or image.mode.startswith('I;16'):
        pixels, alpha, white, beyond = _deep_grey(image)
    else:
        pixels, alpha = _shallow(image)
    rgb, profile, native, more = _in_srgb(pixels, image.info.get('icc_profile') or b'')
    if bits > 8 and found is None:
        reason = ', since this OpenCV was built without AVIF' if image.format == 'AVIF' else ''
        more = (*more, f'its {bits} bits are read as 8{reason}')
    if data is not None and not profile and (said := colours.said(image, data)):
        more = (*more, f'its colours are {said}, which is taken for sRGB')
    turn = stored or metadata.orientation(image)
    rgb, alpha, native = (x if x is None else _turned(x, turn) for x in (rgb, alpha, native))
    assert rgb is not None
    remarks = (*remarks, *beside.lost, *beyond, *more)
    bits = bits if bits > 8 else 16
    return Picture(rgb, alpha, pixels.ndim == 2, format_, bits, white, profile, native, beside, remarks)


def _check_size(size: tuple[int, int], limit: int) -> None:
    if size[0] * size[1] > limit:
        raise Image.DecompressionBombError
    if min(size) < 1:
        raise ValueError('it has no pixels')


def _several(image: Image.Image, data: bytes) -> tuple[str, ...]:
    """The remark that a file holds more pictures than the first."""
    if image.format == 'TIFF':  # Pillow stays at a page that it does not know
        return _first_of(tiff.pages(data), 'pages')
    try:
        count = getattr(image, 'n_frames', 1)
        image.seek(0)
    except Exception:  # the first one may be whole all the same
        return ()
    return _first_of(count, 'frames' if image.format in formats.ANIMATED else 'pictures')


def _first_of(count: int, kind: str) -> tuple[str, ...]:
    return (f'the first of {count} {kind}',) if count > 1 else ()


def _deep(image: Image.Image, data: bytes) -> tuple[int, np.ndarray | None]:
    """(bits of a channel that Pillow would make 8 of, else 8; the colours with all of them where something reads them).

    Of an opened picture that is not yet decoded.
    """
    bits = bits_of(image, data)
    if heif.is_one(image):
        return bits, heif.decoded(image, data) if bits > 8 and heif.is_decoded(image) else None
    return bits, deep.colours(image, data) if bits > 8 else None


def bits_of(image: Image.Image, data: bytes) -> int:
    """Of a channel of colours, as the file of an opened picture says."""
    return heif.bits(image, data) if heif.is_one(image) else deep.white(image, data).bit_length()


def _shallow(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """(pixels, alpha) of 8 bits or less: [H, W] of grey, [H, W, 3] of colours, [H, W, 4] of print colours."""
    if image.has_transparency_data:
        whole = np.asarray((image.convert('LA') if image.mode == 'La' else image).convert('RGBA'))
        grey = image.mode in ('1', 'L', 'LA', 'La')
        return (whole[..., 0] if grey else whole[..., :3]), whole[..., 3]
    if image.mode in ('1', 'L'):
        return np.asarray(image.convert('L')), None
    return np.asarray(image if image.mode in ('RGB', 'CMYK') else image.convert('RGB')), None


def _deep_colours(image: Image.Image, values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """(pixels, alpha), uint16, of what others than Pillow have decoded."""
    flat = values.ndim == 2 and heif.is_one(image)
    if values.dtype != np.uint16 or sorted(values.shape[:2]) != sorted(image.size) or not (values.ndim == 3 or flat):
        raise ValueError('its colours of more than 8 bits are stored in a way that is not read')
    if flat:
        return values, None
    pixels, alpha = _with_alpha(values, getattr(image, 'tag_v2', {}))
    clear = image.info.get('transparency')
    if clear is not None:
        return pixels, np.where((pixels == np.array(clear)).all(-1), 0, 65535).astype(np.uint16)
    grey = str(image.tile[0].args).startswith('LA') if getattr(image, 'tile', None) else False  # pyright: ignore
    return (pixels[..., 0] if grey else pixels), alpha


def _with_alpha(values: np.ndarray, tags: tiff.Tags) -> tuple[np.ndarray, np.ndarray | None]:
    """(colours [H, W, 1 or 3], alpha) of uint16 [H, W, channels], by the tags of a TIFF if there are any."""
    count = tiff.CHANNELS.get(tags.get(TAGS.PhotometricInterpretation, 2), 3)
    pixels, kind = values[..., :count], tiff.alpha(tags)
    if values.shape[2] == count or not kind:
        return pixels, None
    alpha = values[..., count]
    if kind == tiff.TIMES_ALPHA:
        pixels = np.rint(np.minimum(pixels / np.maximum(alpha[..., None] / 65535, 1e-6), 65535)).astype(np.uint16)
    return pixels, alpha


def _deep_grey(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None, float, tuple[str, ...]]:
    """(uint16 [H, W], alpha, white of floats, remarks) of grey of more than 8 bits."""
    values, tags = np.asarray(image), getattr(image, 'tag_v2', {})
    deepest = 4095.0 if tags.get(TAGS.BitsPerSample) == (12,) else 65535.0
    if image.format == formats.HEIF:  # shifted to the left
        deepest -= 2.0 ** (16 - image.info.get('bit_depth', 16)) - 1
    white, remarks = levels.white(values) if image.mode == 'F' else (deepest, ())
    grey = levels.sixteen_bits(np.minimum(values, white) if remarks else values, white)
    if image.mode != 'I' and tags.get(TAGS.PhotometricInterpretation) == 0:
        grey = 65535 - grey  # in a TIFF of this kind 0 is white, which Pillow leaves to its callers
    clear = image.info.get('transparency')
    alpha = None if clear is None else np.where(values == clear, 0, 65535).astype(np.uint16)
    return grey, alpha, white if image.mode == 'F' else 0.0, remarks


def _of_numbers(data: bytes, tags: tiff.Tags, limit: int) -> Picture:
    """Of a TIFF that Pillow does not decode, of floats for one: it reads what stands beside the pixels."""
    size = int(tags[TAGS.ImageWidth]), int(tags[TAGS.ImageLength])
    _check_size(size, limit)
    unusual = tiff_numbers.are_unusual(tags)
    if not unusual and not tiff.reads_floats(tags):
        raise ValueError(tiff.not_read(tags))
    times = -(-tags.get(TAGS.SamplesPerPixel, 1) // 4)  # as many channels as four pictures' and more
    containers.check_size(size[0] * size[1] * times, len(data), slow=False)
    values = np.atleast_3d(tiff_numbers.decoded(data, size, tags) if unusual else deep.decoded(data))
    if values.shape[:2] != size[::-1] or values.dtype.kind not in 'uf':
        raise ValueError('its numbers are stored in a way that is not read')
    colours_of = tiff.CHANNELS[tags.get(TAGS.PhotometricInterpretation, 1)]
    values = values[..., : colours_of + bool(tiff.alpha(tags))]
    white, beyond = (0.0, ()) if values.dtype.kind == 'u' else levels.white(values[..., :colours_of])
    if white:
        values = levels.sixteen_bits(np.minimum(values, white) if beyond else values, white)
    exif = tiff.exif(data)
    pixels, alpha = _with_alpha(values, tags)
    if pixels.shape[2] == 1:
        pixels = 65535 - pixels[..., 0] if tags.get(TAGS.PhotometricInterpretation) == 0 else pixels[..., 0]
    rgb, profile, native, more = _in_srgb(pixels, exif.get(TAGS.InterColorProfile) or b'')
    turn = tags.get(TAGS.Orientation, 1)
    rgb, alpha, native = (x if x is None else _turned(x, turn) for x in (rgb, alpha, native))
    assert rgb is not None
    beside = metadata.of_tags(exif)
    remarks = (*_first_of(tiff.pages(data), 'pages'), *tiff.left_out(tags), *beside.lost, *beyond, *more)
    return Picture(rgb, alpha, pixels.ndim == 2, 'TIFF', 16, white, profile, native, beside, remarks)


def _in_srgb(pixels: np.ndarray, profile: bytes) -> tuple[np.ndarray, bytes, np.ndarray | None, tuple[str, ...]]:
    """(RGB in sRGB, the profile to keep, pixels in its colours if they are others, remarks) of stored pixels."""
    mode = 'L' if pixels.ndim == 2 else {3: 'RGB', 4: 'CMYK'}[pixels.shape[2]]
    remarks = ()
    if profile:
        try:
            if (found := profiles.space(profile)) != mode:
                remarks = (f'its colour profile is for {found} and not applied to {mode}',)
                profile = b'' if found == 'CMYK' else profile  # beside RGBA it would make inks of the four channels
            elif mode != 'RGB' or not profiles.is_srgb(profile):
                rgb, more = profiles.to_srgb(pixels, profile)
                return rgb, profile, pixels if pixels.ndim == 3 else pixels[..., None], more
        except profiles.OtherSpace as other:
            profile, remarks = b'', (f'its colour profile is for {other}, not for {mode}, and left out',)
        except profiles.BrokenProfile:
            profile, remarks = b'', ('its colour profile is broken and left out',)
    if mode == 'CMYK':
        inks = Image.frombytes('CMYK', pixels.shape[1::-1], pixels.tobytes())
        return (
            np.asarray(inks.convert('RGB')),
            b'',
            None,
            (*remarks, 'its print colours have no profile: the result is in sRGB'),
        )
    return (pixels if mode == 'RGB' else np.repeat(pixels[..., None], 3, axis=2)), profile, None, remarks


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """[H, W, ...] upright, by EXIF's orientation."""
    if orientation in LYING:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


@contextmanager
def _named(name: str, limit: int) -> Iterator[None]:
    """Whatever a decoder raises inside becomes one UserError with the name; its warnings are not shown."""
    try:
        with QUIET:
            yield
    except Exception as error:  # decoders raise nearly everything, a MemoryError for a damaged length among it
        raise PictureError(f'{printable(name, 4096)} cannot be read as an image: {_reason(error, limit)}') from error


def _reason(error: Exception, limit: int) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f'it has more than {limit} pixels, the most that is read (addsr upscale --max_pixels N reads more)'
    if isinstance(error, UnidentifiedImageError):
        known = formats.readable()
        return f'it is no {", ".join(known[:-1])} or {known[-1]} file, or damaged'
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(text) or type(error).__name__
