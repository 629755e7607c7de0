"""addsr tag: words for training pictures, as files beside them.

python -m addsr_jax.tag FOLDER --weights CONVERTED --tag_list ram_tag_list.txt --thresholds ram_tag_list_threshold.txt
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from addsr_jax import atomic, places
from addsr_jax.errors import UserError, guard
from addsr_jax.flags import Parser, say, take
from addsr_jax.options import Options, option


@dataclass(frozen=True, kw_only=True)
class Command(Options):
    """What `tag` takes beside a folder."""

    weights: str = option('folder that convert from_pytorch wrote, with RAM')
    tag_list: Path = option('ram_tag_list.txt')
    thresholds: Path = option('ram_tag_list_threshold.txt')
    overwrite: bool = option('replace existing .txt files', default=False)


def main(arguments: Sequence[str]) -> None:
    p = Parser('tag', 'Writes STEM.txt with the tags of every image in a folder; training reads them as captions.')
    p.add_argument('folder', type=places.local, help='images, in subfolders too')
    p.declare(Command)
    values = p.parse_args(arguments)
    command = take(values, Command)
    import jax
    import jax.numpy as jnp

    from addsr_jax import sharding
    from addsr_jax.data import pictures, sources
    from addsr_jax.restoration import pipeline, tags
    from addsr_jax.runtime import prepare
    from addsr_jax.weights import bundle, hub

    photographs = sources.folder(str(values.folder)).paths
    targets = [path.with_suffix('.txt') for path in photographs]
    existing = [target for target in targets if target.exists()]
    if existing and not command.overwrite:
        raise UserError(f'{existing[0]} exists, of {len(existing)} such files: add --overwrite to replace them')
    prepare()
    # clean photographs are for RAM as it is; DAPE is for degraded ones (SeeSR's training captions)
    mesh = sharding.make_mesh('data:1', jax.devices()[:1])
    model = pipeline.built(bundle.load(hub.located(command.weights, say), 'float32'), mesh, jnp.float32)
    classes = model.networks.spec.prompt_extractor.tagging.classes
    vocabulary = tags.read_vocabulary(command.tag_list, command.thresholds, classes)
    for i, (photograph, target) in enumerate(zip(photographs, targets, strict=True), 1):
        text = vocabulary.text(model.tag_probabilities(pictures.read(photograph)))
        atomic.write_text(target, text + '\n')
        say(f'[{i}/{len(targets)}] {target}  {text}')


if __name__ == '__main__':
    sys.exit(guard(main))
