"""addsr pack: training pictures and their captions into a few large files.

python -m addsr_jax.pack PHOTOS -o PACKED
python -m addsr_jax.pack HR --lq LQ -o PACKED
python -m addsr_jax.train --config configs/addsr.py --config.data.source=packed --config.data.path=PACKED ...
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from addsr_jax import places
from addsr_jax.errors import UserError, complain, guard
from addsr_jax.flags import Parser, require, say, take
from addsr_jax.options import Options, option


@dataclass(frozen=True, kw_only=True)
class Command(Options):
    """What `pack` takes beside folders."""

    output: Path = option('folder to be made', short='o')
    lq: Path | None = option(
        'folder of low-quality pictures of the same names, a quarter as large: pairs are packed',
        default=None,
        unset='training degrades',
    )
    shard_mb: int = option('size of a file, about', default=256, low=1, high=100_000, unit='MB')
    threads: int = option('threads that check the pictures', default=8, low=1, high=1024)


def main(arguments: Sequence[str]) -> None:
    p = Parser(
        'pack',
        'Packs photographs, with the texts beside them as captions, for --config.data.source=packed. Pictures that '
        'training could not use are named and left out. A call that was stopped goes on when it is given again.',
    )
    p.add_argument('folders', nargs='+', metavar='FOLDER', help='photographs, in subfolders too')
    p.declare(Command)
    values = p.parse_args(arguments)
    command, folders = take(values, Command), [places.local(folder) for folder in values.folders]
    require('train', 'grain', 'array_record', 'msgpack')
    from addsr_jax.data import packing
    from addsr_jax.training import lock

    output = command.output
    if output.exists():
        raise UserError(f'{output} exists already: choose another --output, or remove it first')
    if command.lq is not None and len(folders) > 1:
        raise UserError('--lq goes with one folder of true pictures: pack each pair of folders by itself')
    found = packing.listed_pairs(folders[0], command.lq) if command.lq else packing.listed(folders)
    if found.remark:
        say(f'{len(found.paths)} photographs, left out: {found.remark}')
    unfinished = packing.unfinished_beside(output)
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'{output} cannot be written: {error}') from error
    with lock.alone(unfinished, say, 'another call writes', '--output'):
        index = packing.pack(
            found,
            output,
            shard_bytes=command.shard_mb * 10**6,
            threads=command.threads,
            report=say,
            complain=complain,
        )
    packed, files = sum(index.records), len(index.records)
    more = f'; left out: {len(found.paths) - packed}' if packed < len(found.paths) else ''
    say(
        f'{output} holds {packed} photographs in {files} file{"s" * (files > 1)}, {sum(index.sizes) / 1e6:.1f} MB{more}'
    )


if __name__ == '__main__':
    sys.exit(guard(main))
