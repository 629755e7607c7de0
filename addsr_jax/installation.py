"""How this package came here, and the words by which pip would bring more of it."""

import importlib.metadata
import json
import shlex
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

DISTRIBUTION = 'addsr-jax'


def package(extra: str = '') -> str:
    """This package as pip was told of it, with an extra: of a checkout its folder, for its name may be a stranger's."""
    wanted, (url, said) = f'[{extra}]' if extra else '', origin()
    if not url:
        return shlex.quote(f'{DISTRIBUTION}{wanted}')
    if not url.startswith('file:'):
        vcs = said.get('vcs_info') or {}
        place = f'{vcs["vcs"]}+{url}@{vcs["commit_id"]}' if vcs else url
        return shlex.quote(f'{DISTRIBUTION}{wanted} @ {place}')
    editable = '-e ' if is_editable() else ''
    return editable + shlex.quote(url2pathname(urlsplit(url).path) + wanted)


def with_extra(extra: str) -> str:
    """The command that installs an extra of this package."""
    return f'pip install {package(extra)}'


def origin() -> tuple[str, dict[str, Any]]:
    """What was installed, where that was no name, and what pip has written of it (PEP 610)."""
    # In a checkout `python -m` finds what a build left there (an egg-info, of which pip wrote nothing) before the rest.
    for found in importlib.metadata.distributions(name=DISTRIBUTION):
        try:
            said = json.loads(found.read_text('direct_url.json') or '{}')
        except ValueError:
            continue
        if isinstance(said, dict) and said.get('url'):
            return str(said['url']), said
    return '', {}


def is_editable() -> bool:
    """Whether the package is a checkout that pip has only linked."""
    return bool(origin()[1].get('dir_info', {}).get('editable'))
