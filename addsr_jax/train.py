"""addsr train: one stage of training, from its config file.

    python -m addsr_jax.train --config configs/STAGE.py[:SIZE] --workdir DIR [--config.KEY=VALUE ...]

Running the same command again resumes what DIR holds. Exit code 75: a signal ended it early, with a checkpoint.
"""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from addsr_jax.errors import UserError, guard
from addsr_jax.flags import Parser, require, say, take
from addsr_jax.options import Options, option
from addsr_jax.training.help import config_help

UNFINISHED = 75  # exit code after a signal, with a checkpoint: the same command goes on (EX_TEMPFAIL of sysexits.h)


@dataclass(frozen=True, kw_only=True)
class Command(Options):
    """What `train` takes beside the keys of its config."""

    config: str = option('configs/STAGE.py, or configs/STAGE.py:nano')
    workdir: Path = option('where checkpoints/ and final/ go; gs://BUCKET/... too', bucket=True)
    compile_only: bool = option(
        'compile the step into the cache of compiled programs ($ADDSR_CACHE), and stop', default=False
    )
    distributed: bool = option('join the other processes of this TPU slice or cluster', default=False)
    coordinator: str | None = option(
        'HOST:PORT of process 0, on a cluster that jax does not know', default=None, unset='asked of the cluster'
    )
    processes: int | None = option(
        'how many there are, with --coordinator', default=None, low=1, high=100_000, unset=''
    )
    process: int | None = option(
        'which this is, from 0, with --coordinator', default=None, low=0, high=99_999, unset=''
    )

    def check_together(self) -> None:
        given = [value is not None for value in (self.coordinator, self.processes, self.process)]
        if any(given) and not all(given):
            raise UserError('--coordinator HOST:PORT, --processes N and --process I go together: give all three')
        host, _, port = (self.coordinator or '').rpartition(':')
        if self.coordinator is not None and not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise UserError(f'--coordinator {self.coordinator}: write HOST:PORT, as 10.0.0.2:8476')
        if self.processes is not None and self.process is not None and self.process >= self.processes:
            raise UserError(
                f'--process is {self.process} of {self.processes} processes: it counts from 0 to {self.processes - 1}'
            )

    @property
    def joins(self) -> bool:
        return self.distributed or self.coordinator is not None


class TrainParser(Parser):
    """The few flags of its own, and in the help every key of the config."""

    def format_help(self) -> str:
        return f'{super().format_help()}\n{config_help()}'


def main(arguments: Sequence[str]) -> None:
    command, overrides = parse(arguments)
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # tensorflow only writes the logs here
    os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
    require('train', 'clu', 'grain', 'ml_collections', 'tensorflow')
    from addsr_jax import places, processes  # what is slow to import is not imported for the help
    from addsr_jax.runtime import prepare
    from addsr_jax.training import config, job
    from addsr_jax.weights import hub

    options = config.train_options(command.config, overrides)
    prepare()
    if command.joins:
        processes.join(command.coordinator, command.processes, command.process)
    report = say if processes.first() else lambda line: None
    with processes.ending_together():
        if options.weights:
            options = dataclasses.replace(options, weights=str(hub.located(options.weights, report)))
        if command.compile_only:
            job.compile_only(options, report)
            return
        if processes.first():
            places.check_writable(command.workdir)
        finished = job.run(options, command.workdir, report)
    if not finished:
        sys.exit(UNFINISHED)


def parse(arguments: Sequence[str]) -> tuple[Command, tuple[tuple[str, str], ...]]:
    """The command's own flags, and the overrides of its config."""
    parser = TrainParser('train', 'Trains one stage; the same command again resumes.')
    parser.declare(Command)
    own, overrides = split_overrides(arguments)
    return take(parser.parse_args(own), Command), overrides


def split_overrides(arguments: Sequence[str]) -> tuple[list[str], tuple[tuple[str, str], ...]]:
    """Takes `--config.KEY=VALUE` and `--config.KEY VALUE` out of the arguments."""
    own, overrides, rest = [], [], list(arguments)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith('--config.'):
            own.append(argument)
            continue
        key, equals, value = argument.removeprefix('--config.').partition('=')
        if not equals:
            if not rest:
                raise UserError(f'{argument} has no value: write {argument}=VALUE')
            value = rest.pop(0)
        overrides.append((key, value))
    return own, tuple(overrides)


def run_apart(config: str, workdir: Path, overrides: Sequence[str]) -> None:
    """This command in a process of its own, with 'KEY=VALUE' overrides, on every core; UserError where it fails."""
    from addsr_jax.runtime import training_environment

    command = ['-m', 'addsr_jax.train', '--config', config, '--workdir', str(workdir)]
    command += [f'--config.{override}' for override in overrides]
    say('$ ' + ' '.join(['python', *command]))
    if subprocess.run([sys.executable, *command], check=False, env=training_environment()).returncode:
        raise UserError(f'training in {workdir} did not finish: see the line above')


if __name__ == '__main__':
    sys.exit(guard(main))
