"""A model card: what a hub and its readers are told of weights, with the figures that were measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax

from addsr_jax import options
from addsr_jax.errors import UserError, printable
from addsr_jax.options import Options, option
from addsr_jax.weights import model_file
from addsr_jax.weights.bundle import Bundle

TASK = 'image-to-image'
METADATA = 'README.md of the weights has metadata'
TAGS = ('super-resolution', 'diffusion', 'jax', 'flax')


@dataclass(frozen=True)
class Measured:
    """Means of figures on pairs of pictures."""

    pictures: str = ''  # what they are called
    count: int = 0
    means: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)  # {method: {figure: mean}}
    names: Mapping[str, tuple[str, int]] = field(default_factory=dict)  # {figure: its name, and its digits}


@dataclass(frozen=True, kw_only=True)
class Origin(Options):
    """Of what weights were converted, as their model.json says it."""

    repository: str = option('ORG/NAME')
    commit: str = option('of it')
    sha256: dict[str, str] = option('{file: hash} of what was read')


def written(
    bundle: Bundle, name: str, licence: str | None, base_models: tuple[str, ...], measured: Measured, earlier: str = ''
) -> str:
    """README.md of a folder of weights; UserError where nobody says the licence.

    name: of the model. licence: as hubs write it ('apache-2.0'). earlier: the card that the weights have: its metadata
    stay where nothing else is said, and so does its text.
    """
    from huggingface_hub import EvalResult, ModelCardData
    from huggingface_hub.repocard_data import eval_results_to_model_index

    kept, text = split(earlier)
    said: dict[str, Any] = {'library_name': 'addsr-jax', 'pipeline_tag': TASK, 'tags': list(TAGS), **kept}
    said |= {'license': licence} if licence else {}
    said |= {'base_model': list(base_models)} if base_models else {}
    if 'license' not in said:
        raise UserError(
            'nobody says what these weights may be used for: add --license, as openrail++ where they come from Stable '
            "Diffusion 2, or 'other' with a file LICENSE beside them"
        )
    dataset = measured.pictures.lower().replace(' ', '-')
    results = [
        EvalResult(TASK, dataset, measured.pictures, figure, round(mean, digits), metric_name=f'{title}, {method}')
        for method, means in measured.means.items()
        for figure, (title, digits) in measured.names.items()
        if (mean := means.get(figure)) is not None
    ]
    if results:
        said |= {'metrics': list(measured.names), 'model-index': eval_results_to_model_index(name, results)}
    try:
        front = ModelCardData(**said, ignore_metadata_errors=True).to_yaml()
    except Exception as error:  # anything can be raised by what others have written there
        raise UserError(f'{METADATA} that no hub takes ({printable(str(error))}): mend or remove it') from error
    return f'---\n{front}\n---\n\n{text or described(bundle, name, said, measured)}\n'


def split(card: str) -> tuple[dict[str, Any], str]:
    """Metadata and text of a card; UserError where its metadata cannot be read."""
    import yaml

    if not card.startswith('---\n') or '\n---\n' not in card:
        return {}, card.strip()
    front, _, text = card.removeprefix('---\n').partition('\n---\n')
    try:
        found = yaml.safe_load(front)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: of a day that no calendar has
        raise UserError(f'{METADATA} that are no YAML: {printable(str(error))}') from error
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise UserError(f'{METADATA} that are no names with values: mend or remove it')
    return found, text.strip()


def described(bundle: Bundle, name: str, said: Mapping[str, Any], measured: Measured) -> str:
    """The text of a card that nobody has written: what it is, how it is used, what it is made of, what was measured."""
    parts = [f'| `{part}` | {_count(tree) / 1e6:.2f} M |' for part, tree in sorted(bundle.params.items())]
    lines = [
        f'# {name}',
        '',
        'Blind 4x super-resolution of photographs in a few diffusion steps (AddSR, arXiv 2404.01717), for addsr_jax.',
        '',
        '```',
        'pip install addsr-jax',
        f'addsr photo.jpg --weights {name}',
        '```',
        '',
        f'Networks of size {printable(bundle.spec.name)}, predicting {bundle.spec.schedule.prediction}.',
        '',
        '| part | parameters |',
        '| --- | --- |',
        *parts,
    ]
    return '\n'.join([*lines, *_table(measured), *_origin(bundle, said)])


def _count(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _table(measured: Measured) -> list[str]:
    if not measured.means:
        return []
    titles = [title for title, _ in measured.names.values()]
    lines = [
        '',
        '## Measured',
        '',
        f'Means over {measured.count} pairs of {measured.pictures}, by `addsr evaluate`.',
        '',
    ]
    lines += [f'| method | {" | ".join(titles)} |', f'| --- |{" --- |" * len(titles)}']
    for method, means in measured.means.items():
        found = {figure: means.get(figure) for figure in measured.names}
        cells = ['' if n is None else f'{n:.{measured.names[figure][1]}f}' for figure, n in found.items()]
        lines.append(f'| {method} | {" | ".join(cells)} |')
    return lines


def _origin(bundle: Bundle, said: Mapping[str, Any]) -> list[str]:
    """What they stand on, and the files that they were converted from."""
    lines = ['', '## Origin', '', f'Licence: {said["license"]}.']
    if base := said.get('base_model'):
        names = options.typed(str | tuple[str, ...], base, 'base_model of the README.md of the weights')
        lines.append(f'They stand on {names if isinstance(names, str) else ", ".join(names)}.')
    where = f'origin of the {model_file.NAME} of the weights'
    for found in options.typed(tuple[Any, ...], bundle.info.get('origin', ()), where):
        source = options.from_data(Origin, found, f'{where}.')
        lines += ['', f'Converted from {source.repository}, commit {source.commit}:', '']
        lines += [f'- `{file}`, sha256 `{digest}`' for file, digest in source.sha256.items()]
    return lines
