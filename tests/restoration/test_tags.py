"""Tags of pictures: the recorded ones, as text, and files that do not fit are refused."""

import dataclasses
import hashlib

import cv2
import numpy as np
import pytest

from addsr_jax.errors import UserError
from addsr_jax.networks.build import apply
from addsr_jax.restoration import pipeline
from addsr_jax.restoration.device_model import prompt_of
from addsr_jax.restoration.settings import Settings
from addsr_jax.sizes import SD2
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights import tags
from addsr_jax.weights.tags import Vocabulary, read_vocabulary
from tests import golden, tiny

LIST = golden.FIXTURES / 'ram' / 'tags.txt'
PUBLISHED_LIST = '5d96d2f7225527480ad773aaac76b6e5c08a18adf6eae9ca7d2ab923d5e7bd8b'
PUBLISHED_THRESHOLDS = 'b6f81d0de1bc7f9c251af512c413eae976c77dbfbadf700d4e3d90510f4c6447'


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


def test_lists_that_do_not_fit_and_thresholds_that_are_no_probabilities_are_refused(tmp_path, thresholds, monkeypatch):
    with pytest.raises(UserError, match='15 lines and the tagging head 4585 tags'):
        read_vocabulary(LIST, thresholds, 4585)
    with pytest.raises(UserError, match='no number'):
        read_vocabulary(LIST, LIST, 15)
    with pytest.raises(UserError, match='cannot be read'):
        read_vocabulary(tmp_path / 'nothing.txt', thresholds, 15)
    for number in ('nan', '1.5', '-0.1'):
        thresholds.write_text('\n'.join([number] + 14 * ['0.5']))
        with pytest.raises(UserError, match=r'no probability in 0\.\.1'):
            read_vocabulary(LIST, thresholds, 15)
    monkeypatch.setattr(tags, 'LARGEST', 20)
    with pytest.raises(UserError, match='more than 20: it is no list of tags'):
        read_vocabulary(LIST, thresholds, 15)


def test_the_published_list_comes_with_its_notice_and_goes_into_converted_weights(tmp_path):
    files = tags.chosen(tmp_path / 'ram.pth', None, None, SD2)
    assert tags.write(tmp_path / 'tags', files, SD2) == 'tags: 4585 of the published RAM'
    assert {path.name for path in (tmp_path / 'tags').iterdir()} == {tags.LIST, tags.THRESHOLDS, 'NOTICE', 'LICENSE'}
    for name, digest in ((tags.LIST, PUBLISHED_LIST), (tags.THRESHOLDS, PUBLISHED_THRESHOLDS)):
        assert hashlib.sha256((tmp_path / 'tags' / name).read_bytes()).hexdigest() == digest
    found = tags.read_folder(tmp_path / 'tags', SD2)
    assert len(set(found.words)) == len(found.thresholds) == 4585
    assert (found.thresholds == 1).sum() == 10  # that never fire


def test_a_head_of_another_size_gets_the_users_list_or_none(tmp_path, thresholds):
    spec = tiny.SPEC
    assert tags.chosen(tmp_path / 'ram.pth', None, None, spec) is None
    assert 'not of a head of 32: give --tag_list' in tags.write(tmp_path / 'tags', None, spec)
    assert not (tmp_path / 'tags').exists()
    with pytest.raises(UserError, match='15 lines and the tagging head 32 tags'):
        tags.chosen(tmp_path / 'ram.pth', LIST, thresholds, spec)
    with pytest.raises(UserError, match='give --ram too'):
        tags.chosen(None, LIST, thresholds, spec)


