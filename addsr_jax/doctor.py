"""addsr doctor: what this machine has, what is wrong with it, and the command that mends it.

    python -m addsr_jax.doctor [--weights NAME]

Exit code 2 where something is wrong. A report of a fault begins with what it says.
"""

import importlib
import importlib.metadata
import os
import platform
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from addsr_jax import __version__
from addsr_jax.errors import UserError, guard, printable
from addsr_jax.flags import Parser, say
from addsr_jax.installation import DISTRIBUTION, is_editable, package, with_extra
from addsr_jax.options import Options, defaults, option

PYTHONS = ((3, 11), (3, 13))  # the oldest and the newest that it is tested on
SHOWN = ('jax', 'jaxlib', 'flax', 'numpy', 'orbax-checkpoint', 'transformers', 'huggingface_hub', 'pillow')
LEAST_MEMORY, LEAST_DISK = 1.5e9, 1e9  # bytes: a picture by the embedded model; programs and a result
NVIDIA = Path('/proc/driver/nvidia/version')  # a GPU's driver
TPU = (Path('/dev'), ('accel[0-9]*', 'vfio/[0-9]*'))
# What no other look opens: distribution -> module
OPENED = {
    'pydantic': 'pydantic',
    'pillow': 'PIL.Image',
    'opencv-python-headless': 'cv2',
    'scipy': 'scipy.ndimage',
    'flatbuffers': 'flatbuffers',
    'optax': 'optax',
    'orbax-checkpoint': 'orbax.checkpoint',
}


@dataclass(frozen=True, kw_only=True)
class Command(Options):
    """What `doctor` takes."""

    weights: str = option('that are read whole, and their hashes compared', default='nano')


@dataclass(frozen=True)
class Finding:
    """One line of what is there, and what is wrong with it."""

    text: str
    wrong: str = ''  # with the command that mends it


def main(arguments: Sequence[str]) -> None:
    parser = Parser('doctor', 'Says what this machine has, what is wrong with it, and the command that mends it.')
    parser.declare(Command)
    values = vars(parser.parse_args(arguments))  # unchecked: what checks may be what is missing
    name = values.get('weights') or defaults(Command)['weights']
    looks = (versions, libraries, devices, memory, cache, partial(weights, name), extras)
    problems = sum(tell(look) for look in looks)
    if problems:
        raise UserError(
            f'{problems} thing{"s are" if problems > 1 else " is"} wrong: see the lines with an arrow above'
        )
    say('nothing is wrong')


def tell(look: Callable[[], Iterator[Finding]]) -> int:
    """Says what a look finds; the number of things that are wrong. A look that fails has found one."""
    problems = 0
    for finding in caught(look):
        if finding.text:
            say(finding.text)
        if finding.wrong:
            say(f'  -> {finding.wrong}')
            problems += 1
    return problems


