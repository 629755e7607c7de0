"""Every table and picture of README and docs, made again by the commands that stand beside them.

    make evidence LQ=... HR=... [ABLATION=...] [PHOTOS=... LEFT_OUT=...]
    python -m benchmarks.evidence [--workdir DIR] [--lq LQ --hr HR] [--ablation DIR] [--photos DIR --left_out DIR]
        [--only NAME ...] [--again]

LQ and HR are folders of pairs that nobody trained on (the documents' are the DRealSR test crops), ABLATION the workdir
of `addsr ablate --config configs/ablation.py`, PHOTOS and LEFT_OUT two sets of photographs (the documents' are Urban100
and Kodak). What a command printed is kept in --workdir: after a stop the same call goes on with what is missing, and
--again begins anew. At the end it prints what changed in the documents; what could not be made, for want of pairs or a
machine, is named. Hours, on two CPU cores; --only makes a part of it. Tables without a mark around them are records of
experiments, with the commands of that day beside them.
"""

import argparse
import difflib
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from addsr_jax import atomic
from addsr_jax.flags import say
from benchmarks.blocks import last_table, replace_block

ROOT = Path(__file__).parents[1]
PRINTED = 'printed'
FOLDERS = ('lq', 'hr', 'ablation', 'photos', 'left_out')  # that whoever asks has


@dataclass(frozen=True)
class Piece:
    """A command, and the blocks that get the last table it prints; without blocks it writes into documents itself."""

    command: tuple[str, ...]  # after `python`; {lq}, {hr}, {ablation} and {work} stand for folders
    blocks: tuple[tuple[str, str], ...] = ()  # (document, name of the block)
    text: str = ''  # a file that is the text of the blocks, instead of the table; PRINTED: all that was printed
    pictures: tuple[tuple[str, str], ...] = ()  # (file that the command made, its place in the repository)

    @property
    def needs(self) -> set[str]:
        return {name for name in FOLDERS if any(f'{{{name}}}' in word for word in self.command)}


