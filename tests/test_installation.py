"""The words by which pip would bring more of this package, by what it has noted of how the package came here."""

import importlib.metadata
import json
from types import SimpleNamespace
from typing import Any

import pytest

from addsr_jax import installation


def noted(said: Any) -> SimpleNamespace:
    """A distribution of which pip has noted this."""
    return SimpleNamespace(read_text=lambda name: said and json.dumps(said))


COMMIT = 'c' * 40


@pytest.mark.parametrize(
    ('said', 'plain', 'extra'),
    [
        (None, 'addsr-jax', "'addsr-jax[serve]'"),
        ({'url': 'file:///a/b%20c', 'dir_info': {}}, "'/a/b c'", "'/a/b c[serve]'"),
        ({'url': 'file:///a/b', 'dir_info': {'editable': True}}, '-e /a/b', "-e '/a/b[serve]'"),
        ({'url': 'file:///a/addsr.whl', 'archive_info': {}}, '/a/addsr.whl', "'/a/addsr.whl[serve]'"),
        (
            {'url': 'https://a/b', 'vcs_info': {'vcs': 'git', 'commit_id': COMMIT}},
            f"'addsr-jax @ git+https://a/b@{COMMIT}'",
            f"'addsr-jax[serve] @ git+https://a/b@{COMMIT}'",
        ),
    ],
    ids=str,
)
def test_a_mending_command_names_what_was_installed_and_no_package_of_a_stranger(monkeypatch, said, plain, extra):
    monkeypatch.setattr(importlib.metadata, 'distributions', lambda name: [noted(said)])
    assert (installation.package(), installation.with_extra('serve')) == (plain, f'pip install {extra}')


def test_what_a_build_left_in_a_checkout_does_not_hide_what_pip_noted(monkeypatch):
    linked = {'url': 'file:///a/b', 'dir_info': {'editable': True}}
    found = [noted(None), noted(['no object']), SimpleNamespace(read_text=lambda name: '{'), noted(linked)]
    monkeypatch.setattr(importlib.metadata, 'distributions', lambda name: found)
    assert installation.with_extra('train') == "pip install -e '/a/b[train]'"
    assert installation.is_editable()