def caught(look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Its findings; whatever it raises is one more."""
    try:
        yield from look()
    except UserError as error:
        yield Finding('', str(error))
    except Exception as error:  # of a broken library anything can be raised
        yield Finding('', f'{type(error).__name__}: {printable(str(error))}: pip install --force-reinstall {package()}')


def versions() -> Iterator[Finding]:
    """Of the package, Python and what the package stands on."""
    lowest, highest = ('.'.join(map(str, version)) for version in PYTHONS)
    fits = PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]
    yield Finding(
        f'addsr-jax {__version__}, Python {platform.python_version()}, {platform.platform()}',
        '' if fits else f'Python {lowest} to {highest} is what it is tested on: python{highest} -m venv .venv',
    )
    yield Finding(', '.join(f'{name} {found}' for name in SHOWN if (found := installed(name))))
    for name, wanted in requirements()[''].items():
        found = installed(name)
        if found is None or not wanted.contains(found, prereleases=True):
            state = 'is not installed' if found is None else f'is {found}, and {wanted} is needed'
            yield Finding('', f"{name} {state}: pip install '{name}{wanted}'")


def libraries() -> Iterator[Finding]:
    """Whether those open that are installed: a library of the system that they need may be missing."""
    needed, opened = requirements()[''], []
    for name, module in OPENED.items():
        if installed(name) is None:  # told with the versions
            continue
        try:
            importlib.import_module(module)
            opened.append(module)
        except Exception as error:  # of a broken library anything can be raised
            what = f'{name} does not open ({type(error).__name__}: {printable(str(error))})'
            again = shlex.quote(f'{name}{needed.get(name, "")}')
            yield Finding('', f'{what}: pip install --force-reinstall --no-deps {again}')
    yield Finding(f'libraries: {", ".join(opened)}')


def installed(name: str) -> str | None:
    """The version of a distribution."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def requirements() -> dict[str, dict[str, Any]]:
    """{extra, or '' for what is always needed: {distribution: versions that fit}}, for this machine."""
    try:
        said = importlib.metadata.metadata(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError('addsr-jax is not installed in this Python: pip install . in its folder') from error
    return {extra: required(DISTRIBUTION, extra) for extra in ('', *(said.get_all('Provides-Extra') or ()))}


def required(distribution: str, extra: str) -> dict[str, Any]:
    """{distribution: versions that fit} that an extra adds, on this machine, or ('') that are always needed.

    Of a requirement with extras, like jax[cuda12], those that its extras add, if it is there.
    """
    from packaging.requirements import Requirement

    found = {}
    for line in importlib.metadata.requires(distribution) or ():
        wanted = Requirement(line)
        holds = [wanted.marker is None or wanted.marker.evaluate({'extra': name}) for name in ('', extra)]
        if not holds[1] or (extra and holds[0]):  # not at all, or without the extra too
            continue
        found[wanted.name] = wanted.specifier
        if installed(wanted.name):
            for more in wanted.extras:
                found |= required(wanted.name, more)
    return found


def devices() -> Iterator[Finding]:
    """What jax computes on, and what it leaves idle."""
    chosen = os.environ.get('JAX_PLATFORMS', '')
    found = reached(chosen)
    if not found:
        yield Finding('devices: none', f'jax reaches no device of JAX_PLATFORMS={chosen} here: unset JAX_PLATFORMS')
        return
    first = found[0]
    text = f'devices: {len(found)} x {first.device_kind} ({first.platform})'
    said = f' (JAX_PLATFORMS={chosen})' if chosen else ''
    yield Finding(text + said, idle(first.platform, chosen))


def reached(chosen: str) -> list[Any]:
    """jax's devices; none where JAX_PLATFORMS asks for what is not here."""
    import jax

    try:
        return jax.devices()
    except (RuntimeError, AssertionError):  # the latter where its plugin has found no device
        if not chosen:
            raise
        return []


def idle(platform_: str, chosen: str) -> str:
    """What is wrong where jax computes on the CPU beside a GPU or a TPU; '' for nothing."""
    folder, names = TPU
    there = {'cuda': NVIDIA.exists(), 'tpu': any(list(folder.glob(name)) for name in names)}
    found = next((extra for extra, is_there in there.items() if is_there), None)
    if platform_ != 'cpu' or found is None:
        return ''
    if chosen:
        return f'this machine has a device for {found}, and JAX_PLATFORMS={chosen} hides it: unset JAX_PLATFORMS'
    return f'this machine has a device for {found} that jax does not use: {with_extra(found)}'


def memory() -> Iterator[Finding]:
    """What programs may still take."""
    from addsr_jax import chips, runtime

    free, found = runtime.free_memory(), reached(os.environ.get('JAX_PLATFORMS', ''))
    held = chips.chip_of(found[0]).memory if found else 0
    of_device = f', {held / 1e9:.1f} GB on each device' if held else ''
    wrong = f'less than {LEAST_MEMORY / 1e9:g} GB is free: close other programs, or add --tile 256 to upscale'
    yield Finding(f'memory: {free / 1e9:.1f} GB free{of_device}', wrong if free < LEAST_MEMORY else '')


def cache() -> Iterator[Finding]:
    """Where compiled programs and converted weights lie."""
    from addsr_jax import places, runtime

    folder = runtime.cache_folder()
    places.check_writable(folder)
    text = f'cache: {folder}'
    try:
        files = places.files(folder)
        size = sum(places.size(path) for path in files)
        text += f', {len(files)} files, {size / 1e6:.0f} MB'
        if places.in_bucket(folder):
            yield Finding(text)
            return
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        yield Finding(text, f'nothing can be written there ({error.strerror}): export ADDSR_CACHE=FOLDER')
        return
    wrong = f'less than {LEAST_DISK / 1e9:g} GB of disk is free: export ADDSR_CACHE=FOLDER of another disk'
    yield Finding(f'{text}, {free / 1e9:.0f} GB of disk free', wrong if free < LEAST_DISK else '')


def weights(name: str) -> Iterator[Finding]:
    """Whether they are whole, and their tokenizer works."""
    import jax

    from addsr_jax.data.tokens import load_tokenizer
    from addsr_jax.weights import bundle, hub

    try:
        found = bundle.load(hub.located(name, say))
        load_tokenizer(found.tokenizer)(['a photograph'])
    except UserError as error:
        yield Finding(f'weights: {name}', f'{error} ({embedded_again()})' if name == 'nano' else str(error))
        return
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(found.params))
    yield Finding(f'weights: {name}, of size {found.spec.name}, {", ".join(sorted(found.params))}, {size / 1e6:.0f} MB')


def embedded_again() -> str:
    """The command that brings the embedded weights back; a link to a checkout brings none."""
    if is_editable():
        return f'git -C {package().removeprefix("-e ")} checkout -- addsr_jax/weights/nano'
    return f'pip install --force-reinstall --no-deps {package()}'


def extras() -> Iterator[Finding]:
    """Which are there, and the command that brings each other one."""
    for extra, wanted in requirements().items():
        found = {name: installed(name) for name in wanted}
        missing = [name for name, version in found.items() if version is None]
        others = [
            f'{name} is {version}, and {wanted[name]} is needed'
            for name, version in found.items()
            if version is not None and not wanted[name].contains(version, prereleases=True)
        ]
        if extra and not missing and not others:
            yield Finding(f'extra {extra}: installed')
        elif extra:
            lacking = [] if len(missing) == len(wanted) or not missing else [f'{", ".join(missing)} missing']
            yield Finding(f'extra {extra}: {"; ".join([*lacking, *others, with_extra(extra)])}')


if __name__ == '__main__':
    sys.exit(guard(main))
