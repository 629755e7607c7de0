"""Low-rank adapters of any network's dense layers (Hu et al. 2022), chosen by regex rules over parameter paths.

An adapter of a kernel W [I, O] is lora_A [r, I] and lora_B [O, r], in PyTorch's layouts: W + scale * (B A)^T. Of a
joint q, k, v kernel [I, 3 C] only q and v are adapted, as loralib's MergedLinear does: lora_A [2 r, I] (q's rows, then
v's) and lora_B [2 C, r]. The networks know nothing of it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from addsr_jax import trees
from addsr_jax.trees import Tree

A, B = 'lora_A', 'lora_B'


@dataclass(frozen=True)
class Adapters:
    """Which kernels of a network are adapted, and how; the factors themselves travel as a tree beside the weights."""

    kernels: tuple[str, ...]  # regexes of whole paths
    rank: int
    scale: float  # alpha / rank
    joint: tuple[str, ...] = ()  # regexes of those among them that are joint q, k, v kernels

    def init(self, key: jax.Array, params: Tree) -> Tree:
        """Fresh factors of every kernel that a rule matches: A drawn as torch's Linear, B zero; a no-op at first."""
        flat = {}
        matched = [(p, w) for p, w in trees.flatten(params).items() if _matches(p, self.kernels)]
        if not matched:
            raise ValueError(f'no parameter matches {", ".join(self.kernels)}')
        for i, (path, weight) in enumerate(matched):
            layer, (fan_in, fan_out), bound = path.removesuffix('/kernel'), weight.shape, weight.shape[0] ** -0.5
            joint = _matches(path, self.joint)
            shape, rows = ((2 * self.rank, fan_in), fan_out // 3 * 2) if joint else ((self.rank, fan_in), fan_out)
            flat[f'{layer}/{A}'] = jax.random.uniform(jax.random.fold_in(key, i), shape, minval=-bound, maxval=bound)
            flat[f'{layer}/{B}'] = jnp.zeros((rows, self.rank))
        return trees.unflatten(flat)

    def merge(self, params: Tree, factors: Tree) -> Tree:
        """`params` with the adapters added, in float32; every weight keeps its dtype."""
        flat, small = dict(trees.flatten(params)), trees.flatten(factors)
        for layer in layers(factors):
            a, b = (jnp.asarray(small[f'{layer}/{name}'], jnp.float32) for name in (A, B))
            path = f'{layer}/kernel'
            delta = _joint_delta(a, b) if _matches(path, self.joint) else b @ a
            weight = flat[path]
            flat[path] = (weight.astype(jnp.float32) + self.scale * delta.T).astype(weight.dtype)
        return trees.unflatten(flat)

    def scaled(self, factors: Tree) -> Tree:
        """The same adapters with the scale inside lora_B, for readers that know none (alpha = rank)."""
        flat = trees.flatten(factors)
        return trees.unflatten({p: self.scale * v if p.endswith(f'/{B}') else v for p, v in flat.items()})


def layers(factors: Mapping) -> list[str]:
    """Paths of the adapted layers, without 'kernel'."""
    return [path.removesuffix(f'/{A}') for path in trees.flatten(factors) if path.endswith(f'/{A}')]


def _joint_delta(a: jax.Array, b: jax.Array) -> jax.Array:
    """[3 C, I] with nothing in the rows of k."""
    rank, width = a.shape[0] // 2, b.shape[0] // 2
    return jnp.concatenate([b[:width] @ a[:rank], jnp.zeros((width, a.shape[1])), b[width:] @ a[rank:]])


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    return any(re.fullmatch(pattern, path) for pattern in patterns)
