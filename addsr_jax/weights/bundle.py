"""Weights at rest: a folder with `model.json`, a tokenizer, and the parts of a model.

Two forms: one safetensors file per part (the embedded model), or one Orbax checkpoint per network (`final/` of a run,
converted weights). Both are written beside their place and moved into it whole; a bucket knows no moves, and gets
`model.json` last, without which nothing is loaded. Loading is strict: every tensor that the networks have, no other.
"""

import dataclasses
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from addsr_jax import atomic, attempts, hashes, options, places, processes, sharding, spec_json, trees
from addsr_jax.errors import UserError, printable
from addsr_jax.networks.prompt_extractor import dape
from addsr_jax.specs import ModelSpec
from addsr_jax.trees import Tree
from addsr_jax.weights import (
    adapters,
    finite,
    model_file,
    orbax_writer,
    part_shapes,
    plain_files,
    restoring,
    same,
    tokenizer_files,
)
from addsr_jax.weights.part_shapes import DENOISERS
from addsr_jax.weights.reader import check_header

NANO = Path(__file__).parent / 'nano'
MODEL_FILE = model_file.NAME
FORMS = ('orbax', 'safetensors')
NOTES = model_file.NOTES
LORA, TAGS, TOKENIZER = plain_files.LORA, plain_files.TAGS, plain_files.TOKENIZER
_DENOISER = ('unet', 'controlnet', 'schedule', 'prompts', 'discriminator')
# part -> the fields of a spec that its tensors were made for
FIELDS = {
    'prompt_extractor': ('prompt_extractor',),
    'autoencoder': ('autoencoder',),
    'text_encoder': ('text_encoder',),
    'teacher': _DENOISER,
    'student': _DENOISER,
    'dino': ('dino',),
    'dinov2': ('dinov2',),
    'tiny_decoder': ('tiny_decoder',),
    'unet': ('unet', 'schedule', 'prompts'),  # Stable Diffusion's own, where training of a teacher starts
    'dape': ('prompt_extractor',),  # low-rank adaptation, apart from the weights that it is added to
}
PARTS = tuple(FIELDS)


@dataclass(frozen=True)
class Bundle:
    """Parameters by part, with all that is needed to use them."""

    spec: ModelSpec
    params: dict[str, Tree]
    tokenizer: Path
    info: dict[str, Any]  # stage, versions, hash of the config
    tags: Path | None = None  # folder of the tagging head's words, if they are known
    same: tuple[str, ...] = ()  # branches of the student that are its teacher's, as it was stored (`weights.same`)
    lora: Path | None = None  # folder of the adapters that its student has in its weights, if it was trained by them
    content: str = ''  # hash of the tensors as they are stored; '' of others, and of versions without hashes


