"""Every kind of picture file through `addsr upscale`: what went in, what came out, and how far colours moved.

    python -m benchmarks.kinds [--workdir runs/kinds] [--steps 1] [--docs]

Makes the files out of one photograph, restores them with the embedded model in one command, and prints a table, which
--docs puts into docs/upscale.md. The
error of colours is of the mean of each channel, levels of 255, as a viewer that knows profiles shows both on white,
the largest of the three; it is Pillow and LittleCMS alone that look, not the reader of addsr.
"""

import argparse
import contextlib
import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from addsr_jax import upscale
from addsr_jax.data import formats, heif, sources
from addsr_jax.errors import guard
from addsr_jax.evaluation.ablation import markdown
from addsr_jax.flags import say
from benchmarks.blocks import replace_block

DOCUMENT = Path(__file__).parents[1] / 'docs' / 'upscale.md'
TAGS = ExifTags.Base
COLUMNS = ('kind', 'in', 'out', 'size', 'profile', 'orientation', 'metadata', 'colour error')


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--workdir', type=Path, default=Path('runs/kinds'))
    parser.add_argument('--steps', default='1')
    parser.add_argument('--keep', action='store_true', help='look at the results that are there already')
    parser.add_argument('--docs', action='store_true', help='put the table into docs/upscale.md')
    values = parser.parse_args()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    folder, out = values.workdir / 'in', values.workdir / 'out'
    folder.mkdir(parents=True, exist_ok=True)
    files = made()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    if not values.keep:
        guard(upscale.main, [str(folder), '-o', str(out), '--overwrite', '--steps', values.steps])
    rows: list[list[str]] = [list(COLUMNS)]
    for name in files:
        found = sorted(out.glob(f'{Path(name).stem}_x4.*'))
        rows.append(row(folder / name, found[0] if found else None))
    say(markdown(rows))
    if values.docs:
        replace_block(DOCUMENT, 'kinds', markdown(rows))


def row(source: Path, result: Path | None) -> list[str]:
    """Texts of one line."""
    name = source.stem.replace('_', ' ')
    if result is None:
        return [name, told(source), 'left out', *[''] * (len(COLUMNS) - 3)]
    before, after = opened(source), opened(result)
    upright = before.size[::-1] if before.getexif().get(TAGS.Orientation, 1) > 4 else before.size
    size = f'{after.width} x {after.height}' + ('' if after.size == (4 * upright[0], 4 * upright[1]) else ' (wrong)')
    kept = ('none', 'kept', 'lost', 'sRGB')
    profiles = [image.info.get('icc_profile') for image in (before, after)]
    same = 1 if profiles[0] == profiles[1] else 3 if profiles[1] else 2
    turned = f'{before.getexif().get(TAGS.Orientation, 1)} to {after.getexif().get(TAGS.Orientation, 1)}'
    error = np.abs(seen(source).mean((0, 1)) - seen(result).mean((0, 1))).max()
    return [
        name,
        told(source),
        told(result),
        size,
        kept[same if profiles[0] or profiles[1] else 0],
        turned,
        extras(before, after),
        f'{error:.2f}',
    ]


def told(path: Path) -> str:
    """'PNG RGBA 16 bits'."""
    image, depth = opened(path), 8
    values = numbers(path) if image.format == 'TIFF' and image.mode != 'CMYK' else decoded(path)
    if values is not None:
        depth = 8 * values.dtype.itemsize
    if heif.is_one(image):
        depth = heif.bits(image, path.read_bytes())
    floats = values is not None and values.dtype.kind == 'f'
    kind = ('half floats' if depth == 16 else 'floats') if floats else f'{depth} bits' if depth > 8 else ''
    words = f'{image.format} {image.mode}'
    return f'{words} {kind}'.strip()


def extras(before: Image.Image, after: Image.Image) -> str:
    """Which of what the file says beside its pixels is there again."""
    old, new = before.getexif(), after.getexif()
    facts = {
        'EXIF': (old.get(TAGS.Make), new.get(TAGS.Make)),
        'GPS': (old.get_ifd(ExifTags.IFD.GPSInfo), new.get_ifd(ExifTags.IFD.GPSInfo)),
        'XMP': (before.info.get('xmp'), after.info.get('xmp')),
        'dpi': (dpi(before), dpi(after)),
        'text': (before.info.get('Title'), after.info.get('Title')),
        'made by': ('addsr', 'addsr' if after.info.get('addsr') or new.get(TAGS.ProcessingSoftware) else None),
    }
    return ', '.join(f'{key}{"" if now == was else " lost"}' for key, (was, now) in facts.items() if was)


