"""What a file without a colour profile says of its colours, where they are not those of sRGB: AVIF, HEIC and PNG."""

import re
import struct

from PIL import Image

from addsr_jax.data import deep, heif

# Numbers of ITU-T H.273 for colours that sRGB's numbers do not mean.
PRIMARIES = {9: 'BT.2020', 10: 'XYZ', 11: 'DCI-P3', 12: 'Display P3'}
CURVES = {5: 'gamma 2.8', 8: 'linear light', 16: 'PQ', 17: 'SMPTE 428', 18: 'HLG'}
GAMMA, NEAR = 2.2, 0.05  # of sRGB, and what a file's may differ from it, as a share


def said(image: Image.Image, data: bytes) -> str:
    """In words, of an opened and decoded picture; '' for sRGB's or none."""
    if heif.is_one(image):
        found = re.search(rb'colrnclx(.{4})', data, re.DOTALL)
        return _named(*struct.unpack('>2H', found[1])) if found else ''
    if image.format != 'PNG':
        return ''
    for kind, chunk in deep.chunks(data):
        if kind == b'cICP' and len(chunk) == 16:
            return _named(chunk[8], chunk[9])
    gamma = image.info.get('gamma')
    if not gamma or 'srgb' in image.info or abs(gamma * GAMMA - 1) <= NEAR:
        return ''
    return f'of gamma {1 / gamma:.3g}'


def _named(primaries: int, curve: int) -> str:
    return ', '.join(name for name in (PRIMARIES.get(primaries), CURVES.get(curve)) if name)
