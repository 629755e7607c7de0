"""Pictures that ask for more than they are: each a name of a file, and its bytes."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

Maker = Callable[[], bytes]
LARGE = 13_000  # pixels of a side: just below the most that is read


def encoded(kind: str, side: int = 64, mode: str = 'RGB', **options: object) -> bytes:
    """A small picture, as Pillow writes it."""
    values = np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes, length: int | None = None) -> bytes:
    return (
        struct.pack('>I', len(data) if length is None else length)
        + kind
        + data
        + struct.pack('>I', zlib.crc32(kind + data))
    )


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and contents of every chunk of a whole PNG."""
    found, at = [], 8
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], 'big')
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


def joined(parts: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of chunks, with right lengths and checksums."""
    return b'\x89PNG\r\n\x1a\n' + b''.join(chunk(*part) for part in parts)


def png(
    width: int, height: int, rows: bytes, *others: bytes, depth: int = 8, colour: int = 2, end: bytes = b''
) -> bytes:
    header = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, 0))
    return b'\x89PNG\r\n\x1a\n' + header + b''.join(others) + chunk(b'IDAT', rows) + (end or chunk(b'IEND', b''))


def zeros(count: int) -> bytes:
    """Deflated, without ever holding them."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    parts = [packer.compress(block) for _ in range(count >> 20)]
    return b''.join((*parts, packer.compress(bytes(count & ((1 << 20) - 1))), packer.flush()))


def tiff(*tags: tuple[int, int, int, int], tail: bytes = b'', following: int = 0) -> bytes:
    """One directory of (tag, type, count, value), little-endian."""
    entries = b''.join(struct.pack('<HHII', *tag) for tag in sorted(tags))
    return b'II*\0' + struct.pack('<IH', 8, len(tags)) + entries + struct.pack('<I', following) + tail


def _grey(
    width: int, height: int, strip: int, size: int, compression: int = 1, **more: int
) -> list[tuple[int, int, int, int]]:
    found = {256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, 8), 259: (3, 1, compression), 262: (3, 1, 1)}
    found |= {273: (4, 1, strip), 277: (3, 1, 1), 278: (4, 1, height), 279: (4, 1, size)}
    return [(tag, *rest) for tag, rest in found.items()]


