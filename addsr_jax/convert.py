"""addsr convert: PyTorch checkpoints in, and back out.

python -m addsr_jax.convert from_pytorch --sd stable-diffusion-2-base --addsr addsr --ram ram.pth --dape DAPE.pth -o DIR
python -m addsr_jax.convert to_pytorch DIR -o FOLDER
python -m addsr_jax.convert inspect PATH
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from addsr_jax import places
from addsr_jax.errors import UserError, guard
from addsr_jax.flags import Parser, say, take
from addsr_jax.options import Options, option, to_data

INSTEAD, ADAPTERS = 'in the place of what --sd has', 'low-rank adapters, merged: a file, or a folder of them'
PARTS, DTYPES = ('student', 'teacher', 'unet'), ('float32', 'float16', 'bfloat16')


@dataclass(frozen=True, kw_only=True)
class Sources(Options):
    """PyTorch checkpoints as their authors publish them, and as programs for pictures keep them."""

    sd: Path | None = option(
        'stable-diffusion-2-base: a folder with tokenizer, scheduler, text_encoder, vae (unet, to train), or a file',
        default=None,
    )
    addsr: Path | None = option('folder with unet/ and controlnet/ of the student, or a file', default=None)
    seesr: Path | None = option('folder with unet/ and controlnet/ of the teacher, or a file', default=None)
    ram: Path | None = option('ram_swin_large_14m.pth', default=None)
    dape: Path | None = option('DAPE.pth', default=None)
    tag_list: Path | None = option(
        'ram_tag_list.txt of another RAM than the published one', default=None, unset='the published one, if it fits'
    )
    thresholds: Path | None = option('ram_tag_list_threshold.txt, with tag_list', default=None)
    dino: Path | None = option('dino_deitsmall16_pretrain.pth, to train a student', default=None)
    dinov2: Path | None = option('dinov2_vits14_pretrain.pth, to train a student', default=None)
    tiny_decoder: Path | None = option(
        'taesd_decoder.safetensors, or the folder of an AutoencoderTiny, for upscale --tiny_decoder', default=None
    )
    vae: Path | None = option('folder or file, for that of --sd', default=None, group=INSTEAD)
    unet: Path | None = option('folder or file, for that of --sd', default=None, group=INSTEAD)
    text_encoder: Path | None = option('folder or file, for that of --sd', default=None, group=INSTEAD)
    tokenizer: Path | None = option('folder, for that of --sd; a file brings none', default=None, group=INSTEAD)
    predicts: str | None = option(
        'what the UNet predicts, noise or velocity',
        default=None,
        choices=('epsilon', 'v'),
        group=INSTEAD,
        unset='what the configuration says',
    )
    sd_lora: Path | None = option('of the UNet or text encoder of --sd', default=None, group=ADAPTERS)
    addsr_lora: Path | None = option('of the networks of --addsr', default=None, group=ADAPTERS)
    seesr_lora: Path | None = option('of the networks of --seesr', default=None, group=ADAPTERS)

    def check_together(self) -> None:
        if (self.tag_list is None) != (self.thresholds is None):
            raise UserError('--tag_list and --thresholds belong together: give both, or none')


@dataclass(frozen=True, kw_only=True)
class Known(Options):
    """Networks that one knows already."""

    known: Path | None = option('list of hashes and names of networks, beside the shipped one', default=None)


@dataclass(frozen=True, kw_only=True)
class Target(Options):
    """Where a conversion goes."""

    output: Path = option('new folder', short='o')


@dataclass(frozen=True, kw_only=True)
class Form(Options):
    """What goes back to PyTorch, and how."""

    part: str = option("whose unet/ and controlnet/; unet: Stable Diffusion's own", default='student', choices=PARTS)
    dtype: str | None = option('of all tensors', default=None, choices=DTYPES, unset='as they are stored')
    shard: float | None = option(
        'a larger network becomes several files with an index',
        default=None,
        above=0,
        high=1000,
        unit='GB',
        unset='one file',
    )


def from_pytorch(arguments: Sequence[str]) -> None:
    p = Parser('convert from_pytorch', 'Writes PyTorch checkpoints as one folder that --weights takes.')
    p.declare(Sources)
    p.declare(Target)
    p.declare(Known)
    values = p.parse_args(arguments)
    given, output = take(values, Sources), take(values, Target).output
    known = _known(take(values, Known))
    from addsr_jax.weights import conversion, sources

    report = conversion.from_pytorch(sources.plan(**to_data(given)), output, say, known)
    say(f'{output}: {len(report["tensors"])} tensors, sha256 {report["sha256"]}')
    say(f'{output / conversion.REPORT} lists each of them')


def _known(given: Known) -> dict[str, list[str]]:
    from addsr_jax.weights import known

    return known.read([] if given.known is None else [given.known])


def to_pytorch(arguments: Sequence[str]) -> None:
    p = Parser(
        'convert to_pytorch', 'Writes a model as folders and files that diffusers and the original classes load.'
    )
    p.add_argument(
        'weights', metavar='DIR', help="'nano', a folder of training (final/) or from_pytorch, or ORG/NAME of a hub"
    )
    p.declare(Target)
    p.declare(Form)
    values = p.parse_args(arguments)
    output, form = take(values, Target).output, take(values, Form)
    from addsr_jax.weights import hub, pytorch_folder

    pytorch_folder.to_pytorch(
        hub.located(values.weights, say), output, form.part, say, dtype=form.dtype, shard=form.shard
    )


def inspect(arguments: Sequence[str]) -> None:
    p = Parser('convert inspect', 'Says what a folder of weights or a file of tensors holds.')
    p.add_argument('path', metavar='PATH', help="'nano', a folder, or a .safetensors, .bin or .pth file")
    p.declare(Known)
    values = p.parse_args(arguments)
    known = _known(take(values, Known))
    from addsr_jax.weights import conversion, hub

    for line in conversion.inspect(places.local(hub.located(values.path, say)), known):
        say(line)


ACTIONS = {'from_pytorch': from_pytorch, 'to_pytorch': to_pytorch, 'inspect': inspect}


def main(arguments: Sequence[str]) -> None:
    if not arguments or arguments[0] in ('-h', '--help'):
        say('usage: addsr convert ACTION ...')
        say('')
        say('  from_pytorch --sd DIR [--addsr DIR] [--ram FILE] ... -o DIR   checkpoints as one folder for --weights')
        say('  to_pytorch DIR -o FOLDER [--part PART]    for diffusers and the originals (default: PART is student)')
        say('  inspect PATH                              what weights or a file of tensors hold')
        say('')
        say('addsr convert ACTION --help says more')
        return
    action, *rest = arguments
    if action not in ACTIONS:
        raise UserError(f'convert: there is no {action!r}: choose one of {", ".join(ACTIONS)}')
    ACTIONS[action](rest)


if __name__ == '__main__':
    sys.exit(guard(main))
