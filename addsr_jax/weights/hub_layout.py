"""What a repository on a hub holds: a model of our own layout, or pieces of the published ones.

Pieces are known by the files they are made of, in whatever folder of a repository: Stable Diffusion 2 by its parts,
a denoiser (AddSR, SeeSR) by a UNet beside a ControlNet, the rest by the names that their authors gave them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from addsr_jax.errors import UserError
from addsr_jax.weights import model_file, plain_files
from addsr_jax.weights.reader import VARIANTS

SCHEDULER, VOCABULARY = 'scheduler/scheduler_config.json', 'tokenizer/vocab.json'
SD = (SCHEDULER, VOCABULARY, 'text_encoder/config.json', 'vae/config.json')
INSTEAD = {VOCABULARY: 'tokenizer/tokenizer.json'}  # what newer libraries write in its place
DENOISER = ('unet/config.json', 'controlnet/config.json')
DENOISERS = ('addsr', 'seesr')
FILES = {  # of several in a repository the first is taken: they hold the same
    'ram': ('ram_swin_large_14m.pth',),
    'dape': ('DAPE.pth',),
    'dino': ('dino_deitsmall16_pretrain.pth',),
    'dinov2': ('dinov2_vits14_pretrain.pth',),
    'tiny_decoder': ('taesd_decoder.safetensors', 'taesd_decoder.pth'),
}
NEEDED = {
    'sd': 'stable-diffusion-2-base (scheduler, tokenizer, text_encoder, vae)',
    'ram': FILES['ram'][0],
}
SUFFIXES = ('.safetensors', '.bin')
DIFFUSERS = ('diffusion_pytorch_model',)
STEMS = {'text_encoder': ('model', 'pytorch_model'), 'vae': DIFFUSERS, 'unet': DIFFUSERS, 'controlnet': DIFFUSERS}
BESIDE = '|'.join(re.escape(name) for name in (model_file.NAME, *model_file.NOTES))
OWN = re.compile(rf'{BESIDE}|\w+\.safetensors|(tokenizer|params|lora|tags)/.+')


@dataclass(frozen=True)
class Piece:
    """One of what `conversion.plan` takes, and where it lies."""

    repository: str
    path: str  # of a folder or a file inside the repository; '': all of it

    def inside(self, name: str) -> str:
        return f'{self.path}/{name}' if self.path else name


def is_own(files: Iterable[str]) -> bool:
    """Whether a repository holds what `--weights` takes as it is."""
    return model_file.NAME in files


def own_files(files: Iterable[str]) -> list[str]:
    """Those of a model of our own layout, with card and licence, without pictures and what else lies beside it."""
    return sorted(name for name in files if OWN.fullmatch(name))


def pieces(repositories: Mapping[str, Iterable[str]]) -> dict[str, Piece]:
    """{argument of `conversion.plan`: piece} in the files of repositories; UserError for two of one kind."""
    found: dict[str, Piece] = {}
    for repository, names in repositories.items():
        for role, piece in _of_one(repository, set(names)):
            if role in found:
                one, other = (f'{p.repository}/{p.path}'.rstrip('/') for p in (found[role], piece))
                raise UserError(f'{one} and {other} both hold {role}: name one of them')
            found[role] = piece
    return found


def _of_one(repository: str, files: set[str]) -> Iterable[tuple[str, Piece]]:
    for folder in sorted({name.rpartition('/')[0] for name in files} | _parents(files)):
        piece = Piece(repository, folder)
        if all({piece.inside(name), piece.inside(INSTEAD.get(name, name))} & files for name in SD):
            yield 'sd', piece
        if all(piece.inside(name) in files for name in DENOISER):
            yield _denoiser(piece), piece
    for role, names in FILES.items():
        held = {name: [path for path in sorted(files) if path.rpartition('/')[2] == name] for name in names}
        for path in next(filter(None, held.values()), []):
            yield role, Piece(repository, path)


def _parents(files: Iterable[str]) -> set[str]:
    found = {''}
    for name in files:
        parts = name.split('/')[:-1]
        found |= {'/'.join(parts[:count]) for count in range(1, len(parts))}
    return found


def _denoiser(piece: Piece) -> str:
    """Whose it is: by the innermost name that says it."""
    for part in reversed([*piece.repository.split('/'), *piece.path.split('/')]):
        for role in DENOISERS:
            if role in part.lower():
                return role
    where = f'{piece.repository}/{piece.path}'.rstrip('/')
    raise UserError(f'{where} has a UNet and a ControlNet and is called neither addsr nor seesr: see docs/weights.md')


def check_complete(found: Mapping[str, Piece], text: str, repositories: Mapping[str, Iterable[str]]) -> None:
    """A UserError that names what a model cannot do without, and the command that gets it; or what is of no use."""
    missing = [what for role, what in NEEDED.items() if role not in found]
    if not found:
        raise UserError(
            f'{text} holds no {model_file.NAME} and nothing of the published models: a file of other names is taken by '
            f'hf download {text} FILE and addsr convert from_pytorch --sd FILE (docs/weights.md)'
        )
    if missing:
        raise UserError(
            f'{text} lacks {" and ".join(missing)}: add a repository that has it, as --weights {text}+ORG/NAME '
            f'(hf download ORG/NAME shows whether it does), or join files that lie here: {_convert(found, missing)}'
        )
    used = {piece.repository for piece in found.values()}
    for repository, names in repositories.items():
        if repository not in used:
            alone = is_own(names)
            what = f'a {model_file.NAME}, a whole model' if alone else 'nothing that is known by its name'
            todo = 'name it alone' if alone else 'give its files to addsr convert from_pytorch (docs/weights.md)'
            raise UserError(f'{repository} holds {what}, and {text} takes nothing of it: leave it out, or {todo}')


def _convert(found: Mapping[str, Piece], missing: Sequence[str]) -> str:
    """The command for what was found and what is missing, as files on this machine."""
    roles = [role for role in (*NEEDED, *DENOISERS) if role in found or NEEDED.get(role) in missing]
    return f'addsr convert from_pytorch {" ".join(f"--{role} PATH" for role in roles)} -o FOLDER'


def files_of(found: Mapping[str, Piece], repositories: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """{repository: files to fetch} of pieces: of several forms of the same tensors, the one that is read."""
    wanted: dict[str, set[str]] = {}
    for role, piece in found.items():
        own, files = wanted.setdefault(piece.repository, set()), repositories[piece.repository]
        if role in FILES:
            own.add(piece.path)
            continue
        networks = ('unet', 'controlnet') if role in DENOISERS else ('vae', 'text_encoder')
        own.update({piece.inside(SCHEDULER)} & set(files))  # what a denoiser predicts, where its repository says it
        if role == 'sd' and not set(DENOISERS) & set(found):
            networks += ('unet',)  # a teacher is to be trained
        for network in networks:
            folder = piece.inside(network)
            own.add(f'{folder}/config.json')
            own.update(_tensors(folder, STEMS[network], files))
        if role == 'sd':
            own.update({piece.inside(f'tokenizer/{name}') for name in plain_files.FOLDERS['tokenizer']} & set(files))
    return {repository: sorted(names) for repository, names in wanted.items()}


def _tensors(folder: str, stems: Sequence[str], files: Iterable[str]) -> list[str]:
    """As `reader.open_folder` chooses among them; UserError where there are none."""
    there = {name.removeprefix(f'{folder}/') for name in files if name.startswith(f'{folder}/')}
    for variant in VARIANTS:
        for stem in stems:
            for suffix in SUFFIXES:
                name = f'{stem}{variant and f".{variant}"}'
                indices = {
                    f'{name}{suffix}.index.json',
                    f'{stem}{suffix}.index{variant and f".{variant}"}.json',
                } & there
                if indices:
                    shard = re.compile(rf'{re.escape(name)}-\d+-of-\d+{re.escape(suffix)}')
                    return [f'{folder}/{file}' for file in sorted(there) if file in indices or shard.fullmatch(file)]
                if f'{name}{suffix}' in there:
                    return [f'{folder}/{name}{suffix}']
    raise UserError(
        f'{folder} holds no weights: expected {stems[0]}.safetensors or {stems[-1]}.bin; other names are taken by hf '
        'download and addsr convert from_pytorch (docs/weights.md)'
    )