def test_tags_need_no_other_part_of_the_weights_than_the_prompt_extractor(tmp_path):
    words, thresholds = (tmp_path / 'tags' / name for name in (tags.LIST, tags.THRESHOLDS))
    words.parent.mkdir()
    words.write_text('\n'.join(f'tag {i}' for i in range(32)))
    thresholds.write_text('0\n' * 32)
    bundles.save(dataclasses.replace(tiny.bundle(), tags=words.parent), tmp_path / 'model', 'safetensors')
    (tmp_path / 'model' / 'student.safetensors').write_bytes(b'damaged')
    assert tags.captioner(tmp_path / 'model')(pictures()[0]).startswith('tag 0, tag 1, ')
    assert bundles.load(tmp_path / 'model', only=[]).spec == tiny.SPEC


def test_prompts_with_tags_are_joined_as_the_published_scripts_do():
    tagged = Settings(tags='dog, grass')
    assert prompt_of(tagged, SD2.prompts).startswith('dog, grass, ,clean, high-resolution, 8k, extremely')
    assert prompt_of(Settings(method='seesr', prompt='a dog'), SD2.prompts) == 'a dog, clean, high-resolution, 8k'
    assert prompt_of(Settings(), SD2.prompts) == SD2.prompts.student_added


@pytest.fixture(scope='module')
def model():
    return pipeline.built(tiny.bundle(), pipeline.sharding.make_mesh('data:1', pipeline.jax.devices()[:1]), 'float32')


def pictures():
    rng = np.random.default_rng(0)
    wide, tall = (rng.integers(0, 255, (*size, 3)).astype(np.uint8) for size in ((20, 50), (70, 30)))
    return wide, tall, np.full((32, 32, 3), 128, np.uint8)


def by_hand(image):
    """Tag probabilities of a picture as the scripts see it: stretched to a square bilinearly, ImageNet's numbers."""
    side = tiny.SPEC.prompt_extractor.swin.image_size
    seen = cv2.resize(image.astype(np.float32) / 255, (side, side), interpolation=cv2.INTER_LINEAR)
    seen = ((seen - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225])[None].astype(np.float32)
    extractor, params = tiny.networks().prompt_extractor, tiny.bundle().params['prompt_extractor']
    _, logits = apply(extractor, params, seen, method='tokens_and_logits')
    return 1 / (1 + np.exp(-np.asarray(logits, np.float64)[0]))


def test_what_the_tagging_head_sees_is_the_file_itself(model):
    told = [model.tag_probabilities(image) for image in pictures()]
    for image, probabilities in zip(pictures(), told, strict=True):
        assert probabilities.shape == (32,)
        np.testing.assert_allclose(probabilities, by_hand(image), atol=1e-4)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(told[i] - told[j]).max() > 1e-3


def test_tags_are_the_words_whose_threshold_the_pictures_own_probabilities_exceed(model):
    told = [model.tag_probabilities(image) for image in pictures()]
    between = np.mean(told, axis=0)  # every tag fires for some picture, and none for all
    vocabulary = Vocabulary(tuple(f'word {i}' for i in range(32)), between)
    texts = [vocabulary.text(probabilities) for probabilities in told]
    for text, probabilities in zip(texts, told, strict=True):
        assert text == ', '.join(f'word {i}' for i in range(32) if probabilities[i] > between[i])
    assert len(set(texts)) == 3
    silent = Vocabulary(vocabulary.words, np.ones(32, np.float32))
    assert silent.text(told[0]) == ''


def test_a_picture_is_told_its_own_tags_unless_the_settings_name_some_or_none(model):
    other, image, _ = pictures()
    others = model.tag_probabilities(other)  # less likely there
    knows = dataclasses.replace(model, vocabulary=Vocabulary(tuple(map(str, range(32))), others))
    own = knows.vocabulary.text(knows.tag_probabilities(image))
    assert own
    for settings, wanted in ((Settings(), own), (Settings(tags=''), ''), (Settings(tags='a dog'), 'a dog')):
        cut = knows.cut(image, settings, 'a')
        assert cut.settings.tags == wanted
        told = prompt_of(Settings(tags=wanted), model.networks.spec.prompts)
        np.testing.assert_array_equal(cut.words[0], model.tokenizer([told])[0])
    assert model.cut(image, Settings(), 'a').settings.tags is None  # these weights know no words
