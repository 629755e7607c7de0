"""Figures of pictures: chosen by name, left out where a picture is too small, and how sure their means are."""

import importlib.metadata
import importlib.util
import re
import sys
import types

import numpy as np
import pytest

from addsr_jax.errors import UserError
from addsr_jax.evaluation import figures, report, statistics, with_pyiqa
from addsr_jax.evaluation.metrics import psnr_y
from addsr_jax.installation import with_extra

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (40, 48, 3), dtype=np.uint8)


@pytest.fixture
def bare(monkeypatch):
    """An installation without the extra `metrics`."""
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)


def test_without_the_extra_there_are_psnr_ssim_and_niqe_and_others_are_refused(bare):
    assert figures.there() == ('psnr', 'ssim', 'niqe')
    assert figures.chosen('niqe, psnr') == ('niqe', 'psnr')
    with pytest.raises(UserError, match=f'dists needs .*{re.escape(with_extra("metrics"))}'):
        figures.chosen('psnr,dists')


def test_an_unknown_figure_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="no figure 'fid': choose among psnr, ssim, niqe, lpips, lpips_vgg, dists"):
        figures.chosen('psnr,fid')


def test_a_picture_too_small_for_a_figure_has_none_and_the_truth_has_its_own_alone():
    assert figures.measure(('psnr', 'niqe'), PICTURE, PICTURE) == {'psnr': pytest.approx(80), 'niqe': None}
    assert figures.of_truth(figures.BASIC, PICTURE) == {'niqe': None}


def test_interval_of_many_pictures_is_that_of_the_normal_law():
    values = np.random.default_rng(1).normal(5, 2, 400)
    ends = statistics.interval(list(values))
    assert ends
    low, high = ends
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.03)
    assert high == pytest.approx(values.mean() + half, abs=0.03)


def test_one_picture_has_no_interval_and_what_is_no_number_does_not_count():
    assert statistics.interval([1.0]) is None
    assert statistics.interval([1.0, float('nan')]) is None
    assert statistics.interval([3.0, 3.0, float('nan')]) == (3, 3)


def scores():
    rows = {'a': (20.0, 22.0), 'b': (30.0, 33.0), 'c': (25.0, None)}
    return [
        report.Score(image, method, {'psnr': value}, None)
        for image, values in rows.items()
        for method, value in zip(('old', 'new'), values, strict=True)
    ]


def test_differences_are_of_the_same_pictures_and_keep_their_sign():
    mean, ends = report.differences(scores(), 'old')['new']['psnr']
    assert mean == 2.5
    assert ends == (2, 3)
    assert '+2.50 [+2.00, +3.00]' in report.differences_table(scores(), 'old')
    with pytest.raises(UserError, match='no scores of best: compare with one of old, new'):
        report.differences(scores(), 'best')


def test_the_table_shows_half_the_interval_of_several_pictures():
    ends = statistics.interval([20, 30, 25])
    assert ends
    low, high = ends
    assert f'25.00 ± {(high - low) / 2:.2f}' in report.table(scores())


def test_scores_are_read_as_they_were_written_and_the_csv_has_a_line_each(tmp_path):
    noisy = PICTURE // 2
    written = [
        report.score('a', 'half', noisy, PICTURE, 1.5),
        report.Score('a', report.TRUTH, {'niqe': None}, None),
    ]
    report.write_json(tmp_path / 'scores.json', written)
    assert report.read_json(tmp_path / 'scores.json') == written
    report.write_csv(tmp_path / 'scores.csv', written)
    header, first, second = (tmp_path / 'scores.csv').read_text().splitlines()
    assert header == 'image,method,psnr,ssim,niqe,seconds'
    assert float(first.split(',')[2]) == psnr_y(noisy, PICTURE)
    assert second == 'a,HR,,,,'


@pytest.mark.parametrize('text', ['[]', '{"images": [{"image": "a"}]}', '{"images": 3}', '{"images": ["a"]}', '{'])
def test_a_file_that_holds_no_scores_is_one_line(tmp_path, text):
    (tmp_path / 'scores.json').write_text(text)
    with pytest.raises(UserError, match=r'scores\.json .*delete it'):
        report.read_json(tmp_path / 'scores.json')


def test_pyiqa_is_asked_for_by_name_and_its_licence_is_said(monkeypatch):
    """A stand-in of the package: what it is given, and what comes of it."""
    asked = []

    def create_metric(name):
        return lambda *given: asked.append((name, *(getattr(g, 'size', g) for g in given))) or 0.5

    monkeypatch.setitem(sys.modules, 'pyiqa', types.SimpleNamespace(create_metric=create_metric))
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: name)
    monkeypatch.setattr(importlib.metadata, 'version', lambda name: '1.2')
    with_pyiqa._metric.cache_clear()
    assert with_pyiqa.introduced() == 'pyiqa 1.2: its licence allows noncommercial use alone'
    found = figures.measure(('musiq', 'clipiqa'), PICTURE, PICTURE)
    assert found == {'musiq': 0.5, 'clipiqa': 0.5}
    assert with_pyiqa.fid('a', 'b') == 0.5
    assert asked == [('musiq', (48, 40)), ('clipiqa', (48, 40)), ('fid', 'a', 'b')]
    with_pyiqa._metric.cache_clear()


def test_without_pyiqa_the_command_that_brings_it_is_said(bare):
    with pytest.raises(UserError, match='pip install pyiqa'):
        with_pyiqa.introduced()
