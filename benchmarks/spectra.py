"""Which textures a model draws that photographs have not, and which it leaves out: power by period and direction.

    python -m benchmarks.spectra --lq LQ --hr HR [--limit 16] [--weights nano] [--steps 1]

Prints how many times the photographs' power of luma the results have, the geometric mean over windows of 64 pixels:
1 is as the photographs, a peak is a weave. Across: waves from left to right; down: from top to bottom.
"""

import argparse
from pathlib import Path

import numpy as np

from addsr_jax.evaluation.ablation import markdown
from addsr_jax.flags import say
from addsr_jax.ops.ycbcr import TO_YCBCR
from addsr_jax.restoration import comparison, pipeline
from addsr_jax.restoration.settings import Settings
from addsr_jax.runtime import prepare

SIDE, STRIDE = 64, 32  # pixels of a window, and between windows
WAVES = (2, 4, 6, 8, 10, 12, 13, 14, 15, 16, 18, 20, 24, 28, 32)  # in a window


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--lq', type=Path, required=True)
    parser.add_argument('--hr', type=Path, required=True)
    parser.add_argument('--limit', type=int, default=16)
    parser.add_argument('--weights', default='nano')
    parser.add_argument('--steps', type=int, default=1)
    values = parser.parse_args()
    prepare()
    model, settings = pipeline.load(values.weights), Settings(steps=values.steps, plain=0.0, edges=0.0, film_grain=0.0)
    found = []
    for pair, low, high in comparison.read_pairs(comparison.find_pairs(values.lq, values.hr, values.limit), factor=4):
        found.append(log_power(model.restore(low, settings, pair.name)) - log_power(high))
    ratio = np.exp(np.mean(found, axis=0))
    rows = [[f'{SIDE / n:.1f}', *(f'{ratio[at]:.2f}' for at in ((0, n), (n, 0), (n, n)))] for n in WAVES]
    say(markdown([['pixels a wave', 'across', 'down', 'both'], *rows]))


def log_power(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] -> [SIDE, SIDE / 2 + 1]: log power of luma in levels of 255 and one more, mean over windows."""
    luma = image.astype(np.float32) @ TO_YCBCR[0]
    windows = np.lib.stride_tricks.sliding_window_view(luma, (SIDE, SIDE))[::STRIDE, ::STRIDE].reshape(-1, SIDE, SIDE)
    windows = (windows - windows.mean(axis=(1, 2), keepdims=True)) * np.outer(np.hanning(SIDE), np.hanning(SIDE))
    return np.log(np.abs(np.fft.rfft2(windows)) ** 2 + 1).mean(axis=0)


if __name__ == '__main__':
    main()
