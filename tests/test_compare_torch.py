"""What the comparison with PyTorch measures and refuses, without torch."""

import importlib.util
import time

import numpy as np
import pytest

from addsr_jax.errors import UserError
from benchmarks import compare_torch
from benchmarks.side_by_side import Case, Row, measured

ANSWER = np.arange(1.0, 5.0)


def slow() -> np.ndarray:
    end = time.process_time() + 0.02
    while time.process_time() < end:
        pass
    return ANSWER


def test_the_ratio_says_how_much_quicker_ours_is():
    (row,) = measured(Case('work', lambda: ANSWER, {'eager': slow}), 1e-3, 3)
    assert row.error == 0
    assert row.cpu[1] >= 0.02
    assert row.cpu[2] > 5
    (turned,) = measured(Case('work', slow, {'eager': lambda: ANSWER}), 1e-3, 3)
    assert turned.cpu[2] < 0.2


@pytest.mark.parametrize('other', [ANSWER + 0.1, ANSWER[:2], ANSWER * np.nan])
def test_other_answers_are_other_work_and_are_not_timed(other):
    with pytest.raises(UserError, match='work: eager differs'):
        measured(Case('work', lambda: ANSWER, {'eager': lambda: other}), 1e-3, 1)


def test_a_sampler_is_the_sum_of_what_its_steps_take_and_what_it_does_once():
    names = (*compare_torch.SUMMED, *compare_torch.ONCE)
    rows = [Row(name, 'eager', 1e-6, (1.0, 2.0, 2.0), (3.0, 3.0, 1.0)) for name in names]
    one, four = compare_torch.sums(rows)
    assert (one.wall, four.wall) == ((5.0, 10.0, 2.0), (14.0, 28.0, 2.0))
    assert four.cpu == (42.0, 42.0, 1.0)


def test_without_torch_it_says_so_in_one_line(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match='torch is not here'):
        compare_torch.check_torch()
