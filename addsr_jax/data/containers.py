"""What a picture's file says of itself, looked at before a decoder believes it.

Decoders loop over chunks, segments, scans, strips and tiles, as many as a file names. A photograph has few; a file that
has a million was made to take hours or gigabytes. ValueError says which.
"""

import re
import struct

MOST_PARTS = 10_000  # chunks or segments of any length, and one more for each kilobyte of the file
MOST_SCANS = 100  # of a JPEG; progressive ones have about ten
MARKER = re.compile(rb'\xff[\x01-\xcf\xd8-\xfe]')  # of a JPEG, but those of restarts, of which scans have many
SCAN, END = 0xDA, 0xD9
ALONE = {*range(0xC0), 0xD8, END}  # markers without a length behind them
PADDING = b'\xff' * 10_000
MOST_PIECES = 100_000  # strips or tiles of a TIFF; one row each is allowed
PIECES = (273, 324)  # TIFF's tags of their places
KIND, REDUCED = 254, 1  # NewSubfileType, and its bit of a smaller copy of another picture
CANON = b'\x10\0\0\0CR\2\0'  # after the first bytes of a TIFF: a CR2, whose preview is not marked
RAW = 'it is a raw photograph, of which only a preview could be read: develop it and save it as TIFF'
HEADER = 1 << 16  # bytes in which a portable map has said its size
MOST_COMMENTS = 1000  # of a portable map in words
FLAT, DENSEST = 1 << 24, 200  # pixels of any file; pixels of a larger one for each of its bytes
WIDE = {'JPEG2000': 2}  # whose decoders hold so many times more for a pixel than others: integers of 32 bits, twice
SLOW = 1 << 22  # pixels of a file that no fast decoder takes


def check(data: bytes) -> None:
    """Of an encoded picture: JPEG, PNG, TIFF and portable maps; the others' decoders are quick at whatever they get."""
    if data.startswith(b'\xff\xd8'):
        _check_jpeg(data)
    elif data.startswith(b'\x89PNG\r\n\x1a\n'):
        _check_png(data)
    elif data[:4] in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'):
        _check_tiff(data)
    elif re.match(rb'P[1-6FfyY0]', data):
        _check_map(data)


def check_size(pixels: int, size: int, slow: bool, format_: str = '') -> None:
    """Of an opened picture of Pillow's format in `size` bytes; slow: its decoder takes a microsecond for each pixel."""
    if slow and max(pixels, size / 2) > SLOW:
        raise ValueError(f'files of this kind are read up to {SLOW} pixels: save it as PNG')
    if pixels > max(FLAT // WIDE.get(format_, 1), DENSEST * size):
        raise ValueError(f'it has {pixels} pixels in {size} bytes, as no photograph does')


def _check_png(data: bytes) -> None:
    """Up to its end: behind that no decoder looks, and some programs leave zeros or a video there."""
    at, left, pixels = 8, MOST_PARTS + len(data) // 1024, False
    while at + 8 <= len(data):
        kind = data[at + 4 : at + 8]
        if kind == b'IEND' and pixels:
            return
        pixels |= kind == b'IDAT'
        at += 12 + int.from_bytes(data[at : at + 4])
        left -= 1
        if left < 0:
            raise ValueError('it has too many chunks')


def _check_jpeg(data: bytes) -> None:
    """Up to its end: behind that no decoder looks, and phones append videos and maps of depths.

    The end is found as libjpeg finds it. Before the first scan Pillow passes over one, so it does not count there.
    """
    at, scans, left = 2, 0, MOST_PARTS + len(data) // 1024
    while True:
        found = MARKER.search(data, at)
        stop = found.start() if found else len(data)
        if data.find(PADDING, at, stop) >= 0:
            raise ValueError('it has too much padding')
        # bytes between segments are skipped one by one, as decoders do; behind the first scan they are its pixels
        left -= 1 if scans else 1 + max(stop - at, 0)
        if left < 0:
            raise ValueError('it has too many segments')
        kind, at = (data[stop + 1], stop + 2) if found else (END, len(data))
        if kind == END and (scans or not found):
            return
        scans += kind == SCAN
        if scans > MOST_SCANS:
            raise ValueError(f'it has more than {MOST_SCANS} scans')
        if kind not in ALONE:
            at += max(int.from_bytes(data[at : at + 2]), 2)


def _check_tiff(data: bytes) -> None:
    """The first directory's tags; the decoder makes an object for each strip and tile.

    Raw photographs of cameras are TIFFs whose first picture is a small preview: nobody wants that one enlarged.
    """
    if data[4:12] == CANON:
        raise ValueError(RAW)
    order, big = ('<' if data[:2] == b'II' else '>'), data[2:4] in (b'+\0', b'\0+')
    count_at, entry, counts = (8, 20, 'Q') if big else (4, 12, 'I')
    try:
        at = struct.unpack_from(f'{order}{counts}', data, count_at)[0]
        entries = struct.unpack_from(f'{order}{"Q" if big else "H"}', data, at)[0]
        at += 8 if big else 2
        for _ in range(min(entries, 1 << 16)):
            tag, _, count = struct.unpack_from(f'{order}HH{counts}', data, at)
            if tag in PIECES and count > MOST_PIECES:
                raise ValueError(f'it has {count} strips or tiles')
            if tag == KIND and struct.unpack_from(f'{order}I', data, at + (12 if big else 8))[0] & REDUCED:
                raise ValueError(RAW)
            at += entry
    except (struct.error, OverflowError):
        return  # the decoder says what is wrong


def _check_map(data: bytes) -> None:
    words = re.sub(rb'#[^\r\n]*', b'', data[:HEADER]).split(None, 3)
    if len(words) < 3:
        raise ValueError('its header has no end')
    if data[1:2] in (b'1', b'2', b'3') and data.count(b'#') > MOST_COMMENTS:
        raise ValueError('it has too many comments')
