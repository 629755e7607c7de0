"""What surrounds a release says the same everywhere."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import addsr_jax
from benchmarks import install

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))['project']


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding='utf-8')


def document(name: str):
    return yaml.safe_load(read(name))


def test_the_newest_section_of_the_changelog_and_the_citation_are_of_this_version():
    assert re.findall(r'^## (.*)$', read('CHANGELOG.md'), re.MULTILINE)[0] == addsr_jax.__version__
    assert document('CITATION.cff')['version'] == addsr_jax.__version__


def test_pre_commit_runs_what_make_lint_runs():
    (repository,) = document('.pre-commit-config.yaml')['repos']
    recipe = read('Makefile').partition('\nlint: install\n')[2].partition('\n\n')[0]
    commands = [line.strip().replace('$(BIN)', '.venv/bin') for line in recipe.splitlines()]
    assert [hook['entry'] for hook in repository['hooks']] == commands
    assert len(commands) == 3


def test_the_workflow_runs_make_test_on_every_python_that_is_allowed_and_on_the_newest_jax():
    jobs = document('.github/workflows/test.yml')['jobs']
    pythons = jobs['test']['strategy']['matrix']['python']
    classified = [line.rpartition(' ')[2] for line in PROJECT['classifiers'] if 'Python ::' in line]
    assert pythons == classified
    assert PROJECT['requires-python'] == f'>={pythons[0]}'
    assert '--upgrade jax' in str(jobs['newest-jax']['steps'])
    for job in ('test', 'newest-jax'):
        last = jobs[job]['steps'][-1]['run']
        assert last.startswith('make CI=')
        assert last.endswith(' test')
    assert jobs['release']['steps'][-1]['run'] == 'make release'


def test_a_report_of_a_fault_asks_for_what_the_doctor_says():
    doctor = document('.github/ISSUE_TEMPLATE/fault.yml')['body'][0]
    assert 'addsr doctor' in doctor['attributes']['label']
    assert doctor['validations']['required']


@pytest.mark.parametrize('name', re.findall(r'`((?:tests|docs|benchmarks)/[\w/.]+)`', read('SECURITY.md')))
def test_what_the_promises_rest_on_is_there(name):
    assert (ROOT / name).is_file()


def test_the_promise_about_memory_and_time_is_the_rule_that_is_measured():
    rule = 'at most 300 MB + 4 n of memory and 2 seconds of the processor + one for every 50 MB'
    for name in ('SECURITY.md', 'docs/trust.md'):
        assert rule in ' '.join(read(name).split()), name


def test_an_install_counts_what_pip_fetches_and_no_metadata(tmp_path):
    (tmp_path / 'b-1.whl').write_bytes(bytes(500_000))
    said = f"""Downloading a-1.whl.metadata (5.0 MB)
Downloading a-1.whl (1.5 MB)
Downloading c-1.whl (250 kB)
Processing {tmp_path}/b-1.whl (from a)
Processing /nowhere/addsr.whl"""
    assert install.megabytes(said) == pytest.approx(2.25)


def test_an_installation_that_fails_is_named_with_its_last_lines(tmp_path):
    with pytest.raises(install.Failed, match='ended with 3: first / second'):
        install.run(['sh', '-c', 'echo first; echo second; exit 3'], tmp_path)
