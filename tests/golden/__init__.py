"""Recorded outputs of the PyTorch originals, and the rule that makes their weights and inputs from names.

`fixtures/NETWORK/` holds config.json (the original's constructor arguments), manifest.json (name -> [shape, dtype]),
cases.json and one npz per case. Layouts are PyTorch's. Nothing here imports torch.
"""

import json
import math
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from addsr_jax.weights.names import is_computed

FIXTURES = Path(__file__).parent / 'fixtures'
MANIFESTS = Path(__file__).parent / 'manifests'
TABLES = ('label_embed', 'pos_embed', 'cls_token', 'mask_token', 'relative_position_bias_table')


def tensor(name: str, shape: tuple[int, ...], salt: str = '') -> np.ndarray:
    """The float32 tensor that belongs to a PyTorch name and shape."""
    z = np.random.RandomState(zlib.crc32((salt + name).encode())).standard_normal(shape)
    words = name.split('.')
    if name.startswith('input/'):
        scale, shift = 1.0, 0.0
    elif words[-1] in ('weight_u', 'weight_v'):
        scale, shift = 1 / math.sqrt(float((z * z).sum())), 0.0
    elif words[-1] in TABLES or (len(words) > 1 and words[-2] in ('token_embedding', 'position_embedding')):
        scale, shift = 0.1, 0.0
    elif len(shape) >= 2:
        scale, shift = 1 / math.sqrt(math.prod(shape[1:])), 0.0
    else:
        scale, shift = 0.1, float(words[-1] == 'weight')
    # one rounding at the end, with the divisions that the records were made with
    if scale in (1.0, 0.1):
        return (shift + scale * z).astype(np.float32)
    divisor = (
        math.sqrt(float((z * z).sum())) if words[-1] in ('weight_u', 'weight_v') else math.sqrt(math.prod(shape[1:]))
    )
    return (z / divisor).astype(np.float32)


def make_input(spec: dict[str, Any]) -> Any:
    """An input as cases.json describes it: by rule, by value, or a constant."""
    if 'const' in spec:
        return spec['const']
    if 'value' in spec:
        return np.array(spec['value'], spec.get('dtype', 'float32'))
    x = tensor(spec['rule'], tuple(spec['shape']))
    x = np.float32(spec.get('scale', 1)) * x + np.float32(spec.get('shift', 0))
    if not spec.get('clip'):
        return x
    low, high = spec['clip']
    return np.clip(x, np.float32(low), np.float32(high))


@cache
def document(network: str, name: str) -> Any:
    return json.loads((FIXTURES / network / f'{name}.json').read_text())


def state_dict(network: str, *, low_variance: bool = False, salt: str = '') -> dict[str, np.ndarray]:
    """The small network's weights; `low_variance`: all but the scales of norms times 0.01, which shows every eps.

    Another `salt` gives other numbers: 'seesr/' the recorded teacher's.
    """
    return dict(_state_dict(network, low_variance, salt))


@cache
def _state_dict(network: str, low_variance: bool, salt: str) -> dict[str, np.ndarray]:
    state = {}
    for name, (shape, _) in document(network, 'manifest').items():
        if not is_computed(name):
            value = tensor(name, tuple(shape), salt)
            shrink = low_variance and not (value.ndim == 1 and name.endswith('weight'))
            state[name] = value * np.float32(0.01) if shrink else value
            state[name].setflags(write=False)  # all who ask share it
    return state


def cases(network: str) -> dict[str, Any]:
    return document(network, 'cases')['cases']


def inputs(network: str, case: str) -> dict[str, Any]:
    return {name: make_input(spec) for name, spec in cases(network)[case]['inputs'].items()}


def to_nhwc(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def to_nchw(x: Any) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(x).transpose(0, 3, 1, 2))


def check(network: str, case: str, output: str, actual: Any) -> None:
    """The whole recorded output within 20 x its float32 noise + 2e-6 of its maximum; integers exactly."""
    record = cases(network)[case]['outputs'][output]
    actual = np.asarray(actual)
    assert list(actual.shape) == record['shape'], f'{output}: {actual.shape} is not {record["shape"]}'
    with np.load(FIXTURES / network / f'{case}.npz') as data:
        wanted = data[output]
    seen = actual.reshape(-1)[:: record['stride']] if 'stride' in record else actual
    if np.issubdtype(wanted.dtype, np.integer):
        np.testing.assert_array_equal(seen.reshape(-1), wanted.reshape(-1))
        return
    noise = record.get('noise')
    atol = 2e-5 * record['absmax'] if noise is None else 20 * noise + 2e-6 * record['absmax']
    np.testing.assert_allclose(seen.reshape(-1), wanted.reshape(-1), rtol=0, atol=atol, err_msg=f'{case} {output}')