def dpi(image: Image.Image) -> int | None:
    found = image.info.get('dpi', (image.getexif().get(TAGS.XResolution),))[0]
    return round(float(found)) if found and found > 1 else None


def opened(path: Path) -> Image.Image:
    formats.readable()  # makes HEIC known to Pillow
    try:
        image = Image.open(path)
    except UnidentifiedImageError:  # a TIFF of floats in colours, or one that is rarer
        return of_numbers(path)
    if getattr(image, 'tag_v2', {}).get(TAGS.PlanarConfiguration) == 2:  # of which Pillow makes other colours
        return of_numbers(path)
    with contextlib.suppress(OSError):
        image.load()
    return image


def of_numbers(path: Path) -> Image.Image:
    """In 8 bits, with its EXIF."""
    values = numbers(path)
    values = values.astype(float) / 257 if values.dtype == np.uint16 else np.nan_to_num(values.astype(float)) * 255
    mode = {2: 'LA', 3: 'RGB', 4: 'RGBA'}[values.shape[2]]
    image, tags = Image.fromarray(np.rint(values).astype(np.uint8), mode), Image.Exif()
    image.format = 'TIFF'  # pyright: ignore[reportAttributeAccessIssue]
    tags.load_from_fp(io.BytesIO(path.read_bytes()))
    image.info['exif'] = tags.tobytes()
    return image


def numbers(path: Path) -> np.ndarray:
    """[H, W, channels] of a TIFF's first page: tifffile's, or OpenCV's of those that are packed."""
    with tifffile.TiffFile(path) as file, contextlib.suppress(ValueError):
        values = file.pages.first.asarray()
        return np.moveaxis(values, 0, -1) if file.pages.first.axes == 'SYX' else np.atleast_3d(values)
    values = decoded(path)
    assert values is not None
    return np.atleast_3d(values)[..., [2, 1, 0, 3][: values.shape[2]] if values.ndim == 3 else [0]]


def decoded(path: Path) -> np.ndarray | None:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)


def seen(path: Path) -> np.ndarray:
    """[H, W, 3] float, on white, in sRGB, upright or not."""
    image = opened(path)
    if image.mode in ('I;16', 'I;16B', 'I', 'F'):
        values = np.asarray(image).astype(float)
        white = 65535 if image.mode != 'F' else 1 if values.max() <= 1 else 255
        return (values * 255 / white)[..., None].repeat(3, 2)
    profile = image.info.get('icc_profile')
    if image.has_transparency_data:
        rgba = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', rgba.size, 'white'), rgba).convert('RGB')
    try:
        theirs = ImageCms.ImageCmsProfile(io.BytesIO(profile)) if profile else None
    except OSError:  # broken
        theirs = None
    if theirs and image.mode in ('RGB', 'CMYK'):
        srgb = ImageCms.createProfile('sRGB')
        flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
        image = ImageCms.profileToProfile(
            image, theirs, srgb, ImageCms.Intent.RELATIVE_COLORIMETRIC, 'RGB', flags=flags
        )
        assert image is not None
    return np.asarray(image.convert('RGB')).astype(float)


