"""Methods on pairs: which pictures belong together, what is loaded, and what is not run twice."""

import numpy as np
import pytest
from PIL import Image

from addsr_jax.errors import UserError
from addsr_jax.evaluation import report
from addsr_jax.restoration import comparison
from addsr_jax.restoration.settings import Settings


@pytest.fixture
def pairs(tmp_path):
    """Five pairs of 24 and 96 pixels, the low ones named as `upscale` names results."""
    rng = np.random.default_rng(0)
    for folder, end, side in (('low', '_x4', 24), ('high', '', 96)):
        (tmp_path / folder).mkdir()
        for name in 'abcde':
            pixels = rng.integers(0, 256, (side, side, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f'{name}{end}.png')
    return comparison.find_pairs(tmp_path / 'low', tmp_path / 'high')


def test_pairs_have_the_same_stem_or_the_stem_before_x4(pairs):
    assert [pair.name for pair in pairs] == list('abcde')
    assert pairs[0].low.name == 'a_x4.png'
    assert pairs[0].high.name == 'a.png'


def test_a_limit_spreads_over_the_set(pairs):
    folders = pairs[0].low.parent, pairs[0].high.parent
    assert [pair.name for pair in comparison.find_pairs(*folders, limit=2)] == ['a', 'c']
    assert len(comparison.find_pairs(*folders, limit=99)) == 5


def test_a_picture_without_partner_is_refused(pairs):
    pairs[2].high.unlink()
    with pytest.raises(UserError, match='has no partner'):
        comparison.find_pairs(pairs[0].low.parent, pairs[0].high.parent)


def test_a_true_picture_without_partner_is_refused_or_said(pairs):
    pairs[2].low.unlink()
    folders = pairs[0].low.parent, pairs[0].high.parent
    with pytest.raises(UserError, match=r'c\.png has no partner'):
        comparison.find_pairs(*folders)
    lines = []
    assert [pair.name for pair in comparison.find_pairs(*folders, tell=lines.append)] == list('abde')
    assert lines == [f'1 of 5 pictures in {folders[1]} have no partner in {folders[0]}, and are left out']


def test_pairs_below_their_folders_are_taken_and_results_among_them_are_not(pairs):
    folders = pairs[0].low.parent, pairs[0].high.parent
    for path in (pairs[0].low, pairs[0].high):
        (path.parent / 'deep').mkdir()
        path.rename(path.parent / 'deep' / path.name)
    results = folders[0] / 'results'
    (results / 'bicubic').mkdir(parents=True)
    (results / 'bicubic' / 'a.png').write_bytes(pairs[1].high.read_bytes())
    found = comparison.find_pairs(*folders, without=results)
    assert [pair.name for pair in found] == ['b', 'c', 'd', 'deep/a', 'e']


def test_bicubic_alone_loads_no_model():
    methods = comparison.make_methods(['bicubic'], Settings(), lambda: pytest.fail('loaded'))
    assert methods['bicubic'](np.zeros((3, 5, 3), np.uint8), 'a').shape == (12, 20, 3)


def test_every_method_gets_its_own_settings_and_one_model():
    class Model:
        def restore(self, image, settings, name):
            return settings.of_method.name, settings.steps, settings.grain, name

    loaded = []
    methods = comparison.make_methods(['addsr-2', ' seesr-9'], Settings(grain=1.0), lambda: loaded.append(1) or Model())
    assert {name: method(None, 'a') for name, method in methods.items()} == {
        'addsr-2': ('addsr', 2, 1.0, 'a'),
        'seesr-9': ('seesr', 9, 1.0, 'a'),
    }
    assert loaded == [1]


def test_speed_is_held_against_the_first_method_of_ancestral_steps():
    def scores(*methods):
        return [report.Score('a', method, {'psnr': 20.0}, 1.0) for method in methods]

    assert comparison.slowest(scores('bicubic', 'addsr-4', 'seesr-20', 'seesr-50')) == 'seesr-20'
    assert comparison.slowest(scores('bicubic', 'addsr-4', 'pred')) is None


def test_what_a_record_holds_is_not_run_again_and_comes_in_the_asked_order(pairs, tmp_path):
    run, lines = [], []

    def methods(names):
        def restore(name):
            return lambda image, key: run.append((name, key)) or comparison.bicubic(image, key)

        return {name: restore(name) for name in names}

    record = tmp_path / 'scores.json'
    first = comparison.scored(record, pairs[:2], ['one'], methods, lines.append)
    assert {key for _, key in run} == {'a', 'b'}
    run.clear()
    both = comparison.scored(record, pairs[:2], ['two', 'one'], methods, lines.append)
    assert {name for name, _ in run} == {'two'}
    assert [s.method for s in both] == ['two', 'two', 'one', 'one']
    assert [s for s in both if s.method == 'one'] == first
    run.clear()
    assert comparison.scored(record, pairs[:2], ['two', 'one'], methods, lines.append) == both
    assert not run
    (again, _) = comparison.scored(record, pairs[:2], ['one'], methods, lines.append, ['psnr'])
    assert not run
    assert set(again.figures) >= {'psnr', 'ssim'}


def test_a_figure_that_a_record_lacks_is_measured_and_what_it_holds_of_others_stays(pairs, tmp_path):
    record = tmp_path / 'scores.json'

    def score(name, metrics):
        return comparison.scored(
            record,
            pairs[:2],
            [name],
            lambda names: dict.fromkeys(names, comparison.bicubic),
            lambda line: None,
            metrics,
        )

    other, old = score('other', ['psnr']), score('one', ['psnr'])
    new = score('one', ['psnr', 'ssim'])
    assert [set(s.figures) for s in new] == [{'psnr', 'ssim'}] * 2
    assert [s.figures['psnr'] for s in new] == [s.figures['psnr'] for s in old]
    kept = report.read_json(record)
    assert [s for s in kept if s.method == 'other'] == other
    assert len(kept) == 4
