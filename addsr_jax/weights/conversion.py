"""PyTorch checkpoints to a bundle and back, one tensor at a time.

Everything is checked on names and shapes before the first tensor is read; the result appears whole or not at all.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from addsr_jax import hashes, places, trees
from addsr_jax.errors import UserError, printable
from addsr_jax.sizes import SD2
from addsr_jax.specs import ModelSpec
from addsr_jax.trees import Tree
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights import finite, layout, published, tensor_file, torch_writer
from addsr_jax.weights.bundle import Bundle
from addsr_jax.weights.reader import open_file, open_folder
from addsr_jax.weights.stored import Stored
from addsr_jax.weights.torch_pickle import DAMAGES

DIFFUSERS = ('diffusion_pytorch_model',)
TRANSFORMERS = ('model', 'pytorch_model')
REPORT = 'report.json'
SPARE = 1 << 28  # bytes of disk beyond the tensors themselves


@dataclass(frozen=True)
class Source:
    """One network as the originals store it."""

    network: str  # our part, with the network inside a denoiser: 'autoencoder', 'teacher/unet'
    kind: str  # what `weights.layout` calls it: 'autoencoder', 'unet'
    path: Path
    tensors: Mapping[str, Stored]  # under today's names


@dataclass(frozen=True)
class Plan:
    """What a conversion will do; nothing has been read but names, shapes and configurations."""

    sources: list[Source]
    spec: ModelSpec
    tokenizer: Path


def plan(
    sd: Path | None = None,
    addsr: Path | None = None,
    seesr: Path | None = None,
    ram: Path | None = None,
    dape: Path | None = None,
    dino: Path | None = None,
    dinov2: Path | None = None,
) -> Plan:
    """Looks at folders and files as users have them; UserError lists everything that does not fit.

    sd: stable-diffusion-2-base; addsr, seesr: folders with unet/ and controlnet/; ram, dape, dino, dinov2: .pth files.
    """
    sources: list[Source] = []
    if sd is None:
        raise UserError('convert from_pytorch needs --sd: its tokenizer, scheduler, text encoder and autoencoder')
    found: dict[str, Any] = {  # fields of the spec
        'schedule': published.schedule_spec(sd / 'scheduler'),
        'autoencoder': published.autoencoder_spec(sd / 'vae'),
        'text_encoder': published.text_encoder_spec(sd / 'text_encoder'),
    }
    sources.append(_source('autoencoder', 'autoencoder', sd / 'vae', DIFFUSERS))
    sources.append(_source('text_encoder', 'text_encoder', sd / 'text_encoder', TRANSFORMERS))
    denoisers = {part: folder for part, folder in (('teacher', seesr), ('student', addsr)) if folder is not None}
    for part, folder in denoisers.items():
        own = _denoiser_specs(folder)
        if any(found.get(name, value) != value for name, value in own.items()):
            raise UserError(
                f'{folder} has other sizes than the other denoiser: teacher and student share one architecture'
            )
        found |= own
        sources.append(_source(f'{part}/unet', 'unet', folder / 'unet', DIFFUSERS))
        sources.append(_source(f'{part}/controlnet', 'controlnet', folder / 'controlnet', DIFFUSERS))
    if not denoisers:  # a teacher is to be trained: it starts from Stable Diffusion's own UNet
        plain = published.unet_spec(sd / 'unet')
        unet = dataclasses.replace(plain, image_dim=SD2.unet.image_dim)
        found |= {'unet': unet, 'controlnet': dataclasses.replace(SD2.controlnet, unet=unet)}
        sources.append(_source('unet', 'unet', sd / 'unet', DIFFUSERS))
    if ram is not None:
        stored = open_file(ram)  # with the computed buffers, which say how large its pictures are
        tensors = published.current_names(stored, 'prompt_extractor', ram)
        found['prompt_extractor'] = published.prompt_extractor_spec(tensors, stored, ram)
        sources.append(Source('prompt_extractor', 'prompt_extractor', ram, tensors))
    if dape is not None:
        if ram is None:
            raise UserError('--dape is added to RAM: give --ram too')
        sources.append(_file('dape', 'dape', dape))
    for name, path in (('dino', dino), ('dinov2', dinov2)):
        if path is not None:
            source = _file(name, name, path)
            found[name] = published.vit_spec(source.tensors, getattr(SD2, name), path)
            sources.append(source)
    return Plan(sources, _model_spec(found), sd / 'tokenizer')


def _source(network: str, kind: str, folder: Path, stems: tuple[str, ...]) -> Source:
    return Source(network, kind, folder, published.current_names(open_folder(folder, stems), kind, folder))


def _file(network: str, kind: str, path: Path) -> Source:
    return Source(network, kind, path, published.current_names(open_file(path), kind, path))


def _denoiser_specs(folder: Path) -> dict[str, Any]:
    """Of its UNet and ControlNet."""
    unet = published.unet_spec(folder / 'unet')
    if unet.image_dim is None:
        raise UserError(
            f'{folder / "unet"} has no image attentions (use_image_cross_attention): it is plain Stable Diffusion; '
            'give the folder of SeeSR or AddSR'
        )
    return {'unet': unet, 'controlnet': published.controlnet_spec(folder / 'controlnet')}


def _model_spec(found: dict[str, Any]) -> ModelSpec:
    """Stable Diffusion 2 with the specs that were found, and a discriminator for its DINO and DINOv2."""
    dino, dinov2 = found.get('dino', SD2.dino), found.get('dinov2', SD2.dinov2)
    discriminator = dataclasses.replace(
        SD2.discriminator,
        feature_channels=(dino.width,) * len(SD2.discriminator.feature_channels),
        condition_dim=dinov2.width,
        image_size=dino.image_size,
    )
    try:
        return dataclasses.replace(SD2, **found, discriminator=discriminator)
    except UserError as error:
        raise UserError(f'these files are not of one model: {error}') from error


def from_pytorch(made: Plan, output: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """Writes the bundle of a plan to `output` and returns its report; refuses what does not fit, all at once."""
    if output.exists():
        raise UserError(f'{output} exists: choose another --output, or remove it first')
    if not (made.tokenizer / 'vocab.json').exists():
        raise UserError(f'{made.tokenizer} holds no vocab.json: the tokenizer folder is missing')
    check(made)
    _check_space(output, sum(t.nbytes for s in made.sources for t in s.tensors.values()))
    parts = sorted({source.network.split('/')[0] for source in made.sources})
    entries: list[dict[str, Any]] = []
    written: dict[str, str] = {}
    with bundles.writing(output) as unfinished:
        for source in made.sources:
            report(f'{source.network}: {len(source.tensors)} tensors of {source.path}')
            tree = _converted(source, entries)
            written |= bundles.write_network(unfinished, source.network, tree)
        summary = _report(entries)
        (unfinished / REPORT).write_text(json.dumps(summary, indent=1) + '\n', encoding='utf-8')
        info = {'converted': [s.network for s in made.sources], 'sha256': summary['sha256']}
        bundles.write_record(unfinished, Bundle(made.spec, {}, made.tokenizer, info), 'orbax', parts, written)
    return summary


def check(made: Plan) -> None:
    """Missing, unexpected and misshapen tensors of all sources in one UserError."""
    parts = sorted({source.network.split('/')[0] for source in made.sources})
    wanted = {}
    for part, tree in bundles.expected(made.spec, parts).items():
        wanted.update(bundles.networks_of(part, tree))
    wrong = []
    for source in made.sources:
        shapes = layout.state_shapes(source.kind, wanted[source.network])
        have = {name: tuple(tensor.shape) for name, tensor in source.tensors.items()}
        wrong += [f'{source.path}: {name} missing' for name in shapes if name not in have]
        wrong += [f'{source.path}: {name} unexpected' for name in have if name not in shapes]
        wrong += [
            f'{source.path}: {name} is {have[name]}, not {shapes[name]}'
            for name in shapes
            if name in have and have[name] != shapes[name]
        ]
        wrong += [
            f'{source.path}: {name} is of type {tensor.dtype}'
            for name, tensor in source.tensors.items()
            if not jax.numpy.issubdtype(tensor.dtype, jax.numpy.floating)
        ]
    if wrong:
        raise UserError(f'{len(wrong)} tensors do not fit: {"; ".join(wrong)}')


def _check_space(output: Path, needed: int) -> None:
    place = output.absolute().parent
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed + SPARE:
        raise UserError(f'{place} has {free / 1e9:.1f} GB left and the weights need {(needed + SPARE) / 1e9:.1f} GB')


def _converted(source: Source, entries: list[dict[str, Any]]) -> Tree:
    """The network's parameters in our layout; a line for every tensor goes to `entries`."""

    def tensors() -> Iterable[tuple[str, np.ndarray]]:
        for name, stored in source.tensors.items():
            value = read_tensor(source.path, name, stored)
            finite.check_tensor(name, value, source.path)
            entries.append(
                {
                    'name': f'{source.network}/{name}',
                    'shape': list(value.shape),
                    'dtype': str(value.dtype),
                    'sha256': hashlib.sha256(value.tobytes()).hexdigest(),
                }
            )
            yield name, value

    params, lora, _ = layout.from_tensors(tensors(), source.kind)
    return lora if source.kind == 'dape' else params