def portable() -> Iterator[tuple[str, Maker]]:
    """PNG."""
    small = zlib.compress(b'\0' * (64 * (64 * 3 + 1)))
    yield 'text of 1 GB, deflated', lambda: png(64, 64, small, chunk(b'zTXt', b'a\0\0' + zeros(1 << 30)))
    yield 'text of 1 GB, international', lambda: png(64, 64, small, chunk(b'iTXt', b'a\0\1\0\0\0' + zeros(1 << 30)))
    yield 'a profile of 1 GB', lambda: png(64, 64, small, chunk(b'iCCP', b'a\0\0' + zeros(1 << 30)))
    yield (
        'a thousand texts of a megabyte',
        lambda: png(64, 64, small, *[chunk(b'zTXt', b'a%d\0\0' % i + zeros(1 << 20)) for i in range(1000)]),
    )
    yield (
        'texts after the pixels',
        lambda: png(64, 64, small, end=b''.join(chunk(b'zTXt', b'a%d\0\0' % i + zeros(1 << 20)) for i in range(1000))),
    )
    yield 'three hundred thousand chunks', lambda: png(64, 64, small, chunk(b'prVt', b'') * 300_000)
    yield 'three hundred thousand texts', lambda: png(64, 64, small, chunk(b'tEXt', b'a\0b') * 300_000)
    yield 'a chunk of 4 GB', lambda: png(64, 64, small, chunk(b'tEXt', b'a\0b', 0xFFFFFFFF))
    yield 'a chunk of 2 GB', lambda: png(64, 64, small, chunk(b'eXIf', b'a\0b', 0x7FFFFFFF))
    yield (
        'pixels of 2 GB',
        lambda: (
            b'\x89PNG\r\n\x1a\n'
            + chunk(b'IHDR', struct.pack('>IIBBBBB', 64, 64, 8, 2, 0, 0, 0))
            + struct.pack('>I', 0x7FFFFFFF)
            + b'IDAT'
            + small
        ),
    )
    yield '40000 x 40000', lambda: png(40_000, 40_000, small)
    yield '2147483647 x 1', lambda: png(2**31 - 1, 1, small)
    yield '1 x 170 million', lambda: png(1, 170_000_000, small)
    yield '170 million x 1', lambda: png(170_000_000, 1, small)
    yield 'no rows of 169 million pixels', lambda: png(LARGE, LARGE, b'')
    yield 'half the rows of 169 million black pixels', lambda: png(LARGE, LARGE, zeros(LARGE * (LARGE * 3 + 1) // 2))
    yield '169 million black pixels, then damage', lambda: png(LARGE, LARGE, zeros(LARGE * (LARGE * 3 + 1))[:-20])
    yield (
        '169 million pixels of four 16-bit channels',
        lambda: png(LARGE, LARGE, zeros(LARGE * LARGE), depth=16, colour=6),
    )
    yield 'pixels of 1 GB for 64 x 64', lambda: png(64, 64, zeros(1 << 30))
    yield 'a palette of nothing', lambda: png(64, 64, small, chunk(b'PLTE', b''), colour=3)
    yield (
        'an animation of 4 billion frames',
        lambda: png(
            64,
            64,
            small,
            chunk(b'acTL', struct.pack('>II', 0xFFFFFFFF, 0)),
            chunk(b'fcTL', struct.pack('>IIIIIHHBB', 0, 64, 64, 0, 0, 1, 1, 0, 0)),
        ),
    )
    yield 'no size', lambda: png(0, 0, small)


def directories() -> Iterator[tuple[str, Maker]]:
    """TIFF, and the TIFF that EXIF is."""
    pixels = (8 + 2 + 9 * 12 + 4, 4096)
    yield 'a directory that is its own next', lambda: tiff(*_grey(64, 64, *pixels), tail=bytes(4096), following=8)
    yield 'a directory inside itself', lambda: tiff(*_grey(64, 64, *pixels), (34665, 4, 1, 8), tail=bytes(4096))
    yield (
        'sixty thousand tags',
        lambda: (
            b'II*\0\x08\0\0\0'
            + struct.pack('<H', 65_535)
            + b''.join(struct.pack('<HHII', tag, 4, 1, 0) for tag in range(65_535))
        ),
    )
    yield (
        'tags that all point at one megabyte',
        lambda: (
            b'II*\0\x08\0\0\0'
            + struct.pack('<H', 20_000)
            + b''.join(struct.pack('<HHII', 40_000 + tag, 1, 1_000_000, 8) for tag in range(20_000))
            + bytes(1_000_000)
        ),
    )
    yield 'a tag of 4 billion values', lambda: tiff(*_grey(64, 64, *pixels), (700, 12, 0xFFFFFFFF, 8), tail=bytes(4096))
    yield (
        'a million strips',
        lambda: (
            b'II*\0\x08\0\0\0'
            + struct.pack('<H', 9)
            + b''.join(
                struct.pack('<HHII', *tag)
                for tag in (
                    (256, 4, 1, 1),
                    (257, 4, 1, 1_000_000),
                    (258, 3, 1, 8),
                    (259, 3, 1, 1),
                    (262, 3, 1, 1),
                    (273, 4, 1_000_000, 122),
                    (277, 3, 1, 1),
                    (278, 4, 1, 1),
                    (279, 4, 1_000_000, 122),
                )
            )
            + struct.pack('<I', 0)
            + struct.pack('<I', 1) * 1_000_000
        ),
    )
    yield (
        'tiles of 60000 x 60000',
        lambda: tiff(
            (256, 4, 1, 64),
            (257, 4, 1, 64),
            (258, 3, 1, 8),
            (259, 3, 1, 8),
            (262, 3, 1, 1),
            (277, 3, 1, 1),
            (322, 4, 1, 60_000),
            (323, 4, 1, 60_000),
            (324, 4, 1, 122),
            (325, 4, 1, 4096),
            tail=zeros(1 << 20),
        ),
    )
    yield (
        'tiles of 1 x 1',
        lambda: tiff(
            (256, 4, 1, 4000),
            (257, 4, 1, 4000),
            (258, 3, 1, 8),
            (259, 3, 1, 1),
            (262, 3, 1, 1),
            (277, 3, 1, 1),
            (322, 4, 1, 1),
            (323, 4, 1, 1),
            (324, 4, 4_000_000, 122),
            (325, 4, 4_000_000, 122),
            tail=bytes(16_000_000),
        ),
    )
    yield 'deflated pixels, 169 million', lambda: tiff(*_grey(LARGE, LARGE, 122, 200_000, 8), tail=zeros(LARGE * LARGE))
    yield 'packed pixels that are not there', lambda: tiff(*_grey(LARGE, LARGE, 122, 100, 5), tail=bytes(100))
    yield 'a fax that is not there', lambda: tiff(*_grey(LARGE, LARGE, 122, 100, 4), tail=bytes(100))
    yield 'jpeg inside', lambda: tiff(*_grey(64, 64, 122, 4096, 7), tail=encoded('JPEG'))
    yield 'a strip of 4 GB', lambda: tiff(*_grey(64, 64, 122, 0xFFFFFFFF, 8), tail=zeros(4096))
    yield 'a strip of 4 GB, plain', lambda: tiff(*_grey(64, 64, 122, 0xFFFFFFFF), tail=bytes(4096))
    yield 'four billion samples', lambda: tiff(*_grey(64, 64, *pixels)[:-3], (277, 4, 1, 0xFFFFFFFF), tail=bytes(4096))
    yield (
        '65535 samples',
        lambda: tiff(
            *(tag for tag in _grey(4000, 4000, *pixels) if tag[0] not in (258, 277)),
            (277, 3, 1, 65_535),
            (258, 3, 65_535, 8),
            (338, 3, 65_534, 8),
            tail=bytes(200_000),
        ),
    )
    yield 'big, with a directory at 16 exabytes', lambda: b'II+\0\x08\0\0\0' + b'\xff' * 8
    yield 'big, with 16 exatags', lambda: b'II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0' + b'\xff' * 64
    yield 'a rational of nothing', lambda: tiff(*_grey(64, 64, *pixels), (282, 5, 1, 0), tail=bytes(4096))
    yield (
        'a thousand directories',
        lambda: b'II*\0\x08\0\0\0' + b''.join(struct.pack('<HI', 0, 8 + 6 * (i + 1)) for i in range(100_000)),
    )
    yield 'EXIF that loops', lambda: encoded('JPEG', exif=b'Exif\0\0' + tiff((34665, 4, 1, 8), following=8))
    yield (
        'EXIF of sixty thousand bytes of tags',
        lambda: encoded(
            'JPEG',
            exif=b'Exif\0\0II*\0\x08\0\0\0'
            + struct.pack('<H', 5000)
            + b''.join(struct.pack('<HHII', i, 2, 60_000, 8) for i in range(5000)),
        ),
    )


def others() -> Iterator[tuple[str, Maker]]:
    """JPEG, GIF, WebP, AVIF, JPEG 2000, portable maps, QOI, TGA and BMP."""
    yield 'jpeg: 65500 x 2700 that are not there', lambda: _sized_jpeg(encoded('JPEG'), 65_500, 2700)
    yield 'jpeg: progressive, thousands of scans', lambda: scans(4000, 2000, 2000)
    yield 'jpeg: progressive, scans of 169 million pixels', lambda: scans(60, LARGE, LARGE)
    yield 'jpeg: sixty thousand empty segments', lambda: b'\xff\xd8' + b'\xff\xe1\0\2' * 500_000 + encoded('JPEG')[2:]
    yield 'jpeg: padding of 10 MB', lambda: b'\xff\xd8' + b'\xff' * 10_000_000 + encoded('JPEG')[2:]
    yield (
        'jpeg: a profile in 255 parts',
        lambda: (
            b'\xff\xd8'
            + b''.join(
                b'\xff\xe2' + struct.pack('>H', 65_000) + b'ICC_PROFILE\0' + bytes([i, 255]) + bytes(64_984)
                for i in range(1, 256)
            )
            + encoded('JPEG')[2:]
        ),
    )
    yield (
        'jpeg: several pictures, a directory that lies',
        lambda: (
            encoded('JPEG')[:2]
            + b'\xff\xe2'
            + struct.pack('>H', 40)
            + b'MPF\0'
            + b'II*\0\x08\0\0\0'
            + b'\xff' * 26
            + encoded('JPEG')[2:]
        ),
    )
    yield 'jpeg: 12 bits', lambda: encoded('JPEG').replace(b'\xff\xc0\0\x11\x08', b'\xff\xc0\0\x11\x0c')
    yield (
        'gif: a hundred thousand frames',
        lambda: encoded('GIF')[:-1] + (b',\0\0\0\0\1\0\1\0\0\2\2D\1\0' * 100_000) + b';',
    )
    yield (
        'gif: a canvas of 65535 x 2700',
        lambda: b'GIF89a' + struct.pack('<HHBBB', 65_535, 2700, 0, 0, 0) + (b',\0\0\0\0\1\0\1\0\0\2\2D\1\0;'),
    )
    yield (
        'gif: a frame beyond the canvas',
        lambda: (
            b'GIF89a'
            + struct.pack('<HHBBB', 1, 1, 0, 0, 0)
            + (b',' + struct.pack('<HHHHB', 60_000, 60_000, 60_000, 60_000, 0) + b'\2\2D\1\0;')
        ),
    )
    yield 'gif: a million comments', lambda: encoded('GIF')[:13] + b'!\xfe\1a\0' * 1_000_000 + encoded('GIF')[13:]
    yield 'gif: one comment of 10 MB', lambda: encoded('GIF')[:13] + b'!\xfe' + (b'\xff' + bytes(255)) * 40_000 + b'\0'
    yield (
        'webp: 16383 x 10900 that are not there',
        lambda: b'RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f' + struct.pack('<I', 16_382 | 10_899 << 14) + bytes(8),
    )
    yield (
        'webp: a canvas of 2 billion',
        lambda: b'RIFF\x30\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\xff\xff\xff\xff\xff\xff' + bytes(30),
    )
    yield 'webp: truncated', lambda: encoded('WEBP')[:-200]
    yield 'webp: a chunk of 4 GB', lambda: encoded('WEBP')[:12] + b'EXIF\xff\xff\xff\xff' + encoded('WEBP')[12:]
    yield 'webp: one colour, 169 million pixels', lambda: _flat('WEBP', lossless=True)
    yield 'avif: truncated', lambda: encoded('AVIF')[:-200]
    yield (
        'avif: a box of 4 GB',
        lambda: encoded('AVIF')[:4] + encoded('AVIF')[4:].replace(b'\0\0\1', b'\xff\xff\xff', 1),
    )
    yield (
        'avif: boxes in boxes',
        lambda: encoded('AVIF')[:32] + b''.join(struct.pack('>I', 8 * (5000 - i)) + b'meta' for i in range(5000)),
    )
    yield 'avif: a size that lies', lambda: _ispe(encoded('AVIF'), 16_384, 10_900)
    yield 'avif: a size beyond all', lambda: _ispe(encoded('AVIF'), 0x7FFFFFFF, 0x7FFFFFFF)
    yield 'jpeg 2000: tiles of one pixel', lambda: sized_jpeg_2000(encoded('JPEG2000'), 12_000, 12_000, 1, 1)
    yield (
        'jpeg 2000: 169 million pixels that are not there',
        lambda: sized_jpeg_2000(encoded('JPEG2000'), LARGE, LARGE, LARGE, LARGE),
    )
    yield (
        'jpeg 2000: 12 million pixels that are not there',
        lambda: sized_jpeg_2000(encoded('JPEG2000'), 24, 524_308, 24, 524_308),
    )
    yield 'jpeg 2000: a size of 4 billion', lambda: sized_jpeg_2000(encoded('JPEG2000'), 0xFFFFFFFF, 0xFFFFFFFF, 64, 64)
    yield (
        'jpeg 2000: boxes of nothing',
        lambda: encoded('JPEG2000')[:12] + b'\0\0\0\x08free' * 500_000 + encoded('JPEG2000')[12:],
    )
    yield 'jpeg 2000: a box of 16 exabytes', lambda: encoded('JPEG2000')[:12] + b'\0\0\0\1jp2h' + b'\xff' * 8
    yield 'jpeg 2000: a box of size 1 to 7', lambda: encoded('JPEG2000')[:12] + b'\0\0\0\4jp2h' * 1000
    yield 'map: a width of a million digits', lambda: b'P6\n' + b'9' * 1_000_000 + b' 1 255\n'
    yield 'map: comments without end', lambda: b'P6\n' + b'#\n' * 2_000_000
    yield 'map: a comment without end', lambda: b'P6\n#' + b'a' * 20_000_000
    yield 'map: 169 million pixels that are not there', lambda: b'P6\n13000 13000 255\n'
    yield 'map: in words, not there', lambda: b'P3\n13000 13000 255\n1 2 3'
    yield 'map: in words, a million comments', lambda: b'P3\n1000 1000 255\n' + b'#\n' * 1_000_000
    yield 'map: in words, blanks', lambda: b'P3\n1000 1000 255\n' + b' ' * 20_000_000
    yield 'map: in bits, 20 MB', lambda: b'P1\n13000 13000\n' + b'0' * 20_000_000
    yield 'map: in words, a long one', lambda: b'P3\n1000 1000 255\n' + b'1' * 20_000_000
    yield 'map: of 16 bits, 20 MB', lambda: b'P5\n10000 1000 1023\n' + bytes(20_000_000)
    yield 'map: of few levels, 20 MB', lambda: b'P6\n6000 1100 100\n' + bytes(20_000_000)
    yield 'map: floats with a scale of nothing', lambda: b'Pf\n64 64\n0\n' + bytes(16_384)
    yield 'qoi: 169 million pixels that are not there', lambda: b'qoif' + struct.pack('>IIBB', LARGE, LARGE, 3, 0)
    yield (
        'qoi: 169 million pixels in runs',
        lambda: b'qoif' + struct.pack('>IIBB', LARGE, LARGE, 4, 0) + b'\xfd' * 2_800_000,
    )
    yield 'qoi: 20 million indices', lambda: b'qoif' + struct.pack('>IIBB', 5000, 4000, 3, 0) + b'\0\1' * 10_000_000
    yield (
        'tga: 169 million pixels that are not there',
        lambda: b'\0\0\2' + bytes(9) + struct.pack('<HHBB', LARGE, LARGE, 24, 32),
    )
    yield (
        'tga: 169 million pixels in runs',
        lambda: b'\0\0\x0a' + bytes(9) + struct.pack('<HHBB', LARGE, LARGE, 24, 32) + (b'\xff\0\0\0' * 1_320_400),
    )
    yield (
        'tga: a palette of 65535 colours',
        lambda: b'\0\1\1\0\0\xff\xff\x20' + bytes(4) + struct.pack('<HHBB', 64, 64, 8, 32),
    )
    yield 'bmp: 169 million pixels that are not there', lambda: bmp(LARGE, LARGE, 0, b'')
    yield 'bmp: one row of 178 million, ended early', lambda: bmp(178_000_000, 1, 1, b'\1\0\0\0')
    yield 'bmp: rows that are skipped', lambda: bmp(LARGE, LARGE, 1, b'\0\2\0\xff' * 60)
    yield 'bmp: runs of nothing', lambda: bmp(64, 64, 1, b'\xff\0' * 64 + b'\1\0' * 10_000_000)
    yield 'bmp: a palette of 4 billion colours', lambda: bmp(64, 64, 0, bytes(4096), colours=0xFFFFFFFF)
    yield 'bmp: a negative size', lambda: bmp(-64, -(2**31), 0, bytes(4096))
    yield 'bmp: pixels at 4 GB', lambda: b'BM' + bytes(8) + b'\xff\xff\xff\xff' + bmp(64, 64, 0, bytes(4096))[14:]
    yield 'targa by name alone', lambda: bytes(range(256)) * 4096
    yield 'zeros', lambda: bytes(1_000_000)
    yield 'nothing', lambda: b''
    yield 'PostScript', lambda: b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n'
    yield 'an icon of pictures', lambda: b'\0\0\1\0\xff\xff' + bytes(16) * 65_535
    yield 'a PSD', lambda: b'8BPS\0\1' + bytes(6) + struct.pack('>HIIHH', 56, 30_000, 30_000, 8, 3) + bytes(100)


def bmp(width: int, height: int, compression: int, data: bytes, colours: int = 256) -> bytes:
    header = struct.pack('<IiiHHIIiiII', 40, width, height, 1, 8, compression, len(data), 0, 0, colours, 0)
    return b'BM' + struct.pack('<IHHI', 0, 0, 0, 54 + 1024) + header + bytes(1024) + data


def _flat(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new('RGB', (LARGE, LARGE)).save(buffer, kind, **options)
    return buffer.getvalue()


def _sized_jpeg(data: bytes, width: int, height: int) -> bytes:
    start = data.index(b'\xff\xc0')
    return data[: start + 5] + struct.pack('>HH', height, width) + data[start + 9 :]


def scans(count: int, width: int, height: int) -> bytes:
    """A progressive JPEG of grey whose scans say of all blocks at once that they hold nothing new."""
    frame = b'\xff\xc2' + struct.pack('>HBHHB', 11, 8, height, width, 1) + b'\1\x11\0'
    tables = b'\xff\xdb\0\x43\0' + b'\1' * 64
    # a code of DC (category 0), and one of AC: end of a band of 2^14 blocks
    tables += b'\xff\xc4\0\x14\0\1' + bytes(15) + b'\0' + b'\xff\xc4\0\x14\x10\1' + bytes(15) + b'\xe0'
    blocks = -(-width // 8) * -(-height // 8)
    first = b'\xff\xda\0\x08\1\1\0\0\0\0' + bytes(-(-blocks // 8))
    runs = b''.join(b'\0\0' for _ in range(-(-blocks * 15 // (1 << 14) // 16) + 2))
    return b'\xff\xd8' + tables + frame + first + (b'\xff\xda\0\x08\1\1\0\1\x3f\0' + runs) * count + b'\xff\xd9'


def _ispe(data: bytes, width: int, height: int) -> bytes:
    start = data.index(b'ispe') + 8
    return data[:start] + struct.pack('>II', width, height) + data[start + 8 :]


def sized_jpeg_2000(data: bytes, width: int, height: int, tile_width: int, tile_height: int) -> bytes:
    """With another size in its head."""
    start = data.index(b'\xff\x51') + 6
    size = struct.pack('>8I', width, height, 0, 0, tile_width, tile_height, 0, 0)
    header = data.index(b'ihdr') + 4
    data = data[:header] + struct.pack('>II', height, width) + data[header + 8 :]
    return data[:start] + size + data[start + 32 :]
