"""What hashes cost at Stable Diffusion 2 size: seconds for the state of the student's training, and for weights.

    python -m benchmarks.hashes

Arrays of the very shapes and dtypes, filled with random bits and larger together than any cache; on one core, as a
process that saves or loads does it.
"""

import argparse
import time
from collections.abc import Callable

import jax
import numpy as np

from addsr_jax import hashes, sharding, sizes
from addsr_jax.flags import say
from addsr_jax.training import config, job
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights import finite

POOL = 1 << 29  # bytes of random bits, from which all arrays are cut


def seconds(tree: dict, look: Callable[[str, np.ndarray], object]) -> tuple[float, int]:
    """(seconds, bytes) of looking at arrays of the shapes in `tree`, one after the other."""
    pool = np.frombuffer(np.random.default_rng(0).bytes(POOL), np.uint8) & 0x7E  # numbers, neither infinite nor NaN
    spent, done = 0.0, 0  # of the processor's time, whatever else this machine does
    for name, leaf in hashes.named_leaves(tree):
        size = leaf.size * leaf.dtype.itemsize
        start = done % (POOL - size) // 8 * 8
        array = pool[start : start + size].view(leaf.dtype).reshape(leaf.shape)
        began = time.process_time()
        look(name, array)
        spent += time.process_time() - began
        done += size
    return spent, done


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    jax.config.update('jax_platforms', 'cpu')
    options = config.train_options('configs/addsr.py', [])
    _, shapes = job.abstract_step(*job.abstract_start(options), sharding.make_mesh('data:1', jax.devices()[:1]))
    parts = ['prompt_extractor', 'autoencoder', 'text_encoder', 'student']
    say('| | GB | hash, s | GB/s | NaN, s |')
    say('| --- | --- | --- | --- | --- |')
    for name, tree in (
        ('state of a checkpoint', shapes.state),
        ('weights that upscale', bundles.expected(sizes.SD2, parts)),
    ):
        spent, size = seconds(tree, hashes.of_array)
        looked, _ = seconds(tree, lambda name, array: finite.is_finite(array))
        say(f'| {name} | {size / 1e9:.1f} | {spent:.2f} | {size / 1e9 / spent:.1f} | {looked:.2f} |')


if __name__ == '__main__':
    main()