def made() -> dict[str, bytes]:
    """{name: file} of every kind that is read."""
    photograph = np.asarray(Image.open(sources.held_out().paths[0]).convert('RGB'))[40:88, 130:194]
    image, deep = Image.fromarray(photograph), photograph.astype(np.uint16) * 257 + 41
    alpha = np.zeros(photograph.shape[:2], np.uint8)
    cv2.circle(alpha, (32, 24), 20, 255, -1, cv2.LINE_AA)
    rgba, soft = np.dstack([photograph, alpha]), np.dstack([deep, alpha.astype(np.uint16) * 257])
    wide = Image.open(sources.sample_photos().paths[2]).info['icc_profile']  # rocket.jpg's, Adobe RGB (1998)
    beside = {'exif': exif(), 'dpi': (300, 300)}
    xmp = {'xmp': b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'}
    grey = image.convert('L')
    files = {
        'colours.png': encoded(image, 'PNG', **beside),
        'grey.png': encoded(grey, 'PNG'),
        'grey_with_alpha.png': encoded(Image.merge('LA', (grey, Image.fromarray(alpha))), 'PNG'),
        'alpha.png': encoded(Image.fromarray(rgba), 'PNG'),
        'one_bit.png': encoded(image.convert('1'), 'PNG'),
        'palette.png': encoded(image.quantize(64), 'PNG'),
        'palette_with_alpha.png': encoded(Image.fromarray(rgba).quantize(64), 'PNG'),
        'deep_grey.png': encoded(Image.fromarray(deep[..., 1]), 'PNG'),
        'deep_colours.png': opencv('.png', deep),
        'deep_alpha.png': opencv('.png', soft),
        'wide.png': encoded(image, 'PNG', icc_profile=wide),
        'deep_wide.png': with_profile(opencv('.png', deep), wide),
        'broken_profile.png': encoded(image, 'PNG', icc_profile=b'none' * 40),
        'photograph.jpg': encoded(image, 'JPEG', quality=95, **beside, **xmp),
        'wide_photograph.jpg': encoded(image, 'JPEG', quality=95, icc_profile=wide),
        'grey_photograph.jpg': encoded(grey, 'JPEG', quality=95),
        'print.jpg': encoded(image.convert('CMYK'), 'JPEG', quality=95),
        **{f'turned_{n}.jpg': encoded(image, 'JPEG', quality=95, exif=exif(n)) for n in range(2, 9)},
        'colours.webp': encoded(image, 'WEBP', quality=95, **beside, **xmp),
        'alpha.webp': encoded(Image.fromarray(rgba), 'WEBP', quality=95),
        'colours.tif': encoded(image, 'TIFF', **beside),
        'deep_colours.tif': opencv('.tiff', deep),
        'deep_grey.tif': opencv('.tiff', deep[..., 1]),
        'floats.tif': opencv('.tiff', (deep / 65535).astype(np.float32)),
        'grey_floats.tif': opencv('.tiff', (deep[..., 1] / 65535).astype(np.float32)),
        'half_floats.tif': by_tifffile((deep / 65535).astype(np.float16), photometric='rgb'),
        'channels_apart.tif': by_tifffile(np.moveaxis(deep, -1, 0), photometric='rgb', planarconfig='separate'),
        'deep_grey_with_alpha.tif': by_tifffile(
            soft[..., [1, 3]], photometric='minisblack', planarconfig='contig', extrasamples=['unassalpha']
        ),
        'print.tif': encoded(image.convert('CMYK'), 'TIFF'),
        'pages.tif': encoded(image, 'TIFF', save_all=True, append_images=[image]),
        'colours.bmp': encoded(image, 'BMP', dpi=(300, 300)),
        'colours.avif': encoded(image, 'AVIF', quality=95, **beside, **xmp),
        'alpha.avif': encoded(Image.fromarray(rgba), 'AVIF', quality=95),
        'deep_colours.avif': opencv('.avif', deep >> 4, cv2.IMWRITE_AVIF_DEPTH, 12, cv2.IMWRITE_AVIF_QUALITY, 95),
        'frames.gif': encoded(image, 'GIF', save_all=True, append_images=[grey.convert('RGB')]),
        'colours.jp2': encoded(image, 'JPEG2000'),
        'colours.ppm': encoded(image, 'PPM'),
        'not_a_number.tif': opencv('.tiff', np.full((48, 64, 3), np.nan, np.float32)),
        'truncated.jpg': encoded(image, 'JPEG')[:-99],
    }
    if formats.has_heif():
        formats.readable()
        files['colours.heic'] = encoded(image, 'HEIF', quality=95, **beside, **xmp)
        files['deep_colours.heic'] = heif.encoded(deep, quality=95, chroma=444)
        files['alpha.heic'] = encoded(Image.fromarray(rgba), 'HEIF', quality=95)
    return {f'{Path(name).suffix[1:]}_{name}': data for name, data in files.items()}


def exif(orientation: int = 1) -> Image.Exif:
    tags = Image.Exif()
    tags[TAGS.Orientation], tags[TAGS.Make], tags[TAGS.DateTime] = orientation, 'Maker', '2020:01:02 03:04:05'
    tags.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = 'N'
    return tags


def encoded(image: Image.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def opencv(ending: str, values: np.ndarray, *options: int) -> bytes:
    """[H, W] or [H, W, RGB(A)], which Pillow does not write."""
    order = [2, 1, 0, 3][: values.shape[2]] if values.ndim == 3 else None
    return cv2.imencode(ending, values if order is None else values[..., order], options)[1].tobytes()


def by_tifffile(values: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def with_profile(png: bytes, profile: bytes) -> bytes:
    """A PNG with one more chunk, after its head."""
    data = b'iCCP' + b'wide\0\0' + zlib.compress(profile)
    return png[:33] + struct.pack('>I', len(data) - 4) + data + struct.pack('>I', zlib.crc32(data)) + png[33:]


if __name__ == '__main__':
    main()