def read_tensor(path: Path, name: str, stored: Stored) -> np.ndarray:
    """The numbers of one tensor of a file; a UserError where they are damaged."""
    from safetensors import SafetensorError

    try:
        return stored.read()
    except (SafetensorError, *DAMAGES) as error:
        reason = printable(str(error)) or type(error).__name__
        raise UserError(f'{path}: {printable(name)} cannot be read ({reason}): download it again') from error


def _report(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Every tensor, and one hash of all that is the same for every file format and order."""
    entries = sorted(entries, key=lambda entry: entry['name'])
    digest = hashlib.sha256()
    for entry in entries:
        digest.update(f'{entry["name"]} {entry["shape"]} {entry["dtype"]} {entry["sha256"]}\n'.encode())
    return {'sha256': digest.hexdigest(), 'tensors': entries}


def to_pytorch(path: Path | str, output: Path, part: str, report: Callable[[str], None]) -> None:
    """A bundle as the originals' files: unet/ and controlnet/ of `part`, vae/, text_encoder/, ram.pth, DAPE.pth."""
    if output.exists():
        raise UserError(f'{output} exists: choose another --output, or remove it first')
    made = bundles.load(path)
    if part not in made.params:
        raise UserError(f'{path} holds no {part}: it has {", ".join(sorted(made.params))}')
    with bundles.writing(output) as unfinished:
        denoiser = made.params[part]
        _write_folder(unfinished / 'unet', 'unet', denoiser['unet'], published.unet_config(made.spec.unet))
        config = published.controlnet_config(made.spec.controlnet)
        _write_folder(unfinished / 'controlnet', 'controlnet', denoiser['controlnet'], config)
        for name, stem in (('autoencoder', 'vae/diffusion_pytorch_model'), ('text_encoder', 'text_encoder/model')):
            if name in made.params:
                tensor_file.write(unfinished / f'{stem}.safetensors', layout.to_state_dict(name, made.params[name]))
        if 'prompt_extractor' in made.params:
            state = layout.to_state_dict('prompt_extractor', made.params['prompt_extractor'])
            torch_writer.write(unfinished / 'ram.pth', {'model': state})
        if 'dape' in made.params:
            torch_writer.write(unfinished / 'DAPE.pth', layout.to_state_dict('dape', made.params['dape']))
        adapters = places.place(path) / bundles.LORA
        if part == 'student' and adapters.is_dir():  # they are in the weights, and here once more as files of their own
            places.copy(adapters, unfinished / bundles.LORA)
        for file in sorted(p for p in unfinished.rglob('*') if p.is_file()):
            report(f'{output / file.relative_to(unfinished)}  {file.stat().st_size / 1e6:.1f} MB')


def _write_folder(folder: Path, kind: str, params: Tree, config: dict[str, Any]) -> None:
    tensor_file.write(folder / f'{DIFFUSERS[0]}.safetensors', layout.to_state_dict(kind, params))
    (folder / 'config.json').write_text(json.dumps(config, indent=2) + '\n', encoding='utf-8')


def inspect(path: Path) -> list[str]:
    """Lines that say what a bundle, a file or a folder of tensors holds."""
    if (path / bundles.MODEL_FILE).exists() or str(path) == 'nano':
        made = bundles.load(str(path))
        lines = [f'{path}: a model of size {printable(made.spec.name)}, predicting {made.spec.schedule.prediction}']
        for part, tree in sorted(made.params.items()):
            leaves = trees.flatten(tree).values()
            kinds = ', '.join(sorted({str(leaf.dtype) for leaf in leaves}))
            count = sum(leaf.size for leaf in leaves)
            lines.append(f'  {part:17} {count / 1e6:9.3f} M parameters  {kinds}  {hashes.of_tree(tree)[:16]}')
        return lines
    tensors = open_folder(path, (*DIFFUSERS, *TRANSFORMERS)) if path.is_dir() else open_file(path)
    lines = [f'  {printable(name)}  {list(t.shape)}  {t.dtype}' for name, t in sorted(tensors.items())]
    return [f'{path}: {len(tensors)} tensors, {sum(t.nbytes for t in tensors.values()) / 1e6:.1f} MB', *lines]
