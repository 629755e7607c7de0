"""LPIPS and DISTS with their published weights, beside the same networks built in torch, in double precision."""

import numpy as np
import pytest

from addsr_jax.evaluation.figures import FIGURES
from addsr_jax.networks.perceptual import ALEX_LAYERS, VGG_BLOCKS
from addsr_jax.weights import dists, lpips

pytestmark = [pytest.mark.parity, pytest.mark.torch]
RNG = np.random.default_rng(0)
TRUTH = np.kron(RNG.integers(0, 256, (12, 9, 3)), np.ones((8, 8, 1))).astype(np.uint8)  # [96, 72, 3]
PICTURE = np.clip(TRUTH + RNG.normal(0, 20, TRUTH.shape), 0, 255).astype(np.uint8)


def convolved(x, layer, **how):
    import torch
    from torch.nn.functional import conv2d, relu

    kernel, bias = (torch.from_numpy(layer[key].astype(np.float64)) for key in ('kernel', 'bias'))
    return relu(conv2d(x, kernel.permute(3, 2, 0, 1), bias, **how))


def vgg(layers, x, pool):
    found, layer = [], 0
    for block, depth in enumerate(VGG_BLOCKS):
        x = pool(x) if block else x
        for _ in range(depth):
            x, layer = convolved(x, layers[f'Conv_{layer}'], padding=1), layer + 1
        found.append(x)
    return found


def alex(layers, x):
    from torch.nn.functional import max_pool2d

    found = []
    for layer, (stride, padding, pooled) in enumerate(ALEX_LAYERS):
        x = max_pool2d(x, 3, 2) if pooled else x
        x = convolved(x, layers[f'Conv_{layer}'], stride=stride, padding=padding)
        found.append(x)
    return found


def tensor(image):
    import torch

    return torch.from_numpy(image.astype(np.float64) / 255).permute(2, 0, 1)[None]


def colours(values):
    import torch

    return torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1)


@pytest.mark.parametrize(('name', 'trunk'), [('lpips', 'alex'), ('lpips_vgg', 'vgg')])
def test_parity_lpips(name, trunk):
    import torch
    from torch.nn.functional import max_pool2d, normalize

    params = lpips.load(trunk)

    def features(image):
        x = (tensor(image) * 2 - 1 - colours([-0.030, -0.088, -0.188])) / colours([0.458, 0.448, 0.450])
        if trunk == 'alex':
            return alex(params['trunk'], x)
        return vgg(params['trunk'], x, lambda y: max_pool2d(y, 2, 2))

    wanted = 0.0
    for a, b, head in zip(features(PICTURE), features(TRUTH), params['heads'], strict=True):
        apart = (normalize(a, dim=1, eps=1e-10) - normalize(b, dim=1, eps=1e-10)) ** 2
        wanted += float((apart * torch.from_numpy(head.astype(np.float64)).view(1, -1, 1, 1)).sum(1).mean())
    assert FIGURES[name].of(PICTURE, TRUTH) == pytest.approx(wanted, abs=1e-5)


def test_parity_dists():
    import torch
    from torch.nn.functional import conv2d

    params = dists.load()
    taps = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]], dtype=torch.float64) / 16

    def pool(x):
        channels = x.shape[1]
        kernel = taps[None, None].repeat(channels, 1, 1, 1)
        return (conv2d(x**2, kernel, stride=2, padding=1, groups=channels) + 1e-12).sqrt()

    def features(image):
        x = tensor(image)
        return [x, *vgg(params['trunk'], (x - colours([0.485, 0.456, 0.406])) / colours([0.229, 0.224, 0.225]), pool)]

    weights = {key: torch.from_numpy(params[key].astype(np.float64)) for key in ('alpha', 'beta')}
    likeness, start = 0.0, 0
    for a, b in zip(features(PICTURE), features(TRUTH), strict=True):
        own = slice(start, start := start + a.shape[1])
        mean_a, mean_b = (x.mean((0, 2, 3)) for x in (a, b))
        var_a, var_b = (x.var((0, 2, 3), unbiased=False) for x in (a, b))
        both = (a * b).mean((0, 2, 3)) - mean_a * mean_b
        likeness += weights['alpha'][own] @ ((2 * mean_a * mean_b + 1e-6) / (mean_a**2 + mean_b**2 + 1e-6))
        likeness += weights['beta'][own] @ ((2 * both + 1e-6) / (var_a + var_b + 1e-6))
    wanted = 1 - float(likeness / sum(w.sum() for w in weights.values()))
    assert FIGURES['dists'].of(PICTURE, TRUTH) == pytest.approx(wanted, abs=1e-5)
