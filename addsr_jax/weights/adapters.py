"""Low-rank adapters as files of their own, in the layout that diffusers and PEFT read.

FOLDER/NETWORK/pytorch_lora_weights.safetensors holds 'NETWORK.LAYER.lora_A.weight' [r, in] and '...lora_B.weight'
[out, r] of PyTorch's layer names; the scale is inside lora_B, so that a reader that takes alpha = rank is right.
"""

from pathlib import Path

import numpy as np

from addsr_jax import trees
from addsr_jax.trees import Tree
from addsr_jax.weights import names, tensor_file

FILE = 'pytorch_lora_weights.safetensors'


def write(folder: Path, factors: Tree) -> None:
    """`factors`: {network: tree of lora_A and lora_B}, scaled (`networks.lora.Adapters.scaled`)."""
    for network, tree in factors.items():
        tensors = {
            f'{network}.{names.to_name(path)}.weight': np.ascontiguousarray(np.asarray(value, np.float32))
            for path, value in trees.flatten(tree).items()
        }
        tensor_file.write(folder / network / FILE, tensors)
