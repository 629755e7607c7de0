"""The mesh, and where each array of a run lives on it."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from addsr_jax.errors import UserError
from addsr_jax.trees import Tree, first_match

SMALL = 2**14  # elements: smaller leaves stay whole on every device
# Path of a leaf -> how it lies on the mesh. The first match decides, and every leaf must match. The discriminator's
# heads are small, and their spectral norm needs whole matrices; LPIPS's network is small, and no module that gathers.
RULES = (
    (r'(discriminator|lpips).*', 'replicated'),
    (r'.*(step|count).*', 'replicated'),
    (r'.*', 'fsdp'),
)


def make_mesh(description: str, devices: Sequence[Any] | None = None) -> Mesh:
    """'data:-1' or 'data:2,fsdp:4': named axes over all devices; -1 takes what the others leave."""
    found = list(jax.devices() if devices is None else devices)
    shape = axes(description, len(found))
    return Mesh(np.asarray(found).reshape(tuple(shape.values())), tuple(shape))


def axes(description: str, devices: int) -> dict[str, int]:
    """{axis: devices} of a mesh over so many devices."""
    try:
        pairs = [part.split(':') for part in description.split(',')]
        names, counts = [p[0].strip() for p in pairs], [int(p[1]) for p in pairs]
    except (IndexError, ValueError) as error:
        raise UserError(f"--config.mesh is {description!r}: write it like 'data:-1' or 'data:2,fsdp:4'") from error
    if set(names) - {'data', 'fsdp'} or len(set(names)) != len(names):
        raise UserError(f'--config.mesh is {description!r}: its axes are data and fsdp, each once')
    if counts.count(-1) > 1 or any(c < 1 and c != -1 for c in counts):
        raise UserError(f'--config.mesh is {description!r}: axis sizes are positive, one of them may be -1')
    rest = math.prod(c for c in counts if c != -1)
    counts = [devices // rest if c == -1 else c for c in counts]
    if math.prod(counts) != devices:
        raise UserError(
            f'--config.mesh {description!r} asks for {math.prod(counts)} devices and there are {devices}: '
            "change it, or write 'data:-1'"
        )
    return dict(zip(names, counts, strict=True))


def described(shape: Mapping[str, int]) -> str:
    """A mesh's {axis: devices} as 'data:2,fsdp:4', which `make_mesh` reads."""
    return ','.join(f'{name}:{count}' for name, count in shape.items())


