"""Sizes, first looks and colour fixes of whole files against what the original's scripts recorded."""

import re

import numpy as np
import pytest

from addsr_jax.data.resize import small_view
from addsr_jax.networks.prompt_extractor import normalise
from addsr_jax.restoration import finish, views
from addsr_jax.sizes import SD2
from tests import golden
from tests.golden import pictures

pytestmark = pytest.mark.parity
CASES = golden.cases('image_ops')


def file_of(case, name='x'):
    match = re.fullmatch(r'image_u8\(([\w.]+),(\d+),(\d+)\)', CASES[case]['inputs'][name])
    assert match is not None
    return pictures.picture_u8(match[1], int(match[2]), int(match[3]))


@pytest.mark.parametrize('row', CASES['inference_sizes']['table'], ids=lambda row: 'x'.join(map(str, row['in_wh'])))
def test_a_file_becomes_the_recorded_size_and_goes_back_to_it(row):
    large = views.enlarged(np.zeros((*row['in_wh'][::-1], 3), np.uint8), 4, SD2.view)
    assert [*large.shape[1::-1]] == row['net_wh']
    height, width, _ = views.sized(large, *row['out_wh']).shape
    assert [width, height] == row['out_wh']


def test_every_resize_rounds_as_recorded():
    large = views.enlarged(file_of('inference_chain'), 4, SD2.view)
    pictures.check_bytes('image_ops', 'inference_chain', 'net', large)
    back = views.sized(large, *CASES['inference_chain']['inputs']['sizes']['out_wh'])
    pictures.check_bytes('image_ops', 'inference_chain', 'out', back)


@pytest.mark.parametrize('case', ['ram_infer_up', 'ram_infer_down'])
def test_what_the_prompt_extractor_sees_of_a_file_is_as_recorded(case):
    look = normalise(small_view(file_of(case), 384))
    pictures.check('image_ops', case, 'out', golden.to_nchw(look))


@pytest.mark.parametrize('case', ['adain_pil', 'adain_pil_sizes', 'wavelet_pil'])
def test_the_colour_fix_of_bytes_is_as_recorded(case):
    restored, lq = (file_of(case, name).astype(np.float32) / np.float32(127.5) - 1 for name in ('target', 'source'))
    out = finish.finished(restored, lq, case.split('_')[0], 0.0, truncates=True)
    pictures.check_bytes('image_ops', case, 'out', out)
