"""Whole degradations, stage by stage, with every recorded draw; and the draws themselves, as often as recorded."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from addsr_jax.data import batches
from addsr_jax.data import degradation as d
from addsr_jax.data.degradation_tables import TABLES
from addsr_jax.data.kernels import gaussian_kernel, pad_kernel, sinc_kernel
from tests import golden
from tests.data.test_parity_degradation import RecordedNoise, counts_of, kernel
from tests.golden import pictures

pytestmark = pytest.mark.parity
CASES = golden.cases('degradation')
STAGES = {'sharpen': 'usm', 'filter2d': 'blur', 'resize': 'resize', '_noise': 'noise', 'jpeg': 'jpeg'}


def between(low, high, u):
    return low + u * (high - low)


def stage(kernel, factor, mode, gaussian, strength, grey, quality):
    return d.StageDraws(kernel, factor, mode, gaussian, strength, grey, quality)


def chain1():
    for i in (0, 1):
        first = stage(
            kernel(('k1', 'k1b')[i]), 0.53, 'bicubic', True, between(1, 30, (0.41, 0.77)[i]), i == 0, (47.3, 81.9)[i]
        )
        second = stage(
            kernel(('k2', 'k2b')[i]), 1.13, 'area', False, between(0.05, 2.5, (0.33, 0.66)[i]), True, (71.0, 39.5)[i]
        )
        yield d.DegradationDraws((first, second), kernel(('s1', 's1b')[i]), 'bilinear', sinc_first=True)


def chain2():
    first = stage(kernel('k1b'), 1.27, 'bilinear', False, between(0.05, 3.0, 0.5), False, 60.0)
    second = stage(None, 1.0, 'bicubic', True, between(1, 25, 0.25), True, 90.0)
    yield d.DegradationDraws((first, second), kernel('s1'), 'area', sinc_first=False)


def chain3():
    def blur(*values):
        return pad_kernel(gaussian_kernel(*values), d.KERNEL)

    first = stage(blur('aniso', 15, 1.7, 0.8, -2.0, 1.0), 0.71, 'area', True, between(1, 15, 0.6), True, 72.5)
    strength = between(0.05, 1.0, 0.8)
    second = stage(blur('plateau_aniso', 11, 1.2, 0.5, 0.9, 1.4), 0.83, 'bilinear', False, strength, False, 85.0)
    final = pad_kernel(sinc_kernel(9, 2.2), d.KERNEL)
    yield d.DegradationDraws((first, second), final, 'bicubic', sinc_first=True)


# name -> (draws of each picture, pictures, side of the Gaussian fields)
CHAINS = {
    'chain1': (chain1, lambda: pictures.pictures('deg.gt1', 2, 96, 96), (50, 50)),
    'chain2': (chain2, lambda: pictures.pictures('deg.gt2', 1, 96, 96), (24, 24)),
    'chain3': (chain3, lambda: pictures.picture('deg.gt3', 80, 96)[None, :, ::-1].copy(), (56, 68)),
}


@pytest.fixture
def passed(monkeypatch):
    """What every stage returned, by its name and in order."""
    seen = {}

    def watch(module, function, name):
        original = getattr(module, function)

        def watched(*args, **kwargs):
            seen.setdefault(name, []).append(original(*args, **kwargs))
            return seen[name][-1]

        monkeypatch.setattr(module, function, watched)

    for function, name in STAGES.items():
        watch(d, function, name)
    for function, name in {'sharpen': 'usm', 'degrade': 'degraded', 'resize': 'resize'}.items():
        watch(batches, function, name)
    return seen


@pytest.mark.parametrize('case', CHAINS)
def test_every_stage_of_a_degradation_is_as_recorded(case, passed, monkeypatch):
    make_draws, make_pictures, side = CHAINS[case]
    images, counts = make_pictures(), counts_of(case)
    grey = pictures.normal(f'deg.{case}.randn0', side)[..., None]
    colour = golden.to_nhwc(pictures.normal(f'deg.{case}.randn1', (len(images), 3, *side)))
    pairs = []
    for i, draws in enumerate(make_draws()):
        monkeypatch.setattr(batches, 'draw_degradation', lambda rng, table, draws=draws: draws)
        source = RecordedNoise(fields=[grey, colour[i]], counts=[c[i] for c in counts])
        pairs.append(batches.pair(images[i], TABLES['mild' if case == 'chain3' else 'standard'], source))
    answers = {}
    for name, outputs in passed.items():
        each = len(outputs) // len(images)
        answers |= {f'{name}{k}': np.stack(outputs[k::each]) for k in range(each)}
    if case == 'chain3':  # 'lq' is recorded at the target's size and on the grid of bytes, of others as it comes
        answers |= {'gt': images, 'lq': np.stack([lq for _, lq in pairs])}
    else:
        answers |= {'gt': answers['usm0'], 'lq': answers['degraded0']}
    for name in CASES[case]['outputs']:
        if not name.startswith('counts'):
            pictures.check('degradation', case, name, golden.to_nchw(answers[name]))


DRAWS = 4000


def share_agrees(ours, recorded):
    """Each choice as often as recorded, within five deviations of the difference."""
    n, m = sum(ours.values()), sum(recorded.values())
    for choice, count in recorded.items():
        p = (count + ours[choice]) / (m + n)
        assert abs(count / m - ours[choice] / n) <= 5 * np.sqrt(p * (1 - p) * (1 / n + 1 / m)) + 1e-9, choice
    assert set(ours) <= set(recorded)


def values_agree(ours, recorded, name):
    """Kolmogorov and Smirnov: the distribution at every recorded quantile, within the distance one in a million has."""
    levels = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
    assert len(ours) > 100, name
    bound = 2.7 * np.sqrt(1 / len(ours) + 1 / recorded['n'])
    for level, value in zip(levels, recorded['quantiles'][1:-1], strict=True):
        below, up_to = np.mean(np.less(ours, value)), np.mean(np.less_equal(ours, value))
        assert below - bound <= level <= up_to + bound, (name, level)


@pytest.mark.parametrize(('case', 'table'), [('stats_paired', 'standard'), ('stats_yml', 'mild')])
def test_choices_and_strengths_are_drawn_as_often_as_recorded(case, table):
    recorded, rng = CASES[case]['statistics'], np.random.default_rng(0)
    drawn = [d.draw_degradation(rng, TABLES[table]) for _ in range(DRAWS)]
    for i in (1, 2):
        stages = [draws.stages[i - 1] for draws in drawn]
        directions = ['up' if s.factor > 1 else 'down' if s.factor < 1 else 'keep' for s in stages]
        share_agrees(Counter(directions), recorded[f'updown{i}'])
        share_agrees(Counter('gaussian' if s.gaussian else 'poisson' for s in stages), recorded[f'noise{i}'])
        share_agrees(Counter(str(s.grey) for s in stages), recorded[f'gray{i}'])
        share_agrees(Counter(s.mode for s in stages), recorded[f'mode{i}'])
        for name, values in {
            f'scale{i}_up': [s.factor for s in stages if s.factor > 1],
            f'scale{i}_down': [s.factor for s in stages if s.factor < 1],
            f'sigma{i}': [s.strength for s in stages if s.gaussian],
            f'poisson{i}': [s.strength for s in stages if not s.gaussian],
            f'jpeg{i}': [s.quality for s in stages],
        }.items():
            values_agree(values, recorded[name], name)
    share_agrees(Counter(str(draws.stages[1].kernel is not None) for draws in drawn), recorded['second_blur'])
    share_agrees(Counter(str(draws.sinc_first) for draws in drawn), recorded['last_is_jpeg'])
    share_agrees(Counter(draws.final_mode for draws in drawn), recorded['mode3'])


@pytest.fixture
def kernels(monkeypatch):
    """The arguments that kernels are made with, as they are drawn."""
    made = []

    def gaussian(kind, size, sigma_x, sigma_y, theta, beta):
        made.append(SimpleNamespace(kind=kind, size=size, sigma_x=sigma_x, sigma_y=sigma_y, theta=theta, beta=beta))
        return gaussian_kernel(kind, size, sigma_x, sigma_y, theta, beta)

    def sinc(size, cutoff):
        made.append(SimpleNamespace(kind='sinc', size=size, omega=cutoff))
        return sinc_kernel(size, cutoff)

    monkeypatch.setattr(d, 'gaussian_kernel', gaussian)
    monkeypatch.setattr(d, 'sinc_kernel', sinc)
    return made


def recorded_kind(kind):
    """'generalized_iso' -> 'generalized_Gaussian_iso'."""
    if kind == 'sinc' or kind.startswith('plateau'):
        return kind
    return kind.replace('generalized_', 'generalized_Gaussian_') if '_' in kind else f'Gaussian_{kind}'


@pytest.mark.parametrize('i', [1, 2])
def test_kernels_are_drawn_as_often_as_recorded(kernels, i):
    recorded, rng = CASES['stats_kernels']['statistics'][f'kernel{i}'], np.random.default_rng(0)
    peaks = [d.draw_kernel(rng, TABLES['standard'].stages[i - 1]).max() for _ in range(DRAWS)]
    share_agrees(Counter(recorded_kind(k.kind) for k in kernels), recorded['type'])
    share_agrees(Counter(str(k.size) for k in kernels), recorded['size'])
    blurs, sincs = ([k for k in kernels if (k.kind == 'sinc') is sinc] for sinc in (False, True))
    for name, values in {
        'sigma_x': [k.sigma_x for k in blurs],
        'sigma_y_aniso': [k.sigma_y for k in blurs if k.kind.endswith('aniso')],
        'rotation_aniso': [k.theta for k in blurs if k.kind.endswith('aniso')],
        'beta_generalized': [k.beta for k in blurs if k.kind.startswith('generalized')],
        'beta_plateau': [k.beta for k in blurs if k.kind.startswith('plateau')],
        'omega_sinc_size_lt_13': [k.omega for k in sincs if k.size < 13],
        'omega_sinc_size_ge_13': [k.omega for k in sincs if k.size >= 13],
        'kernel_max': peaks,
    }.items():
        values_agree(values, recorded[name], name)


def test_the_last_filter_is_drawn_as_often_as_recorded(kernels):
    recorded, rng = CASES['stats_kernels']['statistics']['final_sinc'], np.random.default_rng(0)
    finals, peaks = [], []
    for _ in range(DRAWS):
        draws = d.draw_degradation(rng, TABLES['standard'])
        last = kernels[-1] if np.count_nonzero(draws.final_kernel) > 1 else None
        finals.append(last)
        peaks.append(draws.final_kernel.max())
    share_agrees(Counter(str(k is not None) for k in finals), recorded['used'])
    share_agrees(Counter(str(k.size) for k in finals if k), recorded['size'])
    values_agree([k.omega for k in finals if k], recorded['omega'], 'omega')
    values_agree(peaks, recorded['kernel_max'], 'kernel_max')
