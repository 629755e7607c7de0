"""Pixels that the tiles of a square result compute, of the result's own, for docs/performance.md.

    python -m benchmarks.upscale_tiles [--tile 512]

Before: tiles of one size that share 64 pixels. Now: as `upscale` cuts with the embedded model.
"""

import argparse
import math

from addsr_jax.flags import say
from addsr_jax.restoration import pipeline
from addsr_jax.restoration.settings import Settings

SIDES = (768, 1024, 1280, 1536, 2048, 3072, 4096, 8192)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--tile', type=int, default=Settings().tile)
    tile = parser.parse_args().tile
    model = pipeline.load('nano')
    say('| output | before | now | tiles now |')
    say('| --- | --- | --- | --- |')
    for side in SIDES:
        before = math.ceil((side - 64) / (tile - 64)) * tile / side
        plan = model.plan(side, side, tile)
        say(f'| {side} | {before**2:.2f} | {plan.computed / side**2:.2f} | {len(plan.offsets)} of {plan.shape[0]} |')


if __name__ == '__main__':
    main()