def save(
    bundle: Bundle,
    folder: Path,
    form: str,
    *,
    dtype: Any = None,
    beside: Mapping[str, Tree] | None = None,
    lora: Tree | None = None,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Writes a bundle, or replaces an old one whole.

    form: 'orbax' or 'safetensors'; dtype None keeps each leaf's. `beside` are trees that go into Orbax folders of
    their own next to the weights (optimisers and the like). lora: {network: low-rank factors}, which are in the weights
    already, as files of their own for PyTorch (`weights.adapters`). notes: {one of NOTES: its text}.
    """
    if form not in FORMS:
        raise ValueError(f"form is 'orbax' or 'safetensors', not {form!r}")
    made: dict[str, dict[str, int]] = {}
    with writing(places.place(folder)) as unfinished:
        for part, tree in bundle.params.items():
            if form == 'safetensors':
                tree = finite.cast(tree, dtype, f'{folder}: {part}')
                _save_safetensors(tree, unfinished / f'{part}.safetensors')
                made[f'params/{part}'] = hashes.of_leaves(tree)
                continue
            for network, params in networks_of(part, tree).items():
                made |= write_network(unfinished, network, finite.cast(params, dtype, f'{folder}: {network}'))
        for name, tree in (beside or {}).items():
            orbax_writer.write(tree, unfinished / name)
            made[name] = hashes.of_leaves(tree)
        if lora is not None:
            adapters.write(unfinished / LORA, lora)
        for name, text in (notes or {}).items():
            (unfinished / name).write_text(text, encoding='utf-8')
        write_record(unfinished, bundle, form, list(bundle.params), made)


@contextmanager
def writing(folder: Path) -> Iterator[Path]:
    """A folder beside its place, which is moved there when all went well and vanishes when not.

    In a bucket its place itself, which is no bundle before `write_record` has ended.
    """
    if places.in_bucket(folder):
        notes = {name: (folder / name).read_bytes() for name in NOTES if (folder / name).exists()}
        places.remove(folder, first=MODEL_FILE)
        try:
            for name, content in notes.items():
                (folder / name).write_bytes(content)
            yield folder
        except OSError as error:
            raise UserError(f'{folder} cannot be written: {error}') from error
        return
    with atomic.folder(folder) as unfinished:
        yield unfinished
        for name in NOTES:  # a model card and a licence stay with the weights that they are about
            if (folder / name).exists():
                shutil.copy2(folder / name, unfinished / name, follow_symlinks=False)  # a link stays one


def networks_of(part: str, tree: Tree) -> dict[str, Tree]:
    """{'autoencoder': tree}, but {'teacher/unet': tree, 'teacher/controlnet': tree}: what one checkpoint holds."""
    return {f'{part}/{name}': tree[name] for name in tree} if part in DENOISERS else {part: tree}


def write_network(folder: Path, network: str, params: Tree) -> dict[str, dict[str, int]]:
    """One network of an unfinished Orbax bundle: 'autoencoder', 'teacher/unet'. Its tensors' hashes by its place."""
    orbax_writer.write(params, folder / 'params' / network)
    return {f'params/{network}': hashes.of_leaves(params, hashes.in_pieces)}


def write_record(folder: Path, bundle: Bundle, form: str, parts: list[str], made: Mapping[str, same.Leaves]) -> None:
    """The plain files and model.json, which is written last, with the hashes of what was written, by place."""
    tokenizer_files.copy(bundle.tokenizer, folder / TOKENIZER)
    for name, source in ((TAGS, bundle.tags), (LORA, bundle.lora)):
        if source is not None:
            plain_files.copy(source, name, folder / name)
    record = {'form': form, 'parts': sorted(parts), 'spec': spec_json.to_json(bundle.spec), 'info': bundle.info}
    if form == 'orbax':
        record[model_file.PIECES] = hashes.PIECES
    if shared := same.branches(made):
        record[same.NAME] = shared
    model_file.write(folder, record, {name: hashes.text(sum(leaves.values())) for name, leaves in made.items()})


def _save_safetensors(tree: Tree, path: Path) -> None:
    from safetensors.numpy import save_file

    tensors = {name: np.ascontiguousarray(value) for name, value in trees.flatten(tree).items()}
    save = partial(save_file, tensors)
    places.write_here(path, lambda here: attempts.write(partial(save, here)))


def load(
    path_or_name: str | Path, dtype: Any = None, *, mesh: Mesh | None = None, only: Iterable[str] | None = None
) -> Bundle:
    """The embedded model 'nano', or a folder; UserError says what is wrong with it.

    dtype: of floating tensors, cast one network at a time; None keeps what is stored. mesh: of devices that get the
    tensors, each by `sharding.RULES`, so that a process holds its own devices' shares alone; where they are of several
    processes, these load together, and an Orbax bundle is read once among them; None: numpy arrays. only:
    the parts to load, of those that it has; the others are missing from `params`. What a student has of its teacher is
    read once, and the same arrays stand in both.
    """
    folder, record, spec = _opened(path_or_name)
    parts = [part for part in record['parts'] if only is None or part in only]
    _check_there(folder, record['form'], parts)
    wanted = expected(spec, parts)
    if record['form'] == 'safetensors':
        params = _load_safetensors(folder, record, parts, dtype)
        check(params, wanted, folder)
        params = params if mesh is None else sharding.put_params(params, mesh)
    else:
        params = _load_orbax(folder, record, wanted, dtype, mesh)
    shared = same.read(record, parts)
    if shared:
        params[same.OF] = same.completed(same.without(params[same.OF], shared), params[same.WHOSE], shared)
    return _bundle(folder, record, spec, params, shared)


def parts_of(path_or_name: str | Path) -> list[str]:
    """The names of the parts that the folder says it has."""
    return list(_opened(path_or_name)[1]['parts'])


def described(path_or_name: str | Path) -> Bundle:
    """What `load` loads, with shapes in the place of tensors; that a folder's files have them is looked at.

    So is whether its plain files can be copied: training starts from here, and does so at its end.
    """
    folder, record, spec = _opened(path_or_name)
    plain_files.check(folder)
    _check_there(folder, record['form'], record['parts'])
    wanted = expected(spec, record['parts'])
    if record['form'] == 'safetensors':
        found = _load_safetensors(folder, record, record['parts'], None)
        check(found, wanted, folder)
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), found)
    else:
        shapes = trees.unflatten({name: tree for name, _, tree in _stored(folder, wanted)})
    shared = same.read(record, record['parts'])
    return _bundle(folder, record, spec, shapes, shared)


