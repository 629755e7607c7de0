"""A run's config: read from its file, overridden by flags, checked, and kept beside the run."""

import hashlib
import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from addsr_jax import atomic, json_file, options
from addsr_jax.errors import UserError
from addsr_jax.options import Option, Options
from addsr_jax.training.options import TRAINING, TrainOptions

RECORD = 'config.json'
CONTENT = 'weights_content'  # in it: a hash of the tensors that the run began with
PATHS = ('data.path', 'data.lq_path', 'evaluation.path', 'evaluation.lq_path', 'weights')


def train_options(path: str, overrides: Sequence[tuple[str, str]]) -> TrainOptions:
    """The options of `configs/STAGE.py[:SIZE]` and ('data.path', 'photos') pairs; a UserError for all that is wrong."""
    config = load(path)
    override(config, overrides, _kind(config))
    return options.from_data(_kind(config), config.to_dict(), 'config.', complete=True)


def _kind(config: ConfigDict) -> type[TrainOptions]:
    stage = config.get('stage')
    if not isinstance(stage, str) or stage not in TRAINING:
        raise UserError(f'config.stage is {stage!r}: choose one of {", ".join(TRAINING)}')
    return TRAINING[stage]


def read(path: str, overrides: Sequence[tuple[str, str]], kind: type[Options] | None = None) -> ConfigDict:
    """The config of a file, overridden; `kind` says what its values have to be where one is refused."""
    config = load(path)
    override(config, overrides, kind)
    return config


def load(path: str) -> ConfigDict:
    """`FILE.py[:SIZE]`, locked; what lies beside the file's folder is importable (`from configs import base`)."""
    file, _, size = path.partition(':')
    if not Path(file).is_file():
        raise UserError(f'there is no config file {file!r}: --config names one, like configs/addsr.py:nano')
    holder = flags.FlagValues()
    flag = config_flags.DEFINE_config_file('config', flag_values=holder, sys_argv=[])
    try:
        with _importable(Path(file).resolve().parent.parent):
            holder(['', f'--config={path if size else file}'])
        config = flag.value
        config.to_dict()  # raises what the file could not read
    except UserError:
        raise
    except Exception as error:  # the file is a program: anything can happen in it
        last = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise UserError(f'{file} gives no config ({last}): see configs/addsr.py') from error
    return config


@contextmanager
def _importable(folder: Path):
    """`folder` on the path of imports, and no module of an earlier config in the way."""
    name = 'config_config'  # what config_flags calls the module of a file
    sys.modules.pop(name, None)
    sys.path.insert(0, str(folder))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', DeprecationWarning)  # config_flags loads modules by an older call
            yield
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop(name, None)


def override(config: ConfigDict, pairs: Sequence[tuple[str, str]], kind: type[Options] | None) -> None:
    """Sets 'data.path' and the like to texts, as values of the type that is there; only keys that are there."""
    for key, text in pairs:
        known = flat(config.to_dict())
        if key not in known:
            below = [name for name in known if name.startswith(f'{key}.')]
            if below:
                raise UserError(f'--config.{key} is a group of keys: set one of {", ".join(below)}')
            raise UserError(options.unknown(key, known, '--config.'))
        arguments = ['', f'--config.{key}={text}']
        holder = flags.FlagValues()
        config_flags.DEFINE_config_dict('config', config, flag_values=holder, sys_argv=arguments)
        try:
            holder(arguments)
        except (flags.Error, TypeError, ValueError) as error:
            raise UserError(f'--config.{key}={text}: {_requirement(key, known[key], kind)}') from error


def _requirement(key: str, value: Any, kind: type[Options] | None) -> str:
    """What the option `key` has to be, or what is of the type of `value` where nothing more is known."""
    *groups, name = key.split('.')
    for group in groups:
        kind = options.group_of(options.declared(kind)[group]) if kind and group in options.declared(kind) else None
    if kind is None or name not in options.declared(kind):
        return options.requirement(type(value), Option(''))
    return options.requirement(options.declared(kind)[name], options.describe(kind, name))


def flat(config: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """{'data.path': value} with tuples as lists, as JSON has them."""
    out: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            out.update(flat(value, f'{prefix}{name}.'))
        else:
            out[f'{prefix}{name}'] = list(value) if isinstance(value, tuple) else value
    return out


def describe(run: TrainOptions) -> dict[str, Any]:
    """What `final/` says of the run that made it; of folders their last name, for weights travel to other machines."""
    values = {k: Path(v).name if k in PATHS else v for k, v in flat(options.to_data(run)).items()}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    versions = {name: version(name) for name in ('jax', 'flax', 'optax', 'orbax-checkpoint')}
    return {'stage': run.stage, 'config': values, 'config_sha256': digest, 'versions': versions}


def claim(workdir: Path, run: TrainOptions, content: str = '', *, writes: bool = True) -> int:
    """Records the options in a new workdir, or refuses one that belongs to another run; `steps` of the start before.

    content: the hash of the weights that the run begins with (`Bundle.content`), wherever they lie now; '': not known.

    An option that the record lacks is younger than the run, which did what the option's default does; one that only
    the record has is gone.
    """
    record = workdir / RECORD
    now, steps, began = flat(options.to_data(run)), run.steps, content
    if record.exists():
        before = {**flat(options.defaults(type(run))), **_recorded(record)}
        may_change, steps, began = free(type(run)), before['steps'], before.get(CONTENT) or content
        for key in sorted(now, key=lambda key: (key != 'stage', key)):
            if key not in may_change and before.get(key) != now[key]:
                raise UserError(
                    f'{workdir} holds a run with config.{key} = {before.get(key)!r}, not {now[key]!r}: '
                    'choose another --workdir, or set it back'
                )
        if content and began != content:
            raise UserError(
                f'{workdir} holds a run that began with other weights than {run.weights} holds now: give those again, '
                'or choose another --workdir'
            )
    elif workdir.exists() and not workdir.is_dir():
        raise UserError(f'--workdir {workdir} is a file: choose a folder')
    if writes:  # of several processes one does
        atomic.write_json(record, {**now, CONTENT: began} if began else now, sort_keys=True)
    return steps if isinstance(steps, int) else run.steps


def _recorded(record: Path) -> dict[str, Any]:
    values = json_file.read(record, 'choose another --workdir')
    if 'stage' not in values:
        raise UserError(f'{record} is no record of a run: choose another --workdir')
    return values


def free(kind: type[Options], prefix: str = '') -> set[str]:
    """The keys that may change between the starts of one run."""
    keys = set()
    for name, annotation in options.declared(kind).items():
        group, said = options.group_of(annotation), options.describe(kind, name)
        if group is None:
            keys |= {f'{prefix}{name}'} if said.free else set()
        elif said.free:
            keys |= set(flat(options.defaults(group), f'{prefix}{name}.'))
        else:
            keys |= free(group, f'{prefix}{name}.')
    return keys
