"""Trees that version 0.1 wrote: what is trained stood there without the level {part: tree}."""

import dataclasses
from typing import Any

import jax

from addsr_jax.trees import Tree

PARTS = ('autoencoder', 'prompt_extractor', 'student', 'teacher', 'text_encoder')
NAMED = 'text_encoder'  # stood under its name beside the teacher's networks


def by_part(node: Any) -> bool:
    """Whether a node of a tree is {part: tree}."""
    return isinstance(node, dict) and bool(node) and set(node) <= set(PARTS)


def is_older(saved: Tree) -> bool:
    """Whether a checkpoint's tree, of any leaves, lacks the level of parts."""
    paths = [jax.tree_util.keystr(path, simple=True, separator='/') for path, _ in _leaves(saved)]
    return not any(set(path.split('/')) & (set(PARTS) - {NAMED}) for path in paths)


def without_parts(tree: Tree) -> Tree:
    """The tree as it was written then: shapes to restore an older checkpoint with."""

    def merged(node: Any) -> Any:
        if not by_part(node):
            return node
        found: dict[str, Any] = {}
        for part, own in node.items():
            found.update({part: own} if part == NAMED else own)
        return found

    return jax.tree.map(merged, tree, is_leaf=by_part)


def with_parts(older: Tree, like: Tree) -> Tree:
    """What was restored by the shapes of `without_parts(like)`, in the form of `like`."""

    def split(node: Any, old: Any) -> Any:
        if not by_part(node):
            return old
        return {part: old[part] if part == NAMED else {name: old[name] for name in own} for part, own in node.items()}

    return jax.tree.map(split, like, older, is_leaf=by_part)


def state_without_parts(state: Any) -> Tree:
    """A training state (`stages.base.State`) as version 0.1 wrote it: `params` was called `student`."""
    fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    fields['student'] = fields.pop('params')
    return without_parts(fields)


def state_with_parts(saved: Tree, like: Any) -> Any:
    """What was restored by the shapes of `state_without_parts(like)`, as a state."""
    fields = {('params' if name == 'student' else name): value for name, value in dict(saved).items()}
    wanted = {field.name: getattr(like, field.name) for field in dataclasses.fields(like)}
    return type(like)(**with_parts(fields, wanted))


def _leaves(tree: Tree) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_flatten_with_path(tree)[0]
