"""The sampler of a batch of tiles by ONNX Runtime, on CPUs, in the place of a program that XLA compiles.

Converting takes about a minute, so it is done once for weights, settings that matter, size and number of tiles, and
what comes of it lies with the compiled programs. All that surrounds the sampler is `restoration.pipeline`'s.
"""

import importlib.util
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import Any

import jax
import numpy as np

from addsr_jax import hashes, keep
from addsr_jax.errors import UserError
from addsr_jax.installation import with_extra
from addsr_jax.restoration import exported, mirrors
from addsr_jax.restoration.device_model import DeviceModel
from addsr_jax.restoration.settings import Settings
from addsr_jax.runtime import cores, memory, return_freed_memory
from addsr_jax.specs import RUNTIMES

LARGEST = 1_900_000_000  # bytes of weights: a model of ONNX holds less than 2 GiB
MOST_STEPS = 8  # of the network: each is written out, and takes as long to convert as the first
TAKEN = 'addsr_bytes'  # in the metadata of a kept model


@dataclass(frozen=True)
class Coming:
    """The result of a call that a thread still computes: whoever wants the array waits for it."""

    found: Future[Any]

    def is_ready(self) -> bool:
        return self.found.done()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.found.result(), dtype)


@dataclass(frozen=True)
class ByOnnx:
    """`device_model.Runtime`. tell: is given a line before a conversion and one after it."""

    tell: Callable[[str], object]
    _sessions: dict[Any, Any] = field(default_factory=dict, repr=False)
    _hashes: dict[Any, str] = field(default_factory=dict, repr=False)  # of weights
    _calls: ThreadPoolExecutor = field(default_factory=partial(ThreadPoolExecutor, 1, 'onnx'), repr=False)

    def bytes_of(self, model: DeviceModel, shape: tuple[int, int], settings: Settings) -> int:
        """What a call of tiles [h, w] took when its sampler was made; the sampler is there for the call."""
        session = self._session(model, settings, (settings.batch, *shape))
        return int(session.get_modelmeta().custom_metadata_map[TAKEN])

    def sample(self, model: DeviceModel, lq: Any, noise: Any, settings: Settings) -> Coming:
        """lq [B, H, W, 3], noise [B, N, h, w, C] -> [B, H, W, 3], perhaps still on its way."""
        restored = partial(called, self._session(model, settings, lq.shape[:3]))
        if settings.tta:
            restored = partial(mirrors.mean, restored)
        return Coming(self._calls.submit(restored, lq, noise))

    def _session(self, model: DeviceModel, settings: Settings, shape: tuple[int, ...]) -> Any:
        sampling, params = model.sampling_and_params(settings)
        prompts, scalars = hashes.of_array('words', model.words(settings)), model.scalars(settings)
        key = (sampling, prompts, tuple(scalars.items()), shape)
        if key not in self._sessions:
            check(model, settings)
            if sampling not in self._hashes:
                self._hashes[sampling] = hashes.of_tree(jax.device_get(params))
            networks, converters = model.networks, [version(name) for name in ('jax2onnx', 'onnx')]
            of = repr((key, self._hashes[sampling], networks.spec, networks.unet.kernel, converters))
            self._sessions[key] = opened(keep.kept('onnx', of, lambda: self._made(model, settings, shape)))
        return self._sessions[key]

    def _made(self, model: DeviceModel, settings: Settings, shape: tuple[int, ...]) -> bytes:
        """A model of ONNX that knows what a call takes, measured by a first one."""
        import onnx

        count, height, width = shape
        tiles = f'{height} x {width} pixels' + (f', {count} in a call' if count > 1 else '')
        self.tell(f'making the ONNX sampler for tiles of {tiles}: about a minute, once')
        began = time.monotonic()
        made = exported.sampled(model, settings, (height, width))
        converted = exported.onnx_model(made, count)
        return_freed_memory()
        before, session = memory(), opened(converted.SerializeToString())
        called(session, *(np.zeros(wanted.shape, np.float32) for wanted in made.shapes(count)))
        taken = max(1e9 * (memory() - before), bytes_in(made.params))
        onnx.helper.set_model_props(converted, {TAKEN: str(int(taken))})
        self.tell(f'made in {time.monotonic() - began:.0f} s')
        return converted.SerializeToString()


def runtime(name: str, tell: Callable[[str], object]) -> ByOnnx | None:
    """That of a name, one of `specs.RUNTIMES`; a UserError where it is none, or not installed."""
    if name not in RUNTIMES:
        raise UserError(f'runtime is {name!r}: choose one of {", ".join(RUNTIMES)}')
    if name == 'xla':
        return None
    missing = [module for module in ('jax2onnx', 'onnx', 'onnxruntime') if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(f'runtime onnx needs {", ".join(missing)}: {with_extra("onnx")}, or leave it out')
    return ByOnnx(tell)


def check(model: DeviceModel, settings: Settings) -> None:
    """A UserError where ONNX Runtime cannot do what is asked; before anything is converted."""
    sampling, params = model.sampling_and_params(settings)
    steps, size = len(sampling.timesteps), bytes_in(params)
    kinds = {str(leaf.dtype) for leaf in jax.tree.leaves(params)}
    refused = {
        'is for CPUs: leave it out here, or export JAX_PLATFORMS=cpu': not model.on_cpu,
        f'is for one device, and these are {model.mesh.size}: leave it out, or share out by --processes': (
            model.mesh.size > 1
        ),
        f'computes in float32, not in {", ".join(sorted(kinds))}: leave out --dtype': kinds != {'float32'},
        'does not multiply in int8: leave out --int8': settings.int8,
        'takes tiles in one piece: leave out --tile 0 and what belongs to it': bool(
            sampling.windows.tiled or sampling.windows.side
        ),
        f'writes out every step, {MOST_STEPS} at most, and these are {steps}: give it fewer --steps': (
            steps > MOST_STEPS
        ),
        'does not restore with weights that look at the whole file beside each tile: leave it out': (
            model.networks.spec.view.tokens_of == 'file'
        ),
        f'takes less than 2 GB of weights, and these have {size / 1e9:.1f} GB: leave it out': size > LARGEST,
    }
    for why, holds in refused.items():
        if holds:
            raise UserError(f'--runtime onnx {why}')


def opened(content: bytes) -> Any:
    """A session of ONNX Runtime on as many cores as this process may use."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')  # or what waits takes CPU from others
    options.log_severity_level = 3  # errors: its warnings are of how a graph could be smaller
    return onnxruntime.InferenceSession(content, options, providers=['CPUExecutionProvider'])


def called(session: Any, lq: Any, noise: Any) -> np.ndarray:
    """A call of a sampler; where there is no memory for it, the error that XLA has for that."""
    arrays = {name: np.ascontiguousarray(array, np.float32) for name, array in (('lq', lq), ('noise', noise))}
    try:
        return session.run(['image'], arrays)[0]
    except Exception as error:  # its own kinds, which say what they are in words
        if 'alloc' not in str(error):
            raise
        raise jax.errors.JaxRuntimeError(f'RESOURCE_EXHAUSTED: {error}') from error


def bytes_in(params: Any) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(params))
