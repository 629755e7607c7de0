"""Colour profiles, made here: one wider than sRGB (primaries of Adobe RGB (1998), a gamma of 2.2), one of inks,
and one of grey."""

import struct
from functools import cache

import numpy as np

PRIMARIES = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])  # to XYZ


def _xyz(values):
    return b'XYZ \0\0\0\0' + b''.join(struct.pack('>i', round(v * 65536)) for v in values)


def _text(kind, text):
    if kind == b'desc':
        return b'desc\0\0\0\0' + struct.pack('>I', len(text) + 1) + text + b'\0' * 79
    return b'text\0\0\0\0' + text + b'\0'


def _gamma(gamma):
    return b'curv\0\0\0\0' + struct.pack('>IH', 1, round(gamma * 256))


@cache
def wide(gamma=2.2) -> bytes:
    """ICC version 2: a matrix and one curve."""
    curve = _gamma(gamma)
    tags = {
        b'desc': _text(b'desc', b'wide'),
        b'cprt': _text(b'text', b'none'),
        b'wtpt': _xyz((0.9642, 1, 0.8249)),
        **{name + b'XYZ': _xyz(PRIMARIES[:, i]) for i, name in enumerate((b'r', b'g', b'b'))},
        **{name + b'TRC': curve for name in (b'r', b'g', b'b')},
    }
    return _file(tags, b'mntr', b'RGB ', b'XYZ ')


@cache
def grey(gamma=1.0) -> bytes:
    """ICC version 2: one curve."""
    tags = {b'desc': _text(b'desc', b'grey'), b'wtpt': _xyz((0.9642, 1, 0.8249)), b'kTRC': _gamma(gamma)}
    return _file({**tags, b'cprt': _text(b'text', b'none')}, b'mntr', b'GRAY', b'XYZ ')


def _file(tags, kind, colours, connection):
    table, body, at = b'', b'', 132 + 12 * len(tags)
    for name, data in tags.items():
        data += b'\0' * (-len(data) % 4)
        table += struct.pack('>4sII', name, at + len(body), len(data))
        body += data
    head = struct.pack('>I4sI4s4s4s', at + len(body), b'\0' * 4, 0x02400000, kind, colours, connection)
    head += struct.pack('>6H4s4sI', 2026, 1, 1, 0, 0, 0, b'acsp', b'\0' * 4, 0) + b'\0' * 20
    head += struct.pack('>3i', 63190, 65536, 54061)
    return head.ljust(128, b'\0') + struct.pack('>I', len(tags)) + table + body


@cache
def inks() -> bytes:
    """A profile of print colours by tables, there and back; its inks are those of a naive CMYK."""
    parts = np.stack(np.meshgrid(*[np.linspace(0, 1, 9)] * 4, indexing='ij'), -1).reshape(-1, 4)
    rgb = (1 - parts[:, :3]) * (1 - parts[:, 3:])
    steps = np.linspace(0, 1, 17)
    lab = np.stack(np.meshgrid(steps, steps, steps, indexing='ij'), -1).reshape(-1, 3)
    there, back = _lab(rgb), np.clip(1 - _from_lab(lab), 0, 1)
    tags = {
        b'desc': _text(b'desc', b'inks'),
        b'cprt': _text(b'text', b'none'),
        b'wtpt': _xyz((0.9642, 1, 0.8249)),
        b'A2B0': _table(there, 4, 9),
        b'B2A0': _table(np.concatenate([back, np.zeros((len(back), 1))], 1), 3, 17),
    }
    return _file(tags, b'prtr', b'CMYK', b'Lab ')


def _table(nodes, inputs, grid):
    """'mft1': values of 0..1 at the nodes of a grid, straight curves before and after."""
    straight = bytes(range(256))
    head = b'mft1\0\0\0\0' + bytes([inputs, nodes.shape[1], grid, 0])
    head += struct.pack('>9i', *(65536 if i % 4 == 0 else 0 for i in range(9)))
    return head + straight * inputs + np.rint(nodes * 255).astype(np.uint8).tobytes() + straight * nodes.shape[1]


def _lab(rgb):
    """sRGB of 0..1 to Lab as bytes of a profile have it, in 0..1."""
    from PIL import Image, ImageCms

    transform = ImageCms.buildTransform(ImageCms.createProfile('sRGB'), ImageCms.createProfile('LAB'), 'RGB', 'LAB')
    image = Image.fromarray(np.rint(rgb[None] * 255).astype(np.uint8))
    lab = np.asarray(ImageCms.applyTransform(image, transform))[0]
    return (lab ^ np.array([0, 128, 128], np.uint8)) / 255  # Pillow's a and b are signed


def _from_lab(lab):
    from PIL import Image, ImageCms

    transform = ImageCms.buildTransform(ImageCms.createProfile('LAB'), ImageCms.createProfile('sRGB'), 'LAB', 'RGB')
    values = np.rint(lab[None] * 255).astype(np.uint8) ^ np.array([0, 128, 128], np.uint8)
    image = Image.frombytes('LAB', values.shape[1::-1], values.tobytes())
    return np.asarray(ImageCms.applyTransform(image, transform))[0] / 255
