"""What a student has of its teacher, unchanged: named in model.json by branches, read once and held once.

A published student differs from its teacher where it was trained, in a quarter of its tensors.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from addsr_jax import options, trees
from addsr_jax.trees import Tree

NAME = 'same'  # in model.json
WHOSE, OF = 'teacher', 'student'
Leaves = Mapping[str, int]  # hashes by path


def branches(made: Mapping[str, Leaves]) -> list[str]:
    """The topmost branches of the student ('unet/conv_in') whose tensors are all the teacher's, to the last bit.

    made: hashes of the tensors by place: 'params/student/unet', or 'params/student'.
    """
    theirs, own = (_of_part(made, part) for part in (WHOSE, OF))
    mixed = {above for path, made_of in own.items() if theirs.get(path) != made_of for above in _above(path)}
    return sorted({next(b for b in _above(path) if b not in mixed) for path in own if path not in mixed})


def _of_part(made: Mapping[str, Leaves], part: str) -> dict[str, int]:
    """{path below the part: hash}."""
    place = f'params/{part}/'
    found = {f'{name}/{path}': made_of for name, leaves in made.items() for path, made_of in leaves.items()}
    return {path.removeprefix(place): made_of for path, made_of in found.items() if path.startswith(place)}


def _above(path: str) -> list[str]:
    """'a', 'a/b' and 'a/b/c' of 'a/b/c'."""
    names = path.split('/')
    return ['/'.join(names[:n]) for n in range(1, len(names) + 1)]


def read(record: Mapping[str, Any], parts: Iterable[str]) -> tuple[str, ...]:
    """The branches that a model.json names, where both parts are among `parts`."""
    named = options.typed(tuple[str, ...], record.get(NAME, ()), NAME)
    return named if {WHOSE, OF} <= set(parts) else ()


def covered(paths: Iterable[str], named: Sequence[str]) -> set[str]:
    """Those of the paths that lie in one of the branches."""
    known = set(named)
    return {path for path in paths if not known.isdisjoint(_above(path))}


def theirs(network: str, made: Mapping[str, Leaves], named: Sequence[str]) -> dict[str, int]:
    """Hashes of a network's tensors ('student/unet', or 'student') that are its teacher's, of which `made` has all."""
    part, _, below = network.partition('/')
    leaves = made.get(network.replace(OF, WHOSE, 1), {}) if part == OF else {}
    places = {f'{below}/{path}' if below else path: path for path in leaves}
    return {places[place]: leaves[places[place]] for place in covered(places, named)}


def without(student: Tree, named: Sequence[str]) -> dict[str, Any]:
    """A student's tensors, or shapes, that are not its teacher's."""
    flat = trees.flatten(student)
    shared = covered(flat, named)
    return trees.unflatten({path: leaf for path, leaf in flat.items() if path not in shared})


def completed(own: Tree, teacher: Tree, named: Sequence[str]) -> dict[str, Any]:
    """What `without` leaves of a student, with its teacher's tensors in the branches: the very same arrays."""
    flat = trees.flatten(teacher)
    return trees.overlay(own, trees.unflatten({path: flat[path] for path in covered(flat, named)}))
