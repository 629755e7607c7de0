"""Where the seconds and the memory of a first picture go, at a start that finds its programs and at one that does not.

    python -m benchmarks.start [--pictures 5]

One picture of 128 x 128, four times larger, by the embedded model in one step; the rows follow one another in a
process of their own. Seconds of wall time; memory as the system counts it (resident, what of it are files of libraries,
of which it has as much in place as it likes, and the highest so far). Then what each network computes for such a
picture, beside a product of two large matrices.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MARK = '| '  # begins the lines that are rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--pictures', type=int, default=5, help='after the first one')
    parser.add_argument('--here', choices=('rows', 'networks'), help=argparse.SUPPRESS)
    values = parser.parse_args()
    if values.here:
        rows(values.pictures) if values.here == 'rows' else networks()
        return 0
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, 'ADDSR_CACHE': cache, 'PYTHONPATH': str(ROOT)}
        of_rows = ('what', 's', 'CPU-s', 'MB', 'of it files', 'most MB')
        for name, what, titles in (
            ('First start', 'rows', of_rows),
            ('Second start', 'rows', of_rows),
            ('Networks', 'networks', ('what', 'GFLOP', 'ms', 'GFLOP/s')),
        ):
            tell(f'\n{name}:\n\n| {" | ".join(titles)} |\n| {" | ".join(["---"] * len(titles))} |\n')
            command = [sys.executable, '-m', 'benchmarks.start', '--here', what, '--pictures', str(values.pictures)]
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            tell(''.join(line for line in done.stdout.splitlines(True) if line.startswith(MARK)))
    return 0


def tell(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


class Clock:
    """Tells what has passed since it told last."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.monotonic(), time.process_time()

    def row(self, what: str, count: int = 1) -> None:
        wall, cpu = time.monotonic(), time.process_time()
        took = f'{(wall - self.wall) / count:.2f} | {(cpu - self.cpu) / count:.2f}'
        status = dict(line.split(':', 1) for line in Path('/proc/self/status').read_text().splitlines())
        now, files, most = (int(status[name].split()[0]) // 1024 for name in ('VmRSS', 'RssFile', 'VmHWM'))
        tell(f'{MARK}{what} | {took} | {now} | {files} | {most} |\n')
        self.wall, self.cpu = time.monotonic(), time.process_time()


def rows(pictures: int) -> None:
    clock = Clock()
    import jax

    clock.row('import jax')
    import numpy as np

    from addsr_jax.restoration import pipeline
    from addsr_jax.restoration.settings import Settings
    from addsr_jax.runtime import prepare

    prepare()
    clock.row('import addsr_jax')
    model = pipeline.load('nano', method='addsr')  # as `addsr upscale` does
    clock.row('weights')
    picture = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    model.bytes_of((512, 512), Settings(batch=1, steps=1))
    clock.row('program')
    model.upscale(picture, batch=1, steps=1)
    clock.row('first picture')
    for _ in range(pictures):
        model.upscale(picture, batch=1, steps=1)
    clock.row('each further one', pictures)
    assert jax.devices()[0].platform == 'cpu', 'run it with JAX_PLATFORMS=cpu'


def networks() -> None:
    import jax
    import jax.numpy as jnp

    from addsr_jax.diffusion.denoiser import Conditioning, Denoiser
    from addsr_jax.planning.flops import flops
    from addsr_jax.restoration import pipeline
    from addsr_jax.runtime import compiler_options, prepare

    prepare()
    made = pipeline.load('nano')
    model, spec = Denoiser(made.networks, 'student'), made.networks.spec
    side, latent = 512, 512 // made.factor
    picture, z = jnp.zeros((1, side, side, 3)), jnp.zeros((1, latent, latent, spec.autoencoder.latent_channels))
    ids = jnp.zeros((1, spec.text_encoder.positions), jnp.int32)
    text, seen = model.embed_text(made.params, ids), model.embed_image(made.params, picture)
    latents = z if spec.unet.in_channels > spec.unet.out_channels else None
    condition = Conditioning(text=text, image_tokens=seen, image=picture, latents=latents)
    large = jnp.ones((2048, 2048))
    calls = {
        'encoder': (model.encode, (made.params, picture, z)),
        'decoder': (model.decode, (made.params, z, picture)),
        'UNet and ControlNet': (model.network_output, (made.params, z, jnp.array([999]), condition)),
        'prompt extractor': (model.embed_image, (made.params, picture)),
        'text encoder': (model.embed_text, (made.params, ids)),
        'product of 2048 x 2048': (jnp.matmul, (large, large)),
    }
    for name, (function, given) in calls.items():
        traced = jax.jit(function, compiler_options=compiler_options(made.mesh)).trace(*given)
        compiled = traced.lower().compile()
        seconds = min(timed(compiled, given) for _ in range(8))
        count = flops(traced.jaxpr)
        tell(f'{MARK}{name} | {count / 1e9:.2f} | {1e3 * seconds:.1f} | {count / seconds / 1e9:.0f} |\n')


def timed(compiled: Any, given: tuple[Any, ...]) -> float:
    import jax

    began = time.monotonic()
    jax.block_until_ready(compiled(*given))
    return time.monotonic() - began


if __name__ == '__main__':
    sys.exit(main())
