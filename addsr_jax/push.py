"""addsr push: weights as files that a hub takes, with a model card.

python -m addsr_jax.push runs/addsr/final -o FOLDER --license openrail++ --scores evaluated/scores.json
python -m addsr_jax.push runs/addsr/final -o FOLDER --license openrail++ --to ORG/NAME
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from addsr_jax import places
from addsr_jax.errors import UserError, guard, printable
from addsr_jax.flags import Parser, say, take
from addsr_jax.options import Options, option

if TYPE_CHECKING:
    from addsr_jax.weights.card import Measured

LARGEST = 1 << 20  # bytes of a card or a licence


@dataclass(frozen=True, kw_only=True)
class Command(Options):
    """What `push` takes beside weights."""

    output: Path = option('new folder for the files', short='o')
    to: str | None = option('ORG/NAME: upload them there too', default=None, unset='files alone')
    license: str | None = option(
        'what they may be used for, as hubs write it: apache-2.0, openrail++, ...',
        default=None,
        unset="that of the weights' own card",
    )
    base_model: tuple[str, ...] = option('ORG/NAME of what they stand on, with commas', default=())
    scores: Path | None = option('scores.json of addsr evaluate --output, for the card', default=None, unset='none')
    pictures: str = option('what the pictures of --scores are called', default='photographs')
    dtype: str | None = option(
        'of the numbers in the files',
        default=None,
        unset='as they are',
        choices=('float32', 'bfloat16', 'float16'),
    )
    private: bool = option('a new repository is for its owner alone', default=False)

    def check_together(self) -> None:
        if self.private and self.to is None:
            raise UserError('--private is of an upload: give --to ORG/NAME')


def main(arguments: Sequence[str]) -> None:
    parser = Parser('push', 'Writes weights as files that a hub takes, with a model card, and uploads them.')
    parser.add_argument(
        'weights', metavar='WEIGHTS', help="'nano', a folder of training (final/) or convert, or ORG/NAME of a hub"
    )
    parser.declare(Command)
    values = parser.parse_args(arguments)
    command = take(values, Command)
    if command.output.exists():
        raise UserError(f'{command.output} exists: choose another --output, or remove it first')
    from addsr_jax.weights import bundle as bundles
    from addsr_jax.weights import card, hub, hub_upload, plain_files

    if command.to is not None:
        hub_upload.check_name(command.to)
    measured = scores(command)
    bundle = bundles.load(hub.located(values.weights, say))
    plain_files.check(bundle.tokenizer.parent)
    notes = {name: note(path) for name, path in plain_files.notes(bundle.tokenizer.parent).items()}
    name = command.to or command.output.name
    notes['README.md'] = card.written(
        bundle, name, command.license, command.base_model, measured, notes.get('README.md', '')
    )
    bundles.save(bundle, command.output, 'safetensors', dtype=command.dtype, notes=notes)
    for file in places.files(command.output):
        say(f'{file}  {places.size(file) / 1e6:.1f} MB')
    if command.to is None:
        say(f'ready: hf upload ORG/NAME {command.output}')
        return
    commit = hub_upload.upload(command.output, command.to, private=command.private)
    say(f'uploaded: addsr PHOTO --weights {command.to}@{commit}')


def note(path: Path) -> str:
    """A card or a licence; a UserError where it is no text."""
    try:
        return places.read_text(path, LARGEST)
    except (OSError, ValueError) as error:
        raise UserError(f'{path} cannot be read ({printable(str(error))}): mend or remove it') from error


def scores(command: Command) -> 'Measured':
    """Means of what `addsr evaluate` has measured."""
    from addsr_jax.evaluation import report
    from addsr_jax.evaluation.figures import FIGURES
    from addsr_jax.weights.card import Measured

    if command.scores is None:
        return Measured()
    read = report.read_json(command.scores, 'addsr evaluate --lq LQ --hr HR --output FOLDER writes one there')
    found = [score for score in read if score.method != report.TRUTH]
    means = report.means(found)
    there = [key for key in FIGURES if any(row.get(key) is not None for row in means.values())]
    names = {key: (FIGURES[key].label, FIGURES[key].digits) for key in there}
    return Measured(command.pictures, len({score.image for score in found}), means, names)


if __name__ == '__main__':
    sys.exit(guard(main))
