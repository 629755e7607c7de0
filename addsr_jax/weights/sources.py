"""Where the networks of a conversion come from: folders of diffusers, files of one network, or of a whole model.

Nothing is read here but names, shapes and configurations. What a folder's config.json says counts; a file has none, and
the shapes of its tensors say its sizes (`weights.shapes`).
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from addsr_jax import places
from addsr_jax.data import tokens
from addsr_jax.errors import UserError, printable
from addsr_jax.sizes import SD2
from addsr_jax.specs import ModelSpec
from addsr_jax.weights import (
    ldm,
    low_rank_files,
    mismatch,
    prediction,
    published,
    shapes,
    single_files,
    tags,
    tokenizer_files,
)
from addsr_jax.weights.reader import SUFFIXES, open_file, open_folder
from addsr_jax.weights.stored import Stored

Tensors = Mapping[str, Stored]
STEMS = {
    'unet': ('diffusion_pytorch_model',),
    'controlnet': ('diffusion_pytorch_model',),
    'autoencoder': ('diffusion_pytorch_model',),
    'text_encoder': ('model', 'pytorch_model'),
    'tiny_decoder': ('diffusion_pytorch_model',),
}
FOLDERS = {'autoencoder': 'vae'}  # of a network in diffusers' folders, where it is not its name
BY_CONFIG: dict[str, Callable[[Path], Any]] = {
    'unet': published.unet_spec,
    'controlnet': published.controlnet_spec,
    'autoencoder': published.autoencoder_spec,
    'text_encoder': published.text_encoder_spec,
}
BY_SHAPES: dict[str, Callable[[Tensors, Path], Any]] = {
    'unet': shapes.unet,
    'controlnet': shapes.controlnet,
    'autoencoder': shapes.autoencoder,
    'text_encoder': shapes.text_encoder,
}
LORAS = {'teacher': '--seesr_lora', 'student': '--addsr_lora'}
INDEX = 'model_index.json'
TOKENIZER = tokens.NAMES


@dataclass(frozen=True)
class Source:
    """One network as the originals store it."""

    network: str  # our part, with the network inside a denoiser: 'autoencoder', 'teacher/unet'
    kind: str  # what `weights.layout` calls it: 'autoencoder', 'unet'
    path: Path
    tensors: Tensors  # under today's names


@dataclass(frozen=True)
class Plan:
    """What a conversion will do."""

    sources: list[Source]
    spec: ModelSpec
    tokenizer: Path
    notes: list[str] = field(default_factory=list)  # what was taken off or left, for the user
    tags: tuple[Path, Path] | None = None  # RAM's list of tags and their thresholds


def plan(
    sd: Path | None = None,
    addsr: Path | None = None,
    seesr: Path | None = None,
    ram: Path | None = None,
    dape: Path | None = None,
    dino: Path | None = None,
    dinov2: Path | None = None,
    tiny_decoder: Path | None = None,
    *,
    vae: Path | None = None,
    unet: Path | None = None,
    text_encoder: Path | None = None,
    tokenizer: Path | None = None,
    predicts: str | None = None,
    sd_lora: Path | None = None,
    addsr_lora: Path | None = None,
    seesr_lora: Path | None = None,
    tag_list: Path | None = None,
    thresholds: Path | None = None,
) -> Plan:
    """Looks at folders and files as users have them; UserError lists everything that does not fit.

    sd: a model of the Stable Diffusion 2 family, a folder or a file; vae, unet, text_encoder, tokenizer: in the place
    of its own. addsr, seesr: a UNet and a ControlNet each, a folder or a file. predicts: 'epsilon' or 'v', where no
    configuration says it. tag_list, thresholds: of a RAM with other tags than the published one. The rest are files.
    """
    if sd is None:
        raise UserError('convert from_pytorch needs --sd: its tokenizer, scheduler, text encoder and autoencoder')
    look = _Look()
    root = look.root(sd, ('vae', 'text_encoder', 'scheduler'))
    given = {'autoencoder': vae, 'unet': unet, 'text_encoder': text_encoder}
    given = {kind: path and look.own(path, kind) for kind, path in given.items()}
    unet = given['unet']
    denoisers = {
        part: look.root(place, ('unet', 'controlnet'))
        for part, place in (('teacher', seesr), ('student', addsr))
        if place is not None
    }
    takers = _adapted(denoisers)
    base_loras = look.low_rank(sd_lora, '--sd_lora', takers)
    found: dict[str, Any] = {}  # fields of the spec
    for kind in ('autoencoder', 'text_encoder'):
        source, found[kind] = look.network(kind, kind, given[kind] or root)
        look.keep(source, base_loras)
    for part, loras in (('teacher', seesr_lora), ('student', addsr_lora)):
        if part in denoisers:
            found |= look.denoiser(part, denoisers[part], look.low_rank(loras, LORAS[part], takers), found)
        elif loras is not None:
            raise UserError(f'{loras} adapts a {part} that is not converted: give its networks too')
    if not denoisers:  # a teacher is to be trained: it starts from Stable Diffusion's own UNet
        source, plain = look.network('unet', 'unet', unet or root)
        look.keep(source, base_loras)
        own = dataclasses.replace(plain, image_dim=SD2.unet.image_dim)
        found |= {'unet': own, 'controlnet': dataclasses.replace(SD2.controlnet, unet=own)}
    elif unet is not None:
        raise UserError('--unet is where the training of a teacher starts: leave it out beside --addsr and --seesr')
    unets = [source.path for source in look.sources if source.kind == 'unet'] if denoisers or unet else []
    found['schedule'] = prediction.schedule(root, unets, predicts, look.say, trained=bool(denoisers))
    look.files(found, ram=ram, dape=dape, dino=dino, dinov2=dinov2, tiny_decoder=tiny_decoder)
    spec = _model_spec(found)
    words = tags.chosen(ram, tag_list, thresholds, spec)
    return Plan(look.sources, spec, look.tokenizer(root, tokenizer), look.notes, words)


def _adapted(denoisers: Mapping[str, Path]) -> dict[str, tuple[str, ...]]:
    """{option of low-rank adapters: the networks that they may adapt}."""
    base = ('text_encoder',) if denoisers else ('unet', 'text_encoder')
    return {'--sd_lora': base, **{LORAS[part]: ('unet', 'controlnet') for part in denoisers}}


class _Look:
    """What has been found so far, and what there is to say of it."""

    def __init__(self) -> None:
        self.sources: list[Source] = []
        self.notes: list[str] = []
        self._files: dict[Path, dict[str, dict[str, Stored]]] = {}

    def say(self, line: str) -> None:
        if line not in self.notes:
            self.notes.append(line)

    def root(self, path: Path, inside: Iterable[str]) -> Path:
        """The folder or file of a model, where somebody gave the one and meant the other."""
        path = self.meant(path)
        if places.kind(path) != 'folder' or any((_place(path, name)).exists() for name in inside):
            return path
        if (path / 'config.json').exists():
            raise UserError(f'{path} holds one network: give the folder that holds {", ".join(inside)}')
        return self._only_file(path) or path

    def own(self, path: Path, kind: str) -> Path:
        """A network in the place of a model's: its folder, that of a model, a file, or a folder with that file."""
        path = self.meant(path)
        whole = (path / 'config.json').exists() or _place(path, FOLDERS.get(kind, kind)).exists()
        return path if places.kind(path) != 'folder' or whole else self._only_file(path) or path

    def _only_file(self, folder: Path) -> Path | None:
        """The one file of tensors in a folder."""
        files = [file for file in sorted(folder.iterdir()) if file.suffix in SUFFIXES]
        if len(files) != 1:
            return None
        self.say(f'{folder}: a folder, of which {files[0].name} is read')
        return files[0]

    def meant(self, path: Path, files: Iterable[str] = (INDEX, 'config.json')) -> Path:
        """The folder of a file that only says something of it; a UserError where there is neither."""
        if not places.kind(path):
            raise UserError(f'{printable(str(path))} does not exist')
        if places.kind(path) != 'file' or path.name not in files:
            return path
        self.say(f'{path}: its folder is read')
        return path.parent

    def low_rank(
        self, path: Path | None, option: str, takers: Mapping[str, tuple[str, ...]]
    ) -> list[low_rank_files.LowRank]:
        if path is None:
            return []
        return low_rank_files.fitting(low_rank_files.read(path, self.say), option, takers, self.say)

    def keep(self, source: Source, loras: list[low_rank_files.LowRank]) -> None:
        """The source, with low-rank adapters merged into it."""
        own = [lora for lora in loras if source.kind in lora.layers]
        if own:
            tensors = low_rank_files.merged(source.tensors, own, source.kind)
            changed = sum(tensors[name] is not source.tensors[name] for name in tensors)
            source = dataclasses.replace(source, tensors=tensors)
            named = ' and '.join(str(lora.path) for lora in own)
            self.say(f'{source.network}: {changed} tensors with the adapters of {named} merged')
        self.sources.append(source)

    def network(self, network: str, kind: str, root: Path) -> tuple[Source, Any]:
        """A network of a folder of a model, of its own folder, or of a file; and its spec."""
        path = root
        if places.kind(root) == 'folder' and not (root / 'config.json').exists():
            path = _place(root, FOLDERS.get(kind, kind))
        if places.kind(path) != 'file':
            spec = BY_CONFIG[kind](path)
            tensors: Tensors = open_folder(path, STEMS[kind], self.say)
            return Source(network, kind, path, published.current_names(tensors, kind, path)), spec
        tensors = published.current_names(self._in_file(path, kind), kind, path)
        self.say(f'{path}: sizes of the {kind} by the shapes of its tensors')
        return Source(network, kind, path, tensors), BY_SHAPES[kind](tensors, path)

    def _in_file(self, path: Path, kind: str) -> Tensors:
        if path not in self._files:
            opened = open_file(path, self.say)
            self._files[path] = ldm.networks_in(opened)
            if not self._files[path]:
                raise UserError(f'{path} holds {mismatch.whose(opened)}, not {mismatch.NAMES[kind]}')
            if any(name.startswith('model_ema.') and opened[name].shape for name in opened):
                self.say(f"{path}: leaves 'model_ema.', whose numbers are those of the pruned file of that name")
        if kind not in self._files[path]:
            held = ' and '.join(mismatch.NAMES[name] for name in self._files[path])
            raise UserError(f'{path} holds {held}, and not {mismatch.NAMES[kind]}: give another file')
        return self._files[path][kind]

    def denoiser(
        self, part: str, root: Path, loras: list[low_rank_files.LowRank], found: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Specs of a UNet and a ControlNet, which are kept."""
        own = {}
        for kind in ('unet', 'controlnet'):
            source, own[kind] = self.network(f'{part}/{kind}', kind, root)
            self.keep(source, loras)
        if own['unet'].image_dim is None and own['controlnet'].unet.image_dim is None:
            self.say(f'{root}: no image attentions; this {part} is told what is in a picture by words alone')
        elif own['unet'].image_dim is None or own['controlnet'].unet.image_dim is None:
            raise UserError(
                f'{root}: its UNet or its ControlNet has no image attentions (use_image_cross_attention), it is plain '
                'Stable Diffusion; give the folder of SeeSR or AddSR'
            )
        if any(found.get(name, value) != value for name, value in own.items()):
            raise UserError(
                f'{root} has other sizes than the other denoiser: teacher and student share one architecture'
            )
        return own

    def files(self, found: dict[str, Any], **paths: Path | None) -> None:
        """Networks that are published as one file each."""
        ram = paths['ram']
        if ram is not None:
            stored = open_file(ram, self.say)  # with the computed buffers, which say how large its pictures are
            tensors = published.current_names(stored, 'prompt_extractor', ram)
            found['prompt_extractor'] = single_files.prompt_extractor_spec(tensors, stored, ram)
            self.sources.append(Source('prompt_extractor', 'prompt_extractor', ram, tensors))
        if paths['dape'] is not None:
            if ram is None:
                raise UserError('--dape is added to RAM: give --ram too')
            self.sources.append(self._file('dape', paths['dape']))
        for name in ('dino', 'dinov2'):
            path = paths[name]
            if path is not None:
                source = self._file(name, path)
                found[name] = single_files.vit_spec(source.tensors, getattr(SD2, name), path)
                self.sources.append(source)

        if paths['tiny_decoder'] is not None:
            source = self._file('tiny_decoder', paths['tiny_decoder'])
            found['tiny_decoder'] = single_files.tiny_decoder_spec(source.tensors, source.path)
            self.sources.append(source)

    def _file(self, kind: str, path: Path) -> Source:
        path = self.meant(path) if kind in STEMS else path
        folder = places.kind(path) == 'folder' and kind in STEMS
        opened = open_folder(path, STEMS[kind], self.say) if folder else open_file(path, self.say)
        return Source(kind, kind, path, published.current_names(opened, kind, path))

    def tokenizer(self, root: Path, given: Path | None) -> Path:
        """The tokenizer's folder: a model that is one file brings none."""
        if given is None and places.kind(root) == 'file':
            raise UserError(f'{root} holds no tokenizer: give the folder of one as --tokenizer (docs/weights.md)')
        # a link that somebody gave is their own; one in a model's folder is its maker's (`plain_files`)
        folder = root / 'tokenizer' if given is None else self.meant(given, TOKENIZER).resolve()
        if tokenizer_files.is_one(folder / 'tokenizer'):
            self.say(f'{folder}: a model, whose tokenizer is read')
            folder /= 'tokenizer'
        if not tokenizer_files.is_one(folder):
            raise UserError(f'{folder} holds no {TOKENIZER[0]}: the tokenizer folder is missing')
        tokenizer_files.lacking(folder)  # whatever is wrong with it is said before anything is read
        return folder


def _place(root: Path, name: str) -> Path:
    """NAME of a folder, or the file NAME.safetensors and the like that lies there in its stead."""
    files = [root / f'{name}{suffix}' for suffix in SUFFIXES]
    return next((path for path in (root / name, *files) if path.exists()), root / name)


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
        return dataclasses.replace(SD2, **{'tiny_decoder': None, **found, 'discriminator': discriminator})
    except UserError as error:
        raise UserError(f'these files are not of one model: {error}') from error
