"""Parameter trees as flat dictionaries of slash-joined paths, and ordered regex rules over them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import jax

Tree = Any
Value = TypeVar('Value')


def flatten(tree: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """Nested dictionaries to {'a/b/kernel': leaf}, in the tree's order."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        path = f'{prefix}{name}'
        if isinstance(value, Mapping):
            flat.update(flatten(value, f'{path}/'))
        else:
            flat[path] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{'a/b/kernel': leaf} to nested dictionaries."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, last = path.split('/')
        node = tree
        for name in parents:
            node = node.setdefault(name, {})
        node[last] = value
    return tree


def first_match(path: str, rules: Sequence[tuple[str, Value]]) -> Value:
    """The action of the first rule whose regex matches the whole path; KeyError where none does."""
    for pattern, action in rules:
        if re.fullmatch(pattern, path):
            return action
    raise KeyError(f'no rule matches parameter {path}')


def select(tree: Mapping[str, Any], patterns: Sequence[str]) -> dict[str, Any]:
    """The subtree of leaves whose whole path matches one of the regexes. A regex that matches nothing raises."""
    flat = flatten(tree)
    for pattern in patterns:
        if not any(re.fullmatch(pattern, path) for path in flat):
            raise ValueError(f'no parameter matches {pattern!r}')
    return unflatten({p: v for p, v in flat.items() if any(re.fullmatch(r, p) for r in patterns)})


def remove(tree: Mapping[str, Any], patterns: Sequence[str]) -> dict[str, Any]:
    """The subtree of leaves that `select` leaves behind."""
    return unflatten({p: v for p, v in flatten(tree).items() if not any(re.fullmatch(r, p) for r in patterns)})


def overlay(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the leaves of `top` in place of its own, and those it lacks."""
    return unflatten({**flatten(base), **flatten(top)})


def cast(tree: Tree, dtype: Any) -> Tree:
    """Floating leaves in `dtype`; None leaves everything as it is."""
    if dtype is None:
        return tree
    return jax.tree.map(lambda x: x.astype(dtype) if jax.numpy.issubdtype(x.dtype, jax.numpy.floating) else x, tree)


def retyped(abstract: Tree, dtype: Any) -> Tree:
    """Shapes whose floating leaves are of `dtype`; None leaves everything as it is."""
    if dtype is None:
        return abstract
    return jax.tree.map(
        lambda s: jax.ShapeDtypeStruct(
            s.shape, dtype if jax.numpy.issubdtype(s.dtype, jax.numpy.floating) else s.dtype
        ),
        abstract,
    )


def bytes_of(tree: Tree) -> int:
    """Of all leaves, arrays or shapes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
