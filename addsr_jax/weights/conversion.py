"""PyTorch checkpoints to a bundle, one tensor at a time.

Everything is checked on names and shapes before the first tensor is read; the result appears whole or not at all.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from addsr_jax import places, trees
from addsr_jax.errors import UserError, printable
from addsr_jax.trees import Tree
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights import finite, layout, ldm, mismatch, prediction, published, tags
from addsr_jax.weights import known as known_networks
from addsr_jax.weights.bundle import Bundle
from addsr_jax.weights.reader import open_folder, open_path, read_tensor
from addsr_jax.weights.sources import FOLDERS, INDEX, STEMS, Plan, Source

REPORT = 'report.json'
SPARE = 1 << 28  # bytes of disk beyond the tensors themselves


def from_pytorch(
    made: Plan,
    output: Path,
    report: Callable[[str], object],
    known: Mapping[str, list[str]],
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes the bundle of a plan to `output` and returns its report; refuses what does not fit, all at once.

    known: names of networks by the hash of their tensors (`weights.known`). more: goes into the bundle's info, beside
    what it was converted from.
    """
    if output.exists():
        raise UserError(f'{output} exists: choose another --output, or remove it first')
    check(made)
    _check_space(output, sum(t.nbytes for s in made.sources for t in s.tensors.values()))
    parts = sorted({source.network.split('/')[0] for source in made.sources})
    entries: list[dict[str, Any]] = []
    written: dict[str, dict[str, int]] = {}
    networks: dict[str, dict[str, str]] = {}
    for note in made.notes:
        report(note)
    with bundles.writing(output) as unfinished:
        for source in made.sources:
            report(f'{source.network}: {len(source.tensors)} tensors of {source.path}')
            tree, own = _converted(source)
            written |= bundles.write_network(unfinished, source.network, tree)
            entries += [{**entry, 'name': f'{source.network}/{entry["name"]}'} for entry in own]
            hash_ = known_networks.of_tensors(own)
            networks[source.network] = {'sha256': hash_, 'known': known_networks.told(hash_, known)}
            report(f'{source.network}: sha256 {hash_}, {networks[source.network]["known"]}')
        if 'prompt_extractor' in parts:
            report(tags.write(unfinished / bundles.TAGS, made.tags, made.spec))
        entries.sort(key=lambda entry: entry['name'])
        summary = {'sha256': known_networks.of_tensors(entries), 'networks': networks, 'tensors': entries}
        (unfinished / REPORT).write_text(json.dumps(summary, indent=1) + '\n', encoding='utf-8')
        info = {'converted': [s.network for s in made.sources], 'sha256': summary['sha256'], **(more or {})}
        bundles.write_record(unfinished, Bundle(made.spec, {}, made.tokenizer, info), 'orbax', parts, written)
    return summary


def check(made: Plan) -> None:
    """Missing, unexpected and misshapen tensors of all sources in one UserError."""
    parts = sorted({source.network.split('/')[0] for source in made.sources})
    wanted = {}
    for part, tree in bundles.expected(made.spec, parts).items():
        wanted.update(bundles.networks_of(part, tree))
    found = []
    for source in made.sources:
        shapes = layout.state_shapes(source.kind, wanted[source.network])
        found.append(mismatch.found(source.kind, source.path, source.tensors, shapes))
    mismatch.refuse([wrong for wrong in found if wrong is not None])


def _check_space(output: Path, needed: int) -> None:
    place = output.absolute().parent
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed + SPARE:
        raise UserError(f'{place} has {free / 1e9:.1f} GB left and the weights need {(needed + SPARE) / 1e9:.1f} GB')


def _converted(source: Source) -> tuple[Tree, list[dict[str, Any]]]:
    """The network's parameters in our layout, and what a hash is made of, of every tensor."""
    entries: list[dict[str, Any]] = []

    def tensors() -> Iterable[tuple[str, np.ndarray]]:
        for name, stored in source.tensors.items():
            value = read_tensor(source.path, name, stored)
            finite.check_tensor(name, value, source.path)
            entries.append(known_networks.entry(name, value))
            yield name, value

    params, lora, _ = layout.from_tensors(tensors(), source.kind)
    return (lora if source.kind == 'dape' else params), entries


def inspect(path: Path, known: Mapping[str, list[str]]) -> list[str]:
    """Lines that say what a bundle, a file, or a folder of tensors or of a model of diffusers holds."""
    if (path / bundles.MODEL_FILE).exists() or str(path) == 'nano':
        return _inspected(bundles.load(str(path)), path, known)
    path = path.parent if path.name in (INDEX, 'config.json') else path
    parts = {kind: path / FOLDERS.get(kind, kind) for kind in STEMS}
    if not (path / 'config.json').exists() and any(places.kind(place) == 'folder' for place in parts.values()):
        return _inspected_parts(path, parts, known)
    notes: list[str] = []
    tensors = open_path(path, (*STEMS['unet'], *STEMS['text_encoder']), notes.append)
    networks = [f'  {kind}: {len(held)} tensors' for kind, held in ldm.networks_in(tensors).items()]
    kinds = {dtype: str(dtype) for dtype in {t.dtype for t in tensors.values()}}  # a name takes numpy long
    lines = [f'  {printable(name)}  {list(t.shape)}  {kinds[t.dtype]}' for name, t in sorted(tensors.items())]
    size = sum(t.nbytes for t in tensors.values()) / 1e6
    return [*notes, f'{path}: {len(tensors)} tensors, {size:.1f} MB', *networks, *lines]


def _inspected_parts(path: Path, parts: Mapping[str, Path], known: Mapping[str, list[str]]) -> list[str]:
    lines: list[str] = []
    for kind, place in parts.items():
        if places.kind(place) != 'folder':
            continue
        tensors = published.current_names(open_folder(place, STEMS[kind], lines.append), kind, place)
        size = sum(t.nbytes for t in tensors.values()) / 1e6
        hash_ = known_networks.of_tensors(
            known_networks.entry(name, read_tensor(place, name, stored)) for name, stored in tensors.items()
        )
        lines.append(f'  {place.name}: {len(tensors)} tensors, {size:.1f} MB')
        lines.append(f'    sha256 {hash_}, {known_networks.told(hash_, known)}')
    if (path / 'scheduler' / published.SCHEDULER).exists():
        said = published.schedule_spec(path / 'scheduler').prediction
        lines.append(f'  scheduler: predicts {prediction.WORDS[said]}')
    return [f'{path}: a model in parts', *lines, *['  tokenizer'] * (path / 'tokenizer').exists()]


def _inspected(made: Bundle, path: Path, known: Mapping[str, list[str]]) -> list[str]:
    lines = [f'{path}: a model of size {printable(made.spec.name)}, predicting {made.spec.schedule.prediction}']
    for part, tree in sorted(made.params.items()):
        leaves = trees.flatten(tree).values()
        kinds = ', '.join(sorted({str(leaf.dtype) for leaf in leaves}))
        count = sum(leaf.size for leaf in leaves)
        lines.append(f'  {part:17} {count / 1e6:9.3f} M parameters  {kinds}')
        for network, own in bundles.networks_of(part, tree).items():
            hash_ = known_networks.of_tree(network.split('/')[-1], own)
            lines.append(f'    {network}: sha256 {hash_}, {known_networks.told(hash_, known)}')
    return lines
