"""docs/api.md is what `python -m benchmarks.api` makes."""

import inspect

from benchmarks import api


def test_the_page_of_the_python_interface_is_current():
    assert api.PAGE.read_text(encoding='utf-8') == api.page(), 'python -m benchmarks.api makes it again'


def test_all_that_is_public_says_what_it_does():
    for module, names in api.PUBLIC.items():
        for name in names:
            thing = getattr(__import__(module, fromlist=[name]), name)
            assert inspect.getdoc(thing), f'{module}.{name}'
            for method in set(api.METHODS) & set(vars(thing) if inspect.isclass(thing) else ()):
                assert inspect.getdoc(vars(thing)[method]), f'{module}.{name}.{method}'
