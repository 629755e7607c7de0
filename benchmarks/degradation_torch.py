"""The two-stage degradation: our numpy and OpenCV pipeline beside the same chain of torch functions, per core.

    python -m benchmarks.degradation_torch [--size 512] [--images 32]

The torch side does what the published data script does, one operation after the other on a batch of one: blur as a
grouped convolution, F.interpolate, noise, JPEG as tensor arithmetic, unsharp mask as two 51 x 51 convolutions. Both
sides get the same draws and the same photographs, each on one thread. Needs torch: `make test-parity` installs it.
"""

import argparse
import time

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from addsr_jax.data import jpeg as ours_jpeg
from addsr_jax.data import pictures, sources
from addsr_jax.data.batches import random_crop
from addsr_jax.data.degradation import (
    LUMA,
    SCALE,
    DegradationDraws,
    StageDraws,
    degrade,
    draw_degradation,
    sharpen,
)
from addsr_jax.data.degradation_tables import TABLES
from addsr_jax.ops.ycbcr import TO_YCBCR

TABLE = TABLES['standard']


def blur(x: torch.Tensor, kernel: np.ndarray) -> torch.Tensor:
    """x [1, 3, H, W], kernel [k, k]."""
    k = kernel.shape[0]
    padded = F.pad(x, (k // 2,) * 4, mode='reflect')
    weight = torch.from_numpy(kernel.astype(np.float32)).expand(3, 1, k, k).contiguous()
    return F.conv2d(padded, weight, groups=3)


def unsharp(x: torch.Tensor) -> torch.Tensor:
    axis = cv2.getGaussianKernel(51, 0)
    kernel = axis @ axis.T
    residual = x - blur(x, kernel)
    soft = blur((residual.abs() * 255 > 10).float(), kernel)
    return soft * (x + 0.5 * residual).clamp(0, 1) + (1 - soft) * x


def resize(
    x: torch.Tensor, mode: str, *, size: tuple[int, int] | None = None, factor: float | None = None
) -> torch.Tensor:
    return F.interpolate(x, size=size, scale_factor=factor, mode=mode)


def noise(x: torch.Tensor, draws: StageDraws, generator: torch.Generator) -> torch.Tensor:
    if draws.gaussian:
        field = torch.randn(1, 1 if draws.grey else 3, *x.shape[2:], generator=generator)
        return (x + draws.strength / 255 * field).clamp(0, 1)
    seen = (x * torch.from_numpy(LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True) if draws.grey else x
    seen = (seen * 255).round().clamp(0, 255) / 255
    values = 2 ** float(np.ceil(np.log2(len(torch.unique(seen)))))
    shot = torch.poisson(seen * values, generator=generator) / values - seen
    return (x + shot * draws.strength).clamp(0, 1)


def jpeg(x: torch.Tensor, quality: float) -> torch.Tensor:
    """Tensor arithmetic: einsum DCT of 8 x 8 blocks, rounding, inverse."""
    h, w = x.shape[2:]
    x = F.pad(x, (0, -w % 16, 0, -h % 16))
    to, back = (torch.from_numpy(m) for m in (TO_YCBCR.T, ours_jpeg._TO_RGB))
    shift = torch.from_numpy(ours_jpeg._CHROMA_SHIFT).view(1, 3, 1, 1)
    ycbcr = torch.einsum('bchw,cd->bdhw', x * 255, to) + shift
    factor = ours_jpeg.quality_factor(quality)
    luma = through(ycbcr[:, :1], torch.from_numpy(ours_jpeg._LUMINANCE) * factor)
    chroma = through(F.avg_pool2d(ycbcr[:, 1:], 2), torch.from_numpy(ours_jpeg._CHROMINANCE) * factor)
    chroma = chroma.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    rgb = torch.einsum('bchw,cd->bdhw', torch.cat([luma, chroma], dim=1) - shift, back)
    return (rgb.clamp(0, 255) / 255)[:, :, :h, :w]


def through(x: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    b, c, h, w = x.shape
    d = torch.from_numpy(ours_jpeg._dct())
    blocks = (x - 128).view(b, c, h // 8, 8, w // 8, 8)
    coefficients = torch.einsum('ui,bcyixj,vj->bcyuxv', d, blocks, d) / table.view(8, 1, 8)
    rounded = coefficients.round() * table.view(8, 1, 8)
    return torch.einsum('ui,bcyuxv,vj->bcyixj', d, rounded, d).reshape(b, c, h, w) + 128


def degrade_torch(x: torch.Tensor, draws: DegradationDraws, generator: torch.Generator) -> torch.Tensor:
    """[1, 3, H, W] -> [1, 3, H / 4, W / 4]."""
    h, w = x.shape[2:]
    target = (h // SCALE, w // SCALE)
    first, second = draws.stages
    x = x if first.kernel is None else blur(x, first.kernel)
    x = jpeg(noise(resize(x, first.mode, factor=first.factor), first, generator), first.quality)
    x = x if second.kernel is None else blur(x, second.kernel)
    size = (int(target[0] * second.factor), int(target[1] * second.factor))
    x = noise(resize(x, second.mode, size=size), second, generator)
    if draws.sinc_first:
        x = jpeg(blur(resize(x, draws.final_mode, size=target), draws.final_kernel).clamp(0, 1), second.quality)
    else:
        x = blur(resize(jpeg(x, second.quality), draws.final_mode, size=target), draws.final_kernel)
    return x.clamp(0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--size', type=int, default=512)
    parser.add_argument('--images', type=int, default=32)
    values = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    source, generator = sources.sample_photos(), torch.Generator().manual_seed(0)
    seconds, differences = {'ours': 0.0, 'torch': 0.0}, []
    for i in range(values.images + 2):
        rng = np.random.default_rng(i)
        image = pictures.read(source.paths[i % len(source)])
        image = np.ascontiguousarray(random_crop(image, values.size, rng).astype(np.float32) / 255)
        draws = draw_degradation(rng, TABLE)
        start = time.process_time()
        mine = degrade(sharpen(image), draws, rng)
        middle = time.process_time()
        tensor = torch.from_numpy(image.transpose(2, 0, 1)[None].copy())
        middle_2 = time.process_time()
        theirs = degrade_torch(unsharp(tensor), draws, generator)
        end = time.process_time()
        differences.append(abs(float(theirs.mean()) - float(mine.mean())))
        if i >= 2:  # warm
            seconds['ours'] += middle - start
            seconds['torch'] += end - middle_2
    per = {name: 1000 * s / values.images for name, s in seconds.items()}
    faster = per['torch'] / per['ours']
    print(  # noqa: T201
        f'{values.size} pixels, {values.images} images, one thread each: ours {per["ours"]:.1f} ms a sample, '
        f'torch {per["torch"]:.1f} ms, {faster:.1f} times faster; means differ by {np.mean(differences):.4f}'
    )


if __name__ == '__main__':
    with torch.inference_mode():
        main()
