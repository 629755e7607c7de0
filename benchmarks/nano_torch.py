"""The embedded model's networks in torch, beside ours.

    addsr convert to_pytorch nano -o FOLDER
    python -m benchmarks.nano_torch FOLDER

unet/ and controlnet/ of FOLDER are for the original's classes, whose sizes are free; the other three networks have no
such class at this size. `benchmarks/torch_networks.py` runs all of them from the files' tensors, and this prints the
largest difference to ours. Needs torch: `make test-parity` installs it.
"""

import argparse
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
from safetensors.torch import load_file

import addsr_jax
from addsr_jax.flags import say
from addsr_jax.networks.build import apply
from benchmarks import torch_networks as theirs


def widened(state: dict[str, torch.Tensor]) -> theirs.Weights:
    """float32 of the file's float16."""
    return theirs.nested({name: value.float() for name, value in state.items()})


def differences(folder: Path) -> dict[str, float]:
    """Largest difference to ours, of the largest value, for each of the networks."""
    stem = 'diffusion_pytorch_model.safetensors'
    vae, unet, controlnet = (widened(load_file(folder / name / stem)) for name in ('vae', 'unet', 'controlnet'))
    text = widened(load_file(folder / 'text_encoder' / 'model.safetensors'))
    ram = widened(torch.load(folder / 'ram.pth', weights_only=True)['model'])
    model, rng = addsr_jax.load('nano'), np.random.default_rng(0)
    spec = model.networks.spec
    image = rng.uniform(-1, 1, (1, 128, 128, 3)).astype(np.float32)
    ids = rng.integers(0, 512, (1, 77))
    z = rng.standard_normal((1, 32, 32, spec.unet.in_channels), np.float32)
    t, words = np.array([999], np.int32), rng.standard_normal((1, 77, spec.unet.text_dim), np.float32)
    seen = rng.standard_normal((1, 65, spec.prompt_extractor.token_dim), np.float32)

    def ours(part: str, *inputs: np.ndarray, of: str = '', **options) -> Any:
        with jax.default_matmul_precision('highest'):
            params = model.params[of][part] if of else model.params[part]
            out = apply(getattr(model.networks, part), params, *inputs, **options)
        return out[0] if isinstance(out, tuple) and part == 'autoencoder' else out

    def nchw(x: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(x)).permute(0, 3, 1, 2)

    latents = ours('autoencoder', image, method='encode')
    down, middle = ours('controlnet', z, t, words, seen, image, of='student')
    given = (nchw(z), torch.from_numpy(t), torch.from_numpy(words), torch.from_numpy(seen))
    with torch.no_grad():
        residuals = theirs.control(controlnet, spec.controlnet.unet, *given, nchw(image))
        pairs = {
            'encoder': (theirs.encode(vae, spec.autoencoder, nchw(image)).chunk(2, 1)[0], latents),
            'decoder': (
                theirs.decode(vae, spec.autoencoder, nchw(latents)),
                ours('autoencoder', latents, method='decode'),
            ),
            'text encoder': (
                theirs.embed_text(text, spec.text_encoder.heads, torch.from_numpy(ids)),
                ours('text_encoder', ids),
            ),
            'prompt extractor': (theirs.prompt_tokens(ram, nchw(image)), ours('prompt_extractor', image)),
            'ControlNet': (residuals[0], middle),
            'UNet': (
                theirs.unet(unet, spec.unet, *given, residuals),
                ours('unet', z, t, words, seen, down, middle, of='student'),
            ),
        }
    return {name: apart(a, np.asarray(b)) for name, (a, b) in pairs.items()}


def apart(a: torch.Tensor, b: np.ndarray) -> float:
    """Largest difference of the largest value; b is in our layout."""
    same = a.permute(0, 2, 3, 1) if a.ndim == 4 else a
    return float(np.abs(same.numpy() - b).max() / np.abs(b).max())


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('folder', type=Path)
    for network, value in differences(parser.parse_args().folder).items():
        say(f'{network:17} {value:.1e} of the largest value')
