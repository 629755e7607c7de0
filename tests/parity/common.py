"""Random weights that are nowhere zero for living PyTorch modules, and the tolerance: 1e-5 of the maximum."""

import importlib.abc
import importlib.machinery
import sys
import types
from typing import Any
from unittest import mock

import numpy as np

from addsr_jax.weights import layout


def fill(module: Any, seed: int = 0) -> dict[str, np.ndarray]:
    """Fills a module in place and returns its state dict."""
    import torch

    rng, state = np.random.default_rng(seed), {}
    for name, old in module.state_dict().items():
        if not torch.is_floating_point(old):
            continue
        shape = tuple(old.shape)
        scale = np.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.1
        shift = 1.0 if len(shape) == 1 and name.endswith('weight') else 0.0
        state[name] = (shift + scale * rng.standard_normal(shape)).astype(np.float32)
    module.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()}, strict=False)
    module.eval()
    return state


def params_of(state: dict[str, np.ndarray], network: str) -> Any:
    return layout.from_tensors(state.items(), network)[0]


def normal(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def to_torch(x: np.ndarray) -> Any:
    """NHWC images to NCHW tensors; other ranks as they are."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 else x)


def tensor(x: np.ndarray) -> Any:
    """As it is, of the same type, bfloat16 too."""
    import torch

    return torch.from_numpy(x.astype(np.float32)).to(getattr(torch, str(x.dtype)))


def from_torch(x: Any) -> np.ndarray:
    array = x.detach().numpy()
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


def close(ours: Any, theirs: Any) -> None:
    ours, theirs = np.asarray(ours), from_torch(theirs)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


class Torchvision(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands in for torchvision, which has no CPU build: timm imports it for data transforms, no network does."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        ours = name.split('.')[0] == 'torchvision'
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if ours else None

    def create_module(self, spec: Any) -> Any:
        module = types.ModuleType(spec.name)
        module.__dict__['__getattr__'] = lambda name: mock.MagicMock(name=name)
        return module

    def exec_module(self, module: Any) -> None:
        pass


def timm_transformer(**arguments: Any) -> Any:
    """timm's VisionTransformer."""
    with mock.patch.object(sys, 'meta_path', [Torchvision(), *sys.meta_path]):
        from timm.models.vision_transformer import VisionTransformer
    for name in [name for name in sys.modules if name.split('.')[0] == 'torchvision']:
        del sys.modules[name]
    return VisionTransformer(**arguments)
