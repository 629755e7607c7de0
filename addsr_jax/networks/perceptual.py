"""Distances of pictures in a classifier's features: LPIPS 0.1 (Zhang et al. 2018) and DISTS (Ding et al. 2020).

Trunks are VGG16 (Simonyan & Zisserman 2014, configuration D) and AlexNet as torchvision has them, up to the last ReLU
before the classifier; parameters are {'Conv_0': {'kernel', 'bias'}, ...} in the order of the layers. Pictures are
[B, H, W, 3] in [-1, 1], of at least 32 pixels a side.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from addsr_jax.trees import Tree

GRID = 8  # pixels that a corner may move by
SMALLEST = 32  # pixels of a side that LPIPS takes
VGG_BLOCKS = (2, 2, 3, 3, 3)  # convolutions between poolings
VGG_CHANNELS = (64, 128, 256, 512, 512)
# stride, padding, and whether a pooling comes before
ALEX_LAYERS = ((4, 2, False), (1, 2, True), (1, 1, True), (1, 1, False), (1, 1, False))
# ImageNet's mean and deviation, restated for pictures in [-1, 1]
SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
SCALE = np.array([0.458, 0.448, 0.450], np.float32)
# the same for pictures in [0, 1], as DISTS has them
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


def conv(x: jax.Array, params: Tree, stride: int = 1, padding: int = 1) -> jax.Array:
    """A convolution with bias, in the dtype of x."""
    kernel, bias = params['kernel'].astype(x.dtype), params['bias'].astype(x.dtype)
    numbers = ('NHWC', 'HWIO', 'NHWC')
    sides = ((padding, padding), (padding, padding))
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), sides, dimension_numbers=numbers) + bias


def max_pool(x: jax.Array, side: int, stride: int) -> jax.Array:
    windows, strides = (1, side, side, 1), (1, stride, stride, 1)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, windows, strides, 'VALID')


def halve(x: jax.Array) -> jax.Array:
    """VGG's pooling."""
    return max_pool(x, 2, 2)


def vgg16(params: Tree, x: jax.Array, pool: Callable[[jax.Array], jax.Array] = halve) -> tuple[jax.Array, ...]:
    """The last activation of each of the five blocks, [B, H / 2**n, W / 2**n, C] of x [B, H, W, 3]."""
    features, layer = [], 0
    for block, depth in enumerate(VGG_BLOCKS):
        x = pool(x) if block else x
        for _ in range(depth):
            x, layer = jax.nn.relu(conv(x, params[f'Conv_{layer}'])), layer + 1
        features.append(x)
    return tuple(features)


def alexnet(params: Tree, x: jax.Array) -> tuple[jax.Array, ...]:
    """Five activations [B, h, w, C] of x [B, H, W, 3]."""
    features = []
    for layer, (stride, padding, pooled) in enumerate(ALEX_LAYERS):
        x = max_pool(x, 3, 2) if pooled else x
        x = jax.nn.relu(conv(x, params[f'Conv_{layer}'], stride, padding))
        features.append(x)
    return tuple(features)


TRUNKS = {'alex': alexnet, 'vgg': vgg16}


def lpips(trunk: str, params: Tree, a: jax.Array, b: jax.Array) -> jax.Array:
    """LPIPS of pictures a and b, [B]; 0 for equal ones.

    trunk: 'alex', which the published tables use, or 'vgg', which is smoother to learn from. params: {'trunk': tree,
    'heads': five vectors of non-negative weights}. Convolutions run in the dtype of `a`, the rest in float32.
    """
    mean, deviation = SHIFT.astype(a.dtype), SCALE.astype(a.dtype)

    def features(x: jax.Array) -> list[jax.Array]:
        seen = TRUNKS[trunk](params['trunk'], (x.astype(a.dtype) - mean) / deviation)
        return [_unit(f.astype(jnp.float32)) for f in seen]

    # each picture by itself: whoever learns from `a` alone pays no backward pass of `b`
    total = jnp.zeros(len(a), jnp.float32)
    for x, y, head in zip(features(a), features(b), params['heads'], strict=True):
        total = total + ((x - y) ** 2 @ head.astype(jnp.float32)).mean(axis=(1, 2))
    return total


