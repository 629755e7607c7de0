"""The house has floors: a module imports from its own folder and from below, and importing is light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'addsr_jax'
# From the ground up; a folder knows nothing of those above it.
FLOORS = (
    'errors',
    'installation',
    'attempts',
    'places',
    'options',
    'atomic',
    'json_file',
    'trees',
    'hashes',
    'runtime',
    'keep',
    'chips',
    'sharding',
    'processes',
    'ops',
    'specs',
    'spec_json',
    'sizes',
    'networks',
    'data',
    'diffusion',
    'weights',
    'evaluation',
    'stages',
    'training',
    'restoration',
    'planning',
    'serving',
    'doors',
)
MODULES = sorted(p.relative_to(PACKAGE) for p in PACKAGE.rglob('*.py'))


def floor_of(parts: tuple[str, ...]) -> int:
    name = parts[0].removesuffix('.py') if parts else 'doors'
    return FLOORS.index(name) if name in FLOORS else FLOORS.index('doors')


def imported(path: Path) -> set[tuple[str, ...]]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith('addsr_jax'):
            base = tuple(node.module.split('.')[1:])
            found |= {base} if base else {(alias.name,) for alias in node.names}
    return found


@pytest.mark.parametrize('module', MODULES, ids=str)
def test_imports_point_downwards(module):
    mine = floor_of(module.parts)
    for parts in imported(PACKAGE / module):
        assert floor_of(parts) <= mine, f'{module} imports addsr_jax.{".".join(parts)}, which lies above it'


def modules_imported(path: Path) -> set[Path]:
    """Files of the package that a file imports anywhere, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith('addsr_jax'):
            base = PACKAGE.joinpath(*node.module.split('.')[1:])
            for target in (base, *(base / alias.name for alias in node.names)):
                found |= {file for file in (target.with_suffix('.py'), target / '__init__.py') if file.is_file()}
    return found - {path, PACKAGE / '__init__.py'}


def test_no_module_imports_itself_by_way_of_others():
    graph = {PACKAGE / module: modules_imported(PACKAGE / module) for module in MODULES}
    for start in graph:
        reached, ahead = set(), list(graph[start])
        while ahead:
            module = ahead.pop()
            if module not in reached:
                reached.add(module)
                ahead += graph.get(module, ())
        assert start not in reached, f'{start.relative_to(PACKAGE)} is part of a circle'


def test_the_table_names_folders_and_files_that_exist():
    for name in FLOORS[:-1]:
        assert (PACKAGE / name).is_dir() or (PACKAGE / f'{name}.py').is_file()


@pytest.mark.parametrize(
    'statement',
    ['import addsr_jax', 'import addsr_jax.restoration.pipeline', 'import addsr_jax.upscale, addsr_jax.evaluate'],
)
def test_importing_needs_neither_torch_nor_tensorflow_and_starts_no_device(statement):
    check = (
        f'{statement}\nimport sys\n'
        "heavy = {'torch', 'tensorflow', 'transformers', 'orbax', 'grain', 'clu'} & set(sys.modules)\n"
        'assert not heavy, heavy\n'
        "bridge = sys.modules.get('jax._src.xla_bridge')\n"
        'assert bridge is None or not bridge._backends\n'
    )
    subprocess.run([sys.executable, '-c', check], check=True)


def test_only_the_training_loop_imports_what_needs_tensorflow():
    for module in MODULES:
        text = (PACKAGE / module).read_text(encoding='utf-8')
        if 'import clu' in text or 'from clu' in text or 'import tensorflow\n' in text:
            assert module.parts[0] == 'training', module
