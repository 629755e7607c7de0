"""Specs as plain data of a file, and back; what was written before a field was keeps doing what it did."""

from typing import Any

from addsr_jax import options
from addsr_jax.options import Options
from addsr_jax.specs import AutoencoderSpec, ModelSpec, UNetSpec, ViewSpec


def to_json(spec: Options) -> dict[str, Any]:
    """A spec as plain data."""
    return options.to_data(spec)


# What a folder does that was written before these fields were: it keeps doing it.
BEFORE: dict[type, dict[str, Any]] = {
    AutoencoderSpec: {'guided_blocks': 0},
    ModelSpec: {'tiny_decoder': None},
    ViewSpec: {
        'student_steps': 4,
        'color': 'wavelet',
        'grain': 0.0,
        'overshoot': 10.0,
        'calm': 0.0,
        'plain': 0.0,
        'edges': 0.0,
        'film_grain': 0.0,
    },
}


def from_json(kind: type[options.Kind], data: Any) -> options.Kind:
    """The spec of class `kind` from `to_json`'s plain data; a UserError names what is unknown, missing or wrong."""
    return options.from_data(kind, _with_before(kind, data), 'spec.', complete=True)


# Fields that folders of before have, and that are no part of a network.
GONE: dict[type, tuple[str, ...]] = {UNetSpec: ('kernel',)}


def _with_before(kind: type[Options], data: Any) -> Any:
    """The data of a spec with the fields of BEFORE and without those of GONE, down to the specs inside it."""
    if not isinstance(data, dict):
        return data
    groups = {name: options.group_of(annotation) for name, annotation in options.declared(kind).items()}
    gone = GONE.get(kind, ())
    completed = {**BEFORE.get(kind, {}), **{name: value for name, value in data.items() if name not in gone}}
    for name, group in groups.items():
        if group is not None and name in completed:
            completed[name] = _with_before(group, completed[name])
    return completed