def _bundle(
    folder: Path, record: Mapping[str, Any], spec: ModelSpec, params: dict[str, Tree], shared: tuple[str, ...]
) -> Bundle:
    tags, lora = (folder / name if places.kind(folder / name) == 'folder' else None for name in (TAGS, LORA))
    content = model_file.content(record)
    return Bundle(spec, params, folder / TOKENIZER, record['info'], tags, shared, lora, content)


def _opened(path_or_name: str | Path) -> tuple[Path, dict[str, Any], ModelSpec]:
    """A folder of weights, its model.json and the spec in that."""
    folder = NANO if str(path_or_name) == 'nano' else places.place(path_or_name)
    with places.answering(folder, 'read'):
        there = (folder / MODEL_FILE).exists()
    if not there:
        raise UserError(
            f"{folder} holds no {MODEL_FILE}: give 'nano', or a folder that training (final/) or convert wrote"
        )
    record = model_file.read(folder)
    try:
        _check_kept(record)
        return folder, record, spec_json.from_json(ModelSpec, record['spec'])
    except (UserError, KeyError) as error:
        raise UserError(f'{folder / MODEL_FILE} cannot be read: {error}') from error


def _check_kept(record: Mapping[str, Any]) -> None:
    """A UserError where form, parts and info of a model.json are none."""
    form, parts = record['form'], options.typed(tuple[str, ...], record['parts'], 'parts')
    options.typed(dict[str, Any], record['info'], 'info')
    same.read(record, parts)
    if form not in FORMS:
        raise UserError(f'form is {printable(repr(form))}: it must be one of {", ".join(FORMS)}')
    if len(set(parts)) < len(parts):
        raise UserError('parts are named twice')
    _check_known(parts)


def _check_known(parts: Sequence[str]) -> None:
    unknown = sorted(set(parts) - set(PARTS))
    if unknown:
        raise UserError(f'unknown parts {printable(", ".join(unknown))}: a bundle has {", ".join(PARTS)}')


def _check_there(folder: Path, form: str, parts: Sequence[str]) -> None:
    """Before networks are traced, which takes seconds, whatever a spec says."""
    for part in parts:
        path = folder / f'{part}.safetensors' if form == 'safetensors' else folder / 'params' / part
        if not path.exists():
            raise UserError(f'{path} cannot be read (it is missing): download or convert it again')


def _load_safetensors(folder: Path, record: Mapping[str, Any], parts: list[str], dtype: Any) -> dict[str, Tree]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    params, shared = {}, same.read(record, parts)
    made: dict[str, dict[str, int]] = {}  # hashes of tensors by part
    for part in sorted(parts, key=lambda part: part == same.OF):
        path = folder / f'{part}.safetensors'
        check_header(path)
        try:
            with places.on_this_machine(path) as file:
                stored = trees.unflatten(load_file(file))
        except (SafetensorError, OSError, ValueError) as error:
            raise UserError(f'{path} cannot be read ({error}): download or convert it again') from error
        made[part] = hashes.of_leaves(stored) | same.theirs(part, made, shared)
        model_file.check(record, f'params/{part}', hashes.text(sum(made[part].values())), path)
        finite.check(stored, path)
        params[part] = finite.cast(stored, dtype, path)
    return {part: params[part] for part in parts}


def _load_orbax(
    folder: Path, record: Mapping[str, Any], wanted: dict[str, Tree], dtype: Any, mesh: Mesh | None
) -> dict[str, Tree]:
    shared, flat = same.read(record, wanted), {}
    readers = processes.sharing(mesh)
    if len(readers) > 1:
        _check_same(folder, record)
    made: dict[str, dict[str, int]] = {}  # hashes of tensors by network
    for network, path, stored in sorted(_stored(folder, wanted), key=lambda found: found[0].startswith(same.OF)):
        theirs = same.theirs(network, made, shared)
        own = {name: shape for name, shape in trees.flatten(stored).items() if name not in theirs}
        flat[network], found = {}, {}
        if own:
            where = None if mesh is None else sharding.state_shardings(mesh, {network: own})[network]
            restorer = restoring.Restorer(dtype, where, readers, model_file.in_pieces(record))
            with _readable(path):
                flat[network], found = restorer.restored(path, own)
        made[network] = theirs | found
        model_file.check(record, f'params/{network}', hashes.text(sum(made[network].values())), path)
    found = trees.unflatten(flat)
    return {part: found[part] for part in wanted}


