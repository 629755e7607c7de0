"""addsr tag: words for training pictures, as files beside them.

python -m addsr_jax.tag FOLDER --weights CONVERTED
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from addsr_jax import atomic, places
from addsr_jax.data.photographs import photographs, text_of
from addsr_jax.errors import Incomplete, PictureError, UserError, complain, guard
from addsr_jax.flags import Parser, say, take
from addsr_jax.options import Options, option


@dataclass(frozen=True, kw_only=True)
class Command(Options):
    """What `tag` takes beside a folder."""

    weights: str = option('folder that convert from_pytorch wrote, or ORG/NAME on a hub, with RAM')
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
    p.add_argument('folder', metavar='FOLDER', help='images, in subfolders too')
    p.declare(Command)
    values = p.parse_args(arguments)
    command = take(values, Command)
    wanted = texts_of(photographs(places.local(values.folder), recursive=True).paths)
    there = [] if command.overwrite else [path for path in wanted if text_of(path)]
    if there:
        say(f'{len(there)} of {len(wanted)} images have a text, which stays: --overwrite replaces it')
    missing = [path for path in wanted if path not in there]
    failed = tagged(missing, command) if missing else 0
    if failed:
        raise Incomplete(f'{failed} of {len(missing)} images have no text: the same command tries them again')


def texts_of(paths: Sequence[Path]) -> dict[Path, Path]:
    """{image: its text}; a UserError where two images would have the same."""
    found: dict[Path, Path] = {}
    for path in paths:
        text = path.with_suffix('.txt')
        if text in found:
            raise UserError(f'{found[text].name} and {path.name} would both have {text}: rename one of them')
        found[text] = path
    return {path: text for text, path in found.items()}


def tagged(paths: Sequence[Path], command: Command) -> int:
    """Writes the texts of these images; how many could not be read, which are named."""
    from addsr_jax.data import pictures
    from addsr_jax.runtime import prepare
    from addsr_jax.weights import bundle, hub, tags

    prepare()
    words, weights, failed = None, hub.located(command.weights, say), 0
    if command.tag_list is not None and command.thresholds is not None:
        classes = bundle.load(weights, only=[]).spec.prompt_extractor.tagging.classes
        words = tags.read_vocabulary(command.tag_list, command.thresholds, classes)
    caption_of = tags.captioner(weights, words)
    for i, path in enumerate(paths, 1):
        try:
            text = caption_of(pictures.read(path))
        except PictureError as error:
            complain(str(error))
            failed += 1
            continue
        atomic.write_text(path.with_suffix('.txt'), text + '\n')
        say(f'[{i}/{len(paths)}] {path.with_suffix(".txt")}  {text}')
    return failed


if __name__ == '__main__':
    sys.exit(guard(main))
