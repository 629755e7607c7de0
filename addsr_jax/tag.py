"""addsr tag: words for training pictures, as files beside them.

python -m addsr_jax.tag FOLDER --weights CONVERTED
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
    tag_list: Path | None = option(
        'ram_tag_list.txt of another RAM than the published one', default=None, unset="the weights' own"
    )
    thresholds: Path | None = option('ram_tag_list_threshold.txt, with tag_list', default=None)
    overwrite: bool = option('replace existing .txt files', default=False)

    def check_together(self) -> None:
        if (self.tag_list is None) != (self.thresholds is None):
            raise UserError('--tag_list and --thresholds belong together: give both, or none')


def main(arguments: Sequence[str]) -> None:
    p = Parser('tag', 'Writes STEM.txt with the tags of every image in a folder; training reads them as captions.')
    p.add_argument('folder', type=places.local, help='images, in subfolders too')
    p.declare(Command)
    values = p.parse_args(arguments)
    command = take(values, Command)
    from addsr_jax.data import pictures, sources
    from addsr_jax.runtime import prepare
    from addsr_jax.weights import bundle, hub, tags

    photographs = sources.folder(str(values.folder)).paths
    targets = [path.with_suffix('.txt') for path in photographs]
    existing = [target for target in targets if target.exists()]
    if existing and not command.overwrite:
        raise UserError(f'{existing[0]} exists, of {len(existing)} such files: add --overwrite to replace them')
    prepare()
    words, weights = None, hub.located(command.weights, say)
    if command.tag_list is not None and command.thresholds is not None:
        classes = bundle.load(weights, only=[]).spec.prompt_extractor.tagging.classes
        words = tags.read_vocabulary(command.tag_list, command.thresholds, classes)
    caption_of = tags.captioner(weights, words)
    for i, (photograph, target) in enumerate(zip(photographs, targets, strict=True), 1):
        text = caption_of(pictures.read(photograph))
        atomic.write_text(target, text + '\n')
        say(f'[{i}/{len(targets)}] {target}  {text}')


if __name__ == '__main__':
    sys.exit(guard(main))