PAIRS = ('--lq', '{lq}', '--hr', '{hr}')
NANO = ('-m', 'benchmarks.nano', *PAIRS, '--workdir', '{work}/nano')
PEERS = 'bicubic,realesr-animevideov3,realesrgan-x4plus,addsr-1,addsr-4'
FLASH = ('--lengths', '1000,1025,1100', '--heads', '1', '--kernels', 'chunked,flash', '--interpret')
TILES = ('--divide', '16', '--tile', '16', '--sides', '256', '--plan', '512,1024,2048,4096,8192')
PIECES = {
    'options': Piece(('-m', 'benchmarks.upscale_docs', '--only', 'options')),
    'recipes': Piece(('-m', 'benchmarks.upscale_docs', '--only', 'recipes')),
    'kinds': Piece(('-m', 'benchmarks.kinds', '--docs')),
    'page': Piece(('-m', 'benchmarks.page')),
    'serve': Piece(('-m', 'benchmarks.serve'), (('docs/serve.md', 'serve'),)),
    'plans': Piece(
        (
            '-m',
            'benchmarks.plan_table',
        ),
        (('docs/tpu.md', 'plans'),),
    ),
    'contact_sheet': Piece((*NANO, '--limit', '8', '--only', 'contact_sheet')),
    'frontier': Piece((*NANO, '--limit', '16', '--only', 'frontier')),
    'autoencoder': Piece((*NANO, '--limit', '8', '--only', 'autoencoder')),
    'peers': Piece(
        ('-m', 'benchmarks.peers', *PAIRS, '--methods', PEERS, '--workdir', '{work}/peers'),
        (('docs/nano.md', 'peers'), ('README.md', 'peers')),
        text='{work}/peers/table.md',
        pictures=(('{work}/peers/crops.jpg', 'docs/peers.jpg'),),
    ),
    'finish': Piece(('-m', 'benchmarks.finish', *PAIRS, '--limit', '16'), (('docs/nano.md', 'finish'),)),
    'bounds': Piece(('-m', 'benchmarks.switches', 'finish', *PAIRS, '--limit', '16'), (('docs/nano.md', 'bounds'),)),
    'attention': Piece(
        (
            '-m',
            'benchmarks.attention',
        ),
        (('docs/performance.md', 'attention'),),
    ),
    'flash': Piece(
        ('-m', 'benchmarks.attention', *FLASH),
        (('docs/performance.md', 'flash'),),
    ),
    'tiles': Piece(
        ('-m', 'benchmarks.autoencoder_tiles', *TILES),
        (('docs/performance.md', 'tiles'),),
    ),
    'upscale_tiles': Piece(
        (
            '-m',
            'benchmarks.upscale_tiles',
        ),
        (('docs/performance.md', 'upscale_tiles'),),
    ),
    'torch': Piece(('-m', 'benchmarks.compare_torch'), (('docs/performance.md', 'torch'),)),
    'convolutions': Piece(('-m', 'benchmarks.convolutions'), (('docs/performance.md', 'convolutions'),)),
    'savings': Piece(('-m', 'benchmarks.savings'), (('docs/performance.md', 'savings'),)),
    'int8': Piece(('-m', 'benchmarks.switches', 'int8', *PAIRS, '--limit', '8'), (('docs/performance.md', 'int8'),)),
    'roofline': Piece(
        (
            '-m',
            'benchmarks.roofline',
        ),
        (('docs/performance.md', 'roofline'),),
        text=PRINTED,
    ),
    'start': Piece(
        (
            '-m',
            'benchmarks.start',
        ),
        (('docs/performance.md', 'start'),),
        text=PRINTED,
    ),
    'export': Piece(('-m', 'benchmarks.export', '--repeats', '9', '--side', '512'), (('docs/export.md', 'export'),)),
    'five_ways': Piece(('-m', 'benchmarks.five_ways'), (('docs/export.md', 'five_ways'),)),
    'ablation': Piece((*NANO, '--ablation', '{ablation}', '--only', 'ablation')),
    'finetune': Piece(
        (
            '-m',
            'benchmarks.finetune',
            '--photos',
            '{photos}',
            '--left_out',
            '{left_out}',
            '--workdir',
            '{work}/finetune',
        )
    ),
    'loading': Piece(('-m', 'benchmarks.loading', '{work}/sd2'), (('docs/performance.md', 'loading'),)),
    'damage': Piece(('-m', 'benchmarks.damage'), (('docs/trust.md', 'damage'),)),
    'kill': Piece(
        (
            '-m',
            'benchmarks.kill',
        ),
        (('docs/trust.md', 'kill'),),
    ),
    'hashes': Piece(
        (
            '-m',
            'benchmarks.hashes',
        ),
        (('docs/trust.md', 'hashes'),),
    ),
    'bombs': Piece(('-m', 'benchmarks.bombs'), (('docs/trust.md', 'bombs'),)),
    'fuzz': Piece(
        ('-m', 'benchmarks.fuzz', 'weights', 'pictures', '--minutes', '60', '--seed', '5000'),
        (('docs/trust.md', 'fuzz'),),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--workdir', type=Path, default=Path('runs/evidence'))
    for name in FOLDERS:
        parser.add_argument(f'--{name}', type=Path)
    parser.add_argument('--only', nargs='+', choices=tuple(PIECES), default=tuple(PIECES))
    parser.add_argument('--again', action='store_true', help='forget what earlier calls made')
    values = parser.parse_args()
    if values.again:
        shutil.rmtree(values.workdir, ignore_errors=True)
    values.workdir.mkdir(parents=True, exist_ok=True)
    folders = {name: path.resolve() for name in FOLDERS if (path := getattr(values, name))}
    documents = sorted({*ROOT.glob('*.md'), *ROOT.glob('docs/*.md')})
    before = {path: path.read_text(encoding='utf-8') for path in documents}
    missing = made(values.only, values.workdir.resolve(), folders)
    for path, text in before.items():
        for line in changes(path.relative_to(ROOT), text, path.read_text(encoding='utf-8')):
            say(line)
    for name, why in missing.items():
        say(f'{name}: not made: {why}')
    sys.exit(1 if missing else 0)


def made(names: Sequence[str], work: Path, folders: dict[str, Path]) -> dict[str, str]:
    """Runs what is missing and puts it into the documents; {piece: why there is none}."""
    missing = {}
    for name in names:
        piece, record = PIECES[name], work / f'{name}.txt'
        if lacks := piece.needs - set(folders):
            missing[name] = f'needs {", ".join(f"--{lack}" for lack in sorted(lacks))}'
            continue
        places = {**folders, 'work': work}
        if not record.exists():
            command = [sys.executable, *(word.format(**places) for word in piece.command)]
            say(f'{name}: {" ".join(piece.command)}')
            began = time.monotonic()
            done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                missing[name] = f'exit code {done.returncode}'
                continue
            atomic.write_text(record, done.stdout)
            say(f'{name}: {time.monotonic() - began:.0f} s')
        place(piece, record, places)
    return missing


def place(piece: Piece, record: Path, places: dict[str, Path]) -> None:
    """What a command made, in the documents."""
    for source, target in piece.pictures:
        shutil.copyfile(source.format(**places), ROOT / target)
    printed = record.read_text(encoding='utf-8')
    if piece.text == PRINTED:
        text = printed.strip()
    else:
        text = (
            Path(piece.text.format(**places)).read_text(encoding='utf-8').strip() if piece.text else last_table(printed)
        )
    for document, block in piece.blocks:
        replace_block(ROOT / document, block, text)


def changes(name: Path, before: str, after: str) -> list[str]:
    """Lines of a unified diff, without context."""
    names = (f'{name} before', f'{name} now')
    return list(difflib.unified_diff(before.splitlines(), after.splitlines(), *names, n=0, lineterm=''))


if __name__ == '__main__':
    main()