def _check_same(folder: Path, record: Mapping[str, Any]) -> None:
    """Processes that load together may each have a folder of their own; they read them as one."""
    records = processes.numbers_of_all([int(hashes.of_json(record), 16)])
    if any(other != records[0] for other in records):
        raise UserError(f'{folder} is not the same at every process: copy the folder again')


def _stored(folder: Path, wanted: dict[str, Tree]) -> Iterator[tuple[str, Path, Tree]]:
    """(network, its place, shapes as they are stored) of an Orbax bundle, which are those that are wanted."""
    for part, tree in wanted.items():
        for network, shapes in networks_of(part, tree).items():
            path = places.absolute(folder / 'params' / network)
            with _readable(path):
                stored = restoring.described(path, len(jax.tree.leaves(shapes)))
            check(stored, shapes, path)
            yield network, path, stored


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Whatever Orbax says of a folder that it cannot read becomes one line."""
    try:
        with attempts.attempted():
            yield
    except attempts.Failed as error:
        raise UserError(f'{path} cannot be read ({error}): the folder is damaged') from error


def check(params: Tree, wanted: Tree, folder: Path) -> None:
    """Names missing, unexpected and misshapen tensors together."""
    wrong = differences(params, wanted)
    if wrong:
        more = f' and {len(wrong) - 8} more' if len(wrong) > 8 else ''
        raise UserError(f'{folder} does not fit its {MODEL_FILE}: {"; ".join(wrong[:8])}{more}')


def differences(tree: Tree, wanted: Tree) -> list[str]:
    """Missing, unexpected and misshapen leaves of a tree, one phrase each."""
    have, want = _shapes_by_path(tree), _shapes_by_path(wanted)
    wrong = [f'{p} missing' for p in want if p not in have]
    wrong += [f'{p} unexpected' for p in have if p not in want]
    return wrong + [f'{p} is {have[p]}, not {want[p]}' for p in want if p in have and have[p] != want[p]]


def _shapes_by_path(tree: Tree) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(p, simple=True, separator='/'): tuple(leaf.shape) for p, leaf in leaves}


def expected(spec: ModelSpec, parts: list[str]) -> dict[str, Tree]:
    """Shapes of the parts' parameters, from the networks alone; nothing is allocated."""
    _check_known(parts)
    # dicts of the caller's own, the parts in the caller's order
    return {part: jax.tree.map(lambda leaf: leaf, part_shapes.of(spec, part)) for part in parts}


def empty(spec: ModelSpec, tokenizer: Path) -> Bundle:
    """A bundle without parts, where training starts from nothing."""
    return Bundle(spec, {}, tokenizer, {})


def adapted(bundle: Bundle) -> Bundle:
    """The bundle with its low-rank adaptation, if it has one, added to the prompt extractor (SeeSR's DAPE)."""
    if 'dape' not in bundle.params:
        return bundle
    params = {part: tree for part, tree in bundle.params.items() if part != 'dape'}
    merged = dape(bundle.spec.prompt_extractor).merge(params['prompt_extractor'], bundle.params['dape'])
    return dataclasses.replace(bundle, params={**params, 'prompt_extractor': merged})


def completed_spec(bundle: Bundle, size: ModelSpec) -> ModelSpec:
    """The bundle's spec for the parts that it holds, that of `size` for those still to be trained."""
    held = {field for part in bundle.params for field in FIELDS[part]}
    return dataclasses.replace(size, **{field: getattr(bundle.spec, field) for field in held})


def merged(bundle: Bundle, params: Mapping[str, Tree], spec: ModelSpec, info: dict[str, Any]) -> Bundle:
    """The bundle with other parts laid over its own; a part that is None goes."""
    parts = {name: tree for name, tree in {**bundle.params, **params}.items() if tree is not None}
    return dataclasses.replace(bundle, params=parts, spec=spec, info=info, same=(), lora=None)
