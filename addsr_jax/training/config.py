"""A run's config: read from its file, overridden by flags, checked, and kept beside the run."""

import ast
import difflib
import hashlib
import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from addsr_jax import atomic
from addsr_jax.errors import UserError

Config = Any  # a locked ConfigDict: its values have the types that configs/base.py gives them
RECORD = 'config.json'
PATHS = ('data.path', 'evaluation.path', 'weights')
# What may change between the starts of one run.
FREE = ('steps', 'checkpoint_every', 'log_every', 'data.threads', 'data.workers')


def read(path: str, overrides: Sequence[tuple[str, str]]) -> Config:
    """`configs/STAGE.py[:SIZE]` with ('data.path', 'photos') pairs applied; values keep their key's type."""
    file, _, size = path.partition(':')
    location = Path(file)
    if not location.is_file():
        raise UserError(f'there is no config file {file!r}: --config names one, like configs/addsr.py:nano')
    config = _run(location, size)
    for key, text in overrides:
        _assign(config, key, text)
    return config


def _run(location: Path, size: str) -> Config:
    """get_config of a Python file; its folder's parent is importable while it runs (`from configs import base`)."""
    root = str(location.resolve().parent.parent)
    sys.path.insert(0, root)
    try:
        spec = importlib.util.spec_from_file_location(f'config_{location.stem}', location)
        if spec is None or spec.loader is None:
            raise UserError(f'{location} is no Python file: --config names one, like configs/addsr.py:nano')
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if not hasattr(module, 'get_config'):
            raise UserError(f'{location} has no get_config(size): see configs/addsr.py')
        return module.get_config(size) if size else module.get_config()
    finally:
        sys.path.remove(root)


def _assign(config: Config, key: str, text: str) -> None:
    """Sets 'data.path' and the like to `text`, converted; only keys that are there."""
    *parents, last = key.split('.')
    node: Any = config
    for name in parents:
        node = node[name] if isinstance(node, ConfigDict) and name in node else None
    if not isinstance(node, ConfigDict) or last not in node:
        near = difflib.get_close_matches(key, flat(config.to_dict()), n=3, cutoff=0.4)
        hint = f'did you mean {" or ".join(near)}?' if near else f'the keys are {", ".join(sorted(config))}'
        raise UserError(f'there is no config key {key!r}: {hint}')
    node[last] = _convert(key, text, node[last])


def _convert(key: str, text: str, old: Any) -> Any:
    """`text` as a value of the type of `old`."""
    kind = type(old)
    try:
        if kind is bool:
            return {'true': True, 'false': False, '1': True, '0': False}[text.lower()]
        if kind in (int, float):
            return kind(text)
        if kind is str:
            return text
        if kind is tuple:
            of = type(old[0]) if old else str
            return tuple(of(v) for v in ast.literal_eval(text))
    except (ValueError, KeyError, TypeError, SyntaxError) as error:
        raise UserError(f'--config.{key}={text} is no {kind.__name__}, like {old!r}') from error
    raise UserError(f'--config.{key} is a group of keys: set one of {", ".join(sorted(old))}')


def flat(config: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """{'data.path': value} with tuples as lists, as JSON has them."""
    out: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            out.update(flat(value, f'{prefix}{name}.'))
        else:
            out[f'{prefix}{name}'] = list(value) if isinstance(value, tuple) else value
    return out


def describe(config: Config) -> dict[str, Any]:
    """What `final/` says of the run that made it; of folders their last name, for weights travel to other machines."""
    values = {k: Path(v).name if k in PATHS else v for k, v in flat(config.to_dict()).items()}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    versions = {name: version(name) for name in ('jax', 'flax', 'optax', 'orbax-checkpoint')}
    return {'stage': config.stage, 'config': values, 'config_sha256': digest, 'versions': versions}


def claim(workdir: Path, config: Config) -> None:
    """Records the config in a new workdir, or refuses one that belongs to another run."""
    record = workdir / RECORD
    now = flat(config.to_dict())
    if record.exists():
        before = json.loads(record.read_text(encoding='utf-8'))
        for key in sorted(set(before) | set(now)):
            if key not in FREE and before.get(key) != now.get(key):
                raise UserError(
                    f'{workdir} holds a run with config.{key} = {before.get(key)!r}, not {now.get(key)!r}: '
                    'choose another --workdir, or set it back'
                )
    elif workdir.exists() and not workdir.is_dir():
        raise UserError(f'--workdir {workdir} is a file: choose a folder')
    atomic.write_json(record, now, sort_keys=True)
