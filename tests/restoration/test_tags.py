"""Tags of pictures: the recorded ones, as text, and files that do not fit are refused."""

import numpy as np
import pytest

from addsr_jax.errors import UserError
from addsr_jax.restoration import pipeline
from addsr_jax.restoration.pipeline import prompt_of
from addsr_jax.restoration.settings import Settings
from addsr_jax.restoration.tags import read_vocabulary
from addsr_jax.specs import SD2
from tests import golden

LIST = golden.FIXTURES / 'ram' / 'tags.txt'


@pytest.fixture
def thresholds(tmp_path):
    path = tmp_path / 'thresholds.txt'
    path.write_text('\n'.join(map(str, golden.document('ram', 'config')['thresholds'])))
    return path


@pytest.mark.parity
@pytest.mark.parametrize('case', ['ram_image', 'dape_image', 'ram_half'])
def test_the_recorded_tags_fire_in_the_order_of_the_list(case, thresholds):
    vocabulary = read_vocabulary(LIST, thresholds, 15)
    words = LIST.read_text().splitlines()
    with np.load(golden.FIXTURES / 'ram' / f'{case}.npz') as data:
        probabilities, fires = data['probability'], data['targets']
    for row, fired in zip(probabilities, fires, strict=True):
        assert vocabulary.text(row) == ', '.join(w for w, f in zip(words, fired, strict=True) if f)
    assert fires.any()


def test_lists_of_another_length_and_thresholds_that_are_no_numbers_are_refused(tmp_path, thresholds):
    with pytest.raises(UserError, match='15 lines and the tagging head 4585 tags'):
        read_vocabulary(LIST, thresholds, 4585)
    with pytest.raises(UserError, match='no number'):
        read_vocabulary(LIST, LIST, 15)
    with pytest.raises(UserError, match='cannot be read'):
        read_vocabulary(tmp_path / 'nothing.txt', thresholds, 15)


def test_prompts_with_tags_are_joined_as_the_published_scripts_do():
    tagged = Settings(tags='dog, grass')
    assert prompt_of(tagged, SD2.prompts).startswith('dog, grass, ,clean, high-resolution, 8k, extremely')
    assert prompt_of(Settings(method='seesr', prompt='a dog'), SD2.prompts) == 'a dog, clean, high-resolution, 8k'
    assert prompt_of(Settings(), SD2.prompts) == SD2.prompts.student_added


def test_what_the_tagging_head_sees_is_the_file_itself(tmp_path):
    from tests import tiny

    model = pipeline.built(tiny.bundle(), pipeline.sharding.make_mesh('data:1', pipeline.jax.devices()[:1]), 'float32')
    rng = np.random.default_rng(0)
    wide, tall = (rng.integers(0, 255, (*size, 3)).astype(np.uint8) for size in ((20, 50), (70, 30)))
    for image in (wide, tall):
        told = model.tag_probabilities(image)
        assert told.shape == (32,)
        assert ((told > 0) & (told < 1)).all()