def compute_dtype(mesh: Mesh, name: str = 'auto') -> Any:
    """The dtype that networks compute in on a mesh: 'float32', 'bfloat16', or 'auto', what its platform is quick in."""
    on_cpu = mesh.devices.flat[0].platform == 'cpu'  # where bfloat16 is only slower
    known = {'auto': jnp.float32 if on_cpu else jnp.bfloat16, 'float32': jnp.float32, 'bfloat16': jnp.bfloat16}
    if name not in known:
        raise UserError(f'dtype is {name!r}: choose one of {", ".join(known)}')
    return known[name]


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The first axis over all devices."""
    return NamedSharding(mesh, PartitionSpec(tuple(mesh.axis_names)))


def state_shardings(mesh: Mesh, abstract: Tree) -> Tree:
    """A sharding for every leaf of an abstract state, by RULES."""

    def place(path: Any, leaf: Any) -> NamedSharding:
        rule = first_match(jax.tree_util.keystr(path, simple=True, separator='/'), RULES)
        return NamedSharding(mesh, _largest(mesh, leaf.shape) if rule == 'fsdp' else PartitionSpec())

    return jax.tree_util.tree_map_with_path(place, abstract)


def unsplit(mesh: Mesh, abstract: Tree) -> dict[str, int]:
    """{path: bytes} of leaves that RULES would split over the mesh and that no axis allows to, the largest first."""
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(abstract):
        name = jax.tree_util.keystr(path, simple=True, separator='/')
        large = mesh.shape.get('fsdp', 1) > 1 and leaf.size >= SMALL
        if large and first_match(name, RULES) == 'fsdp' and _largest(mesh, leaf.shape) == PartitionSpec():
            found[name] = leaf.size * leaf.dtype.itemsize
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def some_of(whole: Mapping[str, int], most: int = 3) -> str:
    """What `unsplit` found, in words: how many, how large, and the names of the largest."""
    more = f' and {len(whole) - most} more' if len(whole) > most else ''
    return f'{len(whole)} tensors, {sum(whole.values()) / 1e6:.0f} MB: {", ".join(list(whole)[:most])}{more}'


def _largest(mesh: Mesh | AbstractMesh, shape: tuple[int, ...]) -> PartitionSpec:
    """The largest axis that the fsdp devices divide, for leaves worth it."""
    size = mesh.shape.get('fsdp', 1)
    axes = [axis for axis, n in enumerate(shape) if n % size == 0]
    if size == 1 or math.prod(shape) < SMALL or not axes:
        return PartitionSpec()
    chosen = max(axes, key=lambda axis: shape[axis])
    return PartitionSpec(*('fsdp' if axis == chosen else None for axis in range(len(shape))))


def gathered(params: Tree, dtype: Any) -> Tree:
    """Parameters as a network computes with them: whole on every device, in the dtype of compute.

    Inside a program that is traced for a mesh (`jax.set_mesh`) each split leaf is cast where it lies and then gathered,
    once, by name; its gradient is summed over the devices and cut again. Left to itself the compiler would rather
    move activations about, in hundreds of small exchanges. Without such a mesh nothing happens.
    """
    mesh = jax.sharding.get_abstract_mesh()

    def whole(leaf: jax.Array) -> jax.Array:
        place = _largest(mesh, leaf.shape)
        if place == PartitionSpec():
            return leaf
        narrow = jax.lax.with_sharding_constraint(leaf.astype(dtype), place)
        return jax.lax.with_sharding_constraint(narrow, PartitionSpec())

    return params if mesh.empty else jax.tree.map(whole, params)


def on_shares(function: Callable[..., jax.Array], *arrays: jax.Array) -> jax.Array:
    """function(*arrays) on every device's own part of the first axis, for kernels that the compiler cannot split.

    A batch that the devices do not divide is computed whole on each. Outside of a program that is traced for a mesh of
    several devices it is the function itself.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return function(*arrays)
    place = PartitionSpec(mesh.axis_names) if arrays[0].shape[0] % mesh.size == 0 else PartitionSpec()
    return jax.shard_map(function, in_specs=(place,) * len(arrays), out_specs=place, check_vma=False)(*arrays)


def check_batch(mesh: Mesh, batch_size: int, accumulate: int) -> None:
    """Every device gets the same number of images of every micro-batch."""
    if batch_size % (mesh.size * accumulate):
        raise UserError(
            f'--config.batch_size {batch_size} is not divisible by {mesh.size} devices x '
            f'{accumulate} micro-batches: make it a multiple of {mesh.size * accumulate}'
        )


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's share of a batch, as global arrays."""
    sharding = batch_sharding(mesh)
    return {name: jax.make_array_from_process_local_data(sharding, value) for name, value in batch.items()}


def put_replicated(tree: Tree, mesh: Mesh) -> Tree:
    """The whole of every leaf on every device."""
    return jax.device_put(tree, replicated(mesh))


def put_params(tree: Tree, mesh: Mesh) -> Tree:
    """Parameters, each leaf by RULES: split over the axis fsdp where the mesh has one, else whole everywhere.

    Of numpy arrays, which every process has whole, a process puts its own devices' shares there, and asks no other.
    """
    return jax.tree.map(_put, tree, state_shardings(mesh, tree))


def put_at(arrays: Mapping[str, Any], places: Mapping[str, NamedSharding]) -> dict[str, jax.Array]:
    """As `put_params`, of arrays whose places are known by name."""
    return {name: _put(array, places[name]) for name, array in arrays.items()}


def _put(leaf: Any, place: NamedSharding) -> jax.Array:
    if isinstance(leaf, jax.Array):
        return jax.device_put(leaf, place)
    return jax.make_array_from_callback(leaf.shape, place, lambda index: leaf[index])
