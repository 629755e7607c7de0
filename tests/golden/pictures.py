"""Pictures and fields of the pipeline records, made from names as the records were."""

import zlib
from typing import Any

import numpy as np

from tests.golden import FIXTURES, cases


def generator(name: str) -> np.random.RandomState:
    return np.random.RandomState(zlib.crc32(name.encode()))


def normal(name: str, shape: tuple[int, ...]) -> np.ndarray:
    return generator(name).standard_normal(shape).astype(np.float32)


def picture(name: str, h: int, w: int) -> np.ndarray:
    """float32 [h, w, 3] in [0, 1]: smooth colours, three rectangles, a little grain."""
    return picture64(name, h, w).astype(np.float32)


def picture64(name: str, h: int, w: int) -> np.ndarray:
    r = generator(name)
    rows, columns = -(-h // 12) + 1, -(-w // 12) + 1
    coarse = 0.4 * r.random_sample((rows, columns, 3)) + 0.6 * r.random_sample((rows, columns, 1))
    y, x = np.arange(h) / 12.0, np.arange(w) / 12.0
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    fy, fx = (y - top)[:, None, None], (x - left)[None, :, None]
    upper = coarse[top][:, left] * (1 - fx) + coarse[top][:, left + 1] * fx
    lower = coarse[top + 1][:, left] * (1 - fx) + coarse[top + 1][:, left + 1] * fx
    image = upper * (1 - fy) + lower * fy
    for _ in range(3):
        t, s = r.randint(0, max(1, h - 4)), r.randint(0, max(1, w - 4))
        hh, ww = r.randint(3, max(4, h // 3)), r.randint(3, max(4, w // 3))
        image[t : t + hh, s : s + ww] = 0.5 * image[t : t + hh, s : s + ww] + 0.5 * r.random_sample(3)
    image = image + 0.03 * (r.random_sample((h, w, 1)) - 0.5) + 0.02 * (r.random_sample((h, w, 3)) - 0.5)
    return np.clip(image, 0.0, 1.0)


def picture_u8(name: str, h: int, w: int) -> np.ndarray:
    return np.floor(255.0 * picture64(name, h, w) + 0.5).astype(np.uint8)


def pictures(name: str, count: int, h: int, w: int) -> np.ndarray:
    return np.stack([picture(f'{name}.{i}', h, w) for i in range(count)])


def check(group: str, case: str, output: str, actual: Any) -> None:
    """The recorded values within 10 x the noise + 1e-5 of the maximum: 99.9 % of them where a rounding may flip."""
    record = cases(group)[case]['outputs'][output]
    actual = np.asarray(actual)
    assert list(actual.shape) == record['shape'], f'{output}: {actual.shape} is not {record["shape"]}'
    with np.load(FIXTURES / group / 'data.npz') as data:
        wanted = data[record['key']].reshape(-1)
    seen = actual.reshape(-1)[:: record['stride']]
    atol = 10 * (record.get('noise') or 0) + 1e-5 * record['absmax']
    if 'noise_outliers' in record:
        assert (np.abs(seen - wanted) <= atol).mean() >= 0.999, f'{case} {output}'
        return
    np.testing.assert_allclose(seen, wanted, rtol=0, atol=atol, err_msg=f'{case} {output}')


def check_bytes(group: str, case: str, output: str, actual: Any) -> None:
    """Recorded bytes within 1 of 255."""
    record = cases(group)[case]['outputs'][output]
    assert list(actual.shape) == record['shape'], f'{output}: {actual.shape} is not {record["shape"]}'
    with np.load(FIXTURES / group / 'data.npz') as data:
        wanted = data[record['key']].reshape(-1).astype(np.float64)
    seen = np.asarray(actual, np.float64).reshape(-1)[:: record['stride']]
    assert np.abs(seen - wanted).max() <= 1, f'{case} {output}'
