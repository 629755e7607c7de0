"""An ablation's verdicts against arithmetic done by hand, its tables and its plot."""

import pytest
from PIL import Image

from addsr_jax.evaluation import ablation
from addsr_jax.evaluation.plot import perception_distortion


def figures(psnr, ssim=0.8, niqe=7.0, seconds=1.0):
    return {'psnr': psnr, 'ssim': ssim, 'niqe': niqe, 'seconds': seconds}


METRICS = ('psnr', 'ssim', 'niqe')
TABLE = {
    'whole': {'addsr-4': figures(28.0, niqe=7.0)},
    'seed1': {'addsr-4': figures(28.3, niqe=7.2)},
    'blunt': {'addsr-4': figures(28.4, niqe=7.6)},
    'bad': {'addsr-4': figures(27.0, ssim=0.9, niqe=6.0)},
}


def found():
    return {(d.run, d.metric): d for d in ablation.differences(TABLE, ('whole', 'seed1'), ('addsr-4',), METRICS)}


def test_a_difference_is_that_to_the_mean_of_the_seeds_and_none_within_their_spread():
    psnr = found()['blunt', 'psnr']
    assert psnr.value == pytest.approx(28.4 - 28.15)
    assert psnr.spread == pytest.approx(0.3)
    assert psnr.verdict == 'none'


def test_more_psnr_and_ssim_are_better_and_more_niqe_is_worse():
    verdicts = {key: d.verdict for key, d in found().items()}
    assert verdicts['bad', 'psnr'] == 'worse'
    assert verdicts['bad', 'ssim'] == 'better'
    assert verdicts['bad', 'niqe'] == 'better'
    assert verdicts['blunt', 'niqe'] == 'worse'


def test_tables_say_every_run_and_no_figure_for_nothing():
    assert '| blunt | addsr-4 | 28.40 | 0.8000 | 7.60 |' in ablation.figures_table(TABLE, ('addsr-4',), METRICS)
    text = ablation.differences_table(list(found().values()))
    assert '| bad | addsr-4 | -1.15 worse (seeds: 0.30) | +0.1000 better (seeds: 0.0000) | -1.10 better' in text
    assert '| blunt | addsr-4 | none (seeds: 0.30)' in text
    assert '| addsr-4 | 28.00 | 0.8000 | 7.00 | 1.00 |' in ablation.curve_table(TABLE['whole'], METRICS)


def test_pictures_too_small_for_niqe_are_refused():
    small = {'whole': {'addsr-4': figures(28.0, niqe=None)}}
    with pytest.raises(ValueError, match='96 pixels'):
        ablation.figures_table(small, ('addsr-4',), METRICS)


def test_the_plot_is_a_picture_and_needs_no_display(tmp_path):
    curve = {'addsr-4@0': figures(28.5), 'addsr-4': figures(28.0, niqe=6.8), 'addsr-1': figures(29, niqe=7.5)}
    perception_distortion(tmp_path / 'curve.png', curve, {'bicubic': figures(30, niqe=10)}, 0.4, 'niqe')
    with Image.open(tmp_path / 'curve.png') as image:
        assert min(image.size) > 300
    assert [p.name for p in tmp_path.iterdir()] == ['curve.png']