def lpips_from(trunk: str, params: Tree, a: jax.Array, b: jax.Array, corners: jax.Array) -> jax.Array:
    """LPIPS of both pictures, [B], without the rows and columns before their `corners`, [B, 2] int32 in [0, GRID).

    A network whose pictures always lie alike under the trunk's poolings learns a pattern of their period, which the
    trunk does not see and the eye does.
    """
    height, width = (max(n - GRID, SMALLEST) for n in a.shape[1:3])

    def cut(image: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (height, width, image.shape[-1]))

    return lpips(trunk, params, jax.vmap(cut)(a, corners), jax.vmap(cut)(b, corners))


def _unit(features: jax.Array) -> jax.Array:
    """Vectors of length one along the channels; a vector of zeros stays, and its gradient is finite."""
    squares = jnp.sum(features**2, axis=-1, keepdims=True)
    length = jnp.sqrt(jnp.where(squares > 0, squares, 1.0))
    return jnp.where(squares > 0, features / (length + 1e-10), 0.0)


def blurred_halve(x: jax.Array) -> jax.Array:
    """DISTS's pooling: the root of Hann-weighted mean squares over 3 x 3 pixels, at every second."""
    taps = np.array([0.5, 1, 0.5], np.float32)
    kernel = np.outer(taps, taps)[:, :, None, None] / taps.sum() ** 2
    channels = x.shape[-1]
    squares = jax.lax.conv_general_dilated(
        x * x,
        jnp.tile(jnp.asarray(kernel, x.dtype), (1, 1, 1, channels)),
        (2, 2),
        ((1, 1), (1, 1)),
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        feature_group_count=channels,
    )
    return jnp.sqrt(squares + 1e-12)


def dists(params: Tree, a: jax.Array, b: jax.Array) -> jax.Array:
    """DISTS of pictures a and b, [B], float32; 0 for equal ones.

    a, b: [B, H, W, 3] in [0, 1], taken as large as they are. params: {'trunk': VGG16's layers, 'alpha', 'beta': weights
    [3 + 64 + 128 + 256 + 512 + 512] of the likeness of means and of structure, channel by channel of the picture and
    of the five activations}.
    """
    total = params['alpha'].sum() + params['beta'].sum()
    pairs = zip(_stages(params, a), _stages(params, b), strict=True)
    likeness, start = jnp.zeros(len(a), jnp.float32), 0
    for x, y in pairs:  # [B, h, w, C] each
        channels = slice(start, start + x.shape[-1])
        start = channels.stop
        mean_x, mean_y = x.mean(axis=(1, 2)), y.mean(axis=(1, 2))
        # centred, since the mean of products less the product of means loses what the 1e-6 below is held against
        away_x, away_y = x - mean_x[:, None, None], y - mean_y[:, None, None]
        variances, covariance = ((u * v).mean(axis=(1, 2)) for u, v in ((away_x, away_x), (away_x, away_y)))
        variances += (away_y**2).mean(axis=(1, 2))
        means = (2 * mean_x * mean_y + 1e-6) / (mean_x**2 + mean_y**2 + 1e-6)
        structure = (2 * covariance + 1e-6) / (variances + 1e-6)
        likeness += (means @ params['alpha'][channels] + structure @ params['beta'][channels]) / total
    return 1 - likeness


def _stages(params: Tree, x: jax.Array) -> tuple[jax.Array, ...]:
    """What DISTS compares: the picture itself and VGG's activations, pooled without aliasing."""
    return (x, *vgg16(params['trunk'], (x - MEAN) / DEVIATION, blurred_halve))
