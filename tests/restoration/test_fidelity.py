"""The dial covers 0 to 1 in order, meets its entries, and moves the PSR weight between entries of as many steps."""

import pytest

from addsr_jax.errors import UserError
from addsr_jax.restoration import fidelity
from addsr_jax.restoration.fidelity import DIAL, Choice, choice
from addsr_jax.restoration.settings import Settings, parse_method
from addsr_jax.sizes import NANO


def test_the_dial_goes_from_0_to_1():
    places = [at for at, _ in DIAL]
    assert places[0] == 0
    assert places[-1] == 1
    assert places == sorted(set(places))
    assert all(entry.steps for _, entry in DIAL)  # a dial that the model moves would be none


def test_what_the_embedded_model_does_by_itself_lies_on_the_dial():
    own, at = Settings().chosen, choice(0.6)
    assert (at.steps, at.color) == (NANO.view.student_steps, NANO.view.color)
    assert at.psr_weight == pytest.approx(own.psr_weight)


def test_entries_are_met_and_weights_lie_between_them(monkeypatch):
    dial = ((0.0, Choice(4, 1.0, 'none')), (0.5, Choice(4, 0.0, 'none')), (1.0, Choice(1, 0.3, 'none')))
    monkeypatch.setattr(fidelity, 'DIAL', dial)
    assert [choice(at) for at, _ in dial] == [c for _, c in dial]
    assert choice(0.25) == Choice(4, 0.5, 'none')
    assert choice(0.7) == Choice(4, 0.0, 'none')
    assert choice(0.8) == Choice(1, 0.3, 'none')


@pytest.mark.parametrize(
    'given', [{'steps': 2}, {'psr_weight': 0.5}, {'color': 'adain'}, {'antithetic': True}, {'method': 'seesr'}], ids=str
)
def test_the_dial_stands_alone(given):
    with pytest.raises(UserError, match='fidelity'):
        Settings(fidelity=0.5, **given)


def test_the_dial_names_the_methods_that_measure_its_marks_on_another_model():
    told = fidelity.elsewhere('mine/final')
    assert told.startswith('--fidelity was measured on nano, not on mine/final: `addsr evaluate --weights mine/final ')
    assert '--lq LQ --hr HR' in told
    names = told.partition('--methods ')[2].partition('`')[0].split(',')
    settings = [parse_method(name, Settings(color='wavelet')) for name in names]
    assert [found.chosen for found in settings if found] == [chosen for _, chosen in DIAL]
