"""A user's image: any size, the same whatever the batch, tiles and devices, and every setting has an effect."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from addsr_jax import sharding
from addsr_jax.errors import Cancelled, PictureError, UserError
from addsr_jax.ops import tiling
from addsr_jax.restoration import noise as noise_module
from addsr_jax.restoration import pipeline, program
from addsr_jax.restoration.settings import Settings
from addsr_jax.weights import bundle as bundles
from tests import tiny
from tests.data import photos
from tests.diffusion import parts


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp('model') / 'tiny'
    bundles.save(tiny.bundle(), path, 'safetensors')
    return path


@pytest.fixture(scope='module')
def model(folder):
    return pipeline.load(folder)


@pytest.fixture(autouse=True)
def networks_are_programs(monkeypatch):
    """Samplers go network by network, whose programs they share."""
    monkeypatch.setattr(program, 'jitted', parts.jitted)


IMAGE = photos.crops(1, 60)[0]  # four tiles
SMALL = IMAGE[:32, :32]  # one, and a smaller one
FAST = {
    'tile': 192,
    'steps': 2,
    'color': 'none',
    'grain': 0.0,
    'overshoot': 10.0,
    'plain': 0.0,
    'edges': 0.0,
    'film_grain': 0.0,
}  # what the networks drew


def difference(a, b):
    return np.abs(a.astype(int) - b.astype(int)).max()


@pytest.mark.parametrize('size', [(1, 1), (3, 2), (8, 8), (9, 61), (60, 60), (33, 100)])
def test_an_image_of_any_size_becomes_four_times_larger(model, size):
    image = np.resize(IMAGE, (*size, 3))
    out = model.upscale(image, **FAST)
    assert out.shape == (4 * size[0], 4 * size[1], 3)
    assert out.dtype == np.uint8


def test_without_tiles_a_picture_of_any_size_is_restored_whole(model):
    out = model.upscale(np.resize(IMAGE, (21, 34, 3)), **{**FAST, 'tile': 0})
    assert out.shape == (84, 136, 3)
    assert difference(model.upscale(IMAGE, **{**FAST, 'tile': 0}), model.upscale(IMAGE, **FAST)) > 0


def test_windows_denoise_a_picture_together_and_one_that_holds_it_whole_changes_nothing(model):
    whole = model.upscale(IMAGE, **{**FAST, 'tile': 0})
    windows = {side: model.upscale(IMAGE, latent_tile=side, **{**FAST, 'tile': 0}) for side in (32, 64)}
    assert windows[32].shape == whole.shape
    assert difference(windows[32], whole) > 0
    np.testing.assert_array_equal(windows[64], whole)


def test_an_autoencoder_without_norms_and_attention_does_not_feel_its_tiles(model):
    whole = model.upscale(IMAGE, **{**FAST, 'tile': 0})
    tiled = model.upscale(IMAGE, encoder_tile=64, decoder_tile=16, **{**FAST, 'tile': 0})
    assert difference(tiled, whole) <= 1


def test_a_model_whose_levels_differ_in_width_is_encoded_by_tiles_whose_memory_is_known_before(tmp_path):
    wide = dataclasses.replace(tiny.SPEC.autoencoder, block_out_channels=(8, 16))
    spec = dataclasses.replace(tiny.SPEC, autoencoder=wide)
    bundles.save(tiny.bundle(spec), tmp_path / 'model', 'safetensors')
    model = pipeline.load(tmp_path / 'model')
    whole, pieces = {**FAST, 'tile': 0, 'steps': 1}, {'encoder_tile': 64, 'decoder_tile': 16}
    assert model.need(IMAGE.shape[:2], Settings(**{**whole, **pieces})) > 0
    assert difference(model.upscale(IMAGE, **whole, **pieces), model.upscale(IMAGE, **whole)) <= 1


def test_the_teacher_starts_where_it_is_told_by_default_at_the_last_timestep(model):
    few = {'tile': 192, 'method': 'seesr', 'steps': 3, 'guidance_scale': 1.0, 'color': 'none'}
    default, last, lower = (model.upscale(SMALL, start_timestep=t, **few) for t in (None, 999, 400))
    np.testing.assert_array_equal(last, default)
    assert difference(lower, default) > 0


def test_the_dial_is_the_settings_it_stands_for(model):
    named = dataclasses.asdict(Settings(fidelity=1.0).chosen)
    np.testing.assert_array_equal(model.upscale(SMALL, tile=192, fidelity=1.0), model.upscale(SMALL, tile=192, **named))


def test_the_sampler_alone_takes_the_dial_and_the_method_s_own_steps(model):
    lq, key = np.full((1, 128, 128, 3), 0.25, np.float32), jax.random.key(0)
    dialled, named = model.sample(lq, key, fidelity=1.0), dataclasses.asdict(Settings(fidelity=1.0).chosen)
    given = {name: named[name] for name in ('steps', 'psr_weight', 'antithetic')}
    np.testing.assert_array_equal(dialled, model.sample(lq, key, **given))
    own = model.networks.spec.view.student_steps
    np.testing.assert_array_equal(model.sample(lq, key), model.sample(lq, key, steps=own))
    assert np.abs(np.asarray(model.sample(lq, key)) - dialled).max() > 0


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'tile': 192, 'color': 'adain'}, '^sample: color, tile concern whole pictures'),
        ({'seed': 1}, '^sample: seed concern'),
        ({'step': 3}, r'^there is no option sample\.step: did you mean steps'),
        ({'steps': 0}, r'^sample\.steps is 0'),
        ({'fidelity': 0.5, 'steps': 2}, '^sample: fidelity chooses steps'),
    ],
)
def test_settings_that_mean_nothing_to_the_sampler_alone_are_refused(model, settings, message):
    with pytest.raises(UserError, match=message):
        model.sample(np.zeros((1, 64, 64, 3), np.float32), jax.random.key(0), **settings)


LQ = np.zeros((1, 64, 64, 3), np.float32)
OF_ANOTHER_TYPE = {
    'name': (lambda model: model.upscale(SMALL, name=3), '^name is the text .* not int'),
    'name of steps': (lambda model: next(model.upscale_steps(SMALL, name=b'a')), '^name is the text .* not bytes'),
    'tagged': (lambda model: model.tag_probabilities('a.png'), '^an image is an array .* not str'),
    'lq of text': (lambda model: model.sample('a.png', jax.random.key(0)), r'^sample: lq is \[B, H, W, 3\] .* not str'),
    'lq of one': (lambda model: model.sample(LQ[0], jax.random.key(0)), r'^sample: lq .* not \[64, 64, 3\]'),
    'lq between': (
        lambda model: model.sample(LQ[:, :63], jax.random.key(0)),
        r'^sample: lq .* not \[1, 63, 64, 3\]',
    ),
    'a seed': (lambda model: model.sample(LQ, 0), '^sample: key is one of jax.random.key'),
    'weights': (lambda model: pipeline.load(3), "^load takes 'nano', a folder, or ORG/NAME of a hub, not int"),
}


@pytest.mark.parametrize(('call', 'message'), OF_ANOTHER_TYPE.values(), ids=OF_ANOTHER_TYPE)
def test_what_is_of_another_type_is_one_line_at_the_door(model, call, message):
    with pytest.raises(UserError, match=message):
        call(model)


def test_the_sampler_alone_goes_through_windows(model):
    lq = np.random.default_rng(0).uniform(-1, 1, (1, 192, 192, 3)).astype(np.float32)
    whole, windows = (model.sample(lq, jax.random.key(0), steps=1, latent_tile=side) for side in (0, 32))
    assert windows.shape == whole.shape
    assert np.abs(np.asarray(windows - whole)).max() > 0


@pytest.mark.parametrize('scale', [1, 1.5, 3])
def test_other_scales(model, scale):
    assert model.upscale(SMALL, scale=scale, **FAST).shape == (32 * scale, 32 * scale, 3)


@pytest.mark.parametrize(('asked', 'size'), [({'width': 50}, (25, 50)), ({'max_side': 20}, (10, 20))], ids=str)
def test_other_sizes(model, asked, size):
    assert model.upscale(SMALL[:16], **asked, **FAST).shape == (*size, 3)


def test_a_frame_of_another_aspect_is_filled_with_the_middle_of_a_picture_or_with_all_of_it(model):
    frame = {'width': 96, 'height': 96, **FAST}
    middle = model.upscale(SMALL[:16], fit='crop', **frame)
    np.testing.assert_array_equal(middle, model.upscale(SMALL[:16, 8:24], scale=6, **FAST))
    alpha = np.dstack([SMALL[:16], SMALL[:16, :, :1]])
    assert model.upscale(alpha, fit='crop', **frame).shape == (96, 96, 4)
    assert model.upscale(Image.fromarray(SMALL[:16]), fit='stretch', **frame).size == (96, 96)


def test_sixteen_bits_stay_sixteen_and_are_restored_as_eight_are(model):
    eight = model.upscale(SMALL, **FAST)
    sixteen = model.upscale(SMALL.astype(np.uint16) * 257, **FAST)
    assert sixteen.dtype == np.uint16
    assert np.abs(sixteen / 257 - eight).max() < 6  # enlarged without rounding in between, and not cut off
    assert (sixteen % 257 != 0).mean() > 0.9


def test_one_colour_stays_one_colour_and_a_photograph_is_left_to_the_network(model):
    flat = np.full((24, 32, 3), (200, 90, 30), np.uint8)
    own = {**FAST, 'calm': 0.7}
    assert difference(model.upscale(flat, **own), flat.repeat(4, 0).repeat(4, 1)) <= 1
    assert difference(model.upscale(flat, **FAST, calm=0.0), flat.repeat(4, 0).repeat(4, 1)) > 2
    np.testing.assert_array_equal(model.upscale(SMALL, **own), model.upscale(SMALL, **FAST, calm=0.0))


def test_long_and_thin_pictures_take_thin_tiles(model):
    plan = model.plan(36, 6000, 512)
    assert plan.shape == (64, 512)
    assert model.plan(300, 100, 512).shape == (512, 512)  # one tile of few kinds
    assert model.plan(600, 300, 512).shape == (384, 384)


def test_of_several_tiles_those_are_taken_that_compute_least_but_none_below_what_a_model_knows(model):
    assert model.plan(2048, 2048, 512).shape == (448, 448)
    assert model.plan(2048, 2048, 512).computed / 2048**2 < 1.2
    spec = model.networks.spec
    sd2 = dataclasses.replace(spec, view=dataclasses.replace(spec.view, smallest_output=512))
    large = dataclasses.replace(model, networks=dataclasses.replace(model.networks, spec=sd2))
    assert large.plan(2048, 2048, 512).shape == (512, 512)


def test_what_a_picture_in_pieces_needs_grows_by_the_picture_and_its_features_alone(model):
    pieces = Settings(tile=0, steps=1, latent_tile=16, encoder_tile=32, decoder_tile=8)
    small, large = (model.need(size, pieces) for size in ((40, 50), (80, 100)))
    pixels, width = 16 * (80 * 100 - 40 * 50), model.networks.spec.autoencoder.block_out_channels[-1]
    assert large - small == 4 * pixels * 12 + 2 * 4 * width * pixels // 16


def test_the_same_call_gives_the_same_picture_and_the_seed_and_the_name_another(model):
    first = model.upscale(SMALL, name='a.png', **FAST)
    np.testing.assert_array_equal(first, model.upscale(SMALL, name='a.png', **FAST))
    assert difference(first, model.upscale(SMALL, name='b.png', **FAST)) > 0
    assert difference(first, model.upscale(SMALL, name='a.png', seed=1, **FAST)) > 0


def test_tiles_in_batches_give_the_same_picture(model):
    one, four = (model.upscale(IMAGE, batch=b, **FAST) for b in (1, 4))
    assert difference(one, four) <= 1


LARGE = {'tile': 0, 'latent_tile': 16, 'encoder_tile': 32, 'decoder_tile': 8}


@pytest.mark.parametrize('changed', [{}, {'method': 'seesr', **LARGE}], ids=str)
def test_a_sampler_in_one_program_gives_the_same_picture_as_network_by_network(folder, model, monkeypatch, changed):
    few = {**FAST, **changed}
    wanted = model.upscale(SMALL, **few)
    monkeypatch.setattr(program, 'jitted', parts.one_program)
    assert difference(pipeline.load(folder).upscale(SMALL, **few), wanted) <= 1


def test_tiles_on_eight_devices_give_the_same_picture(folder, model, monkeypatch):
    wanted = model.upscale(IMAGE, **FAST)
    monkeypatch.setattr(program, 'jitted', parts.one_program)
    spread = pipeline.load(folder, mesh=sharding.make_mesh('data:8'))
    assert difference(spread.upscale(IMAGE, **FAST), wanted) <= 1


def test_kernels_that_the_compiler_cannot_split_learn_of_the_devices(model, monkeypatch):
    spread = dataclasses.replace(model, mesh=sharding.make_mesh('data:8'), _programs={})
    seen = []

    def jitted(networks, sampling, mesh):
        def run(params, batch, scalars):
            jax.eval_shape(lambda x: sharding.on_shares(lambda y: seen.append(y.shape[0]) or y, x), batch['lq'])
            return batch['lq']

        return jax.jit(run)

    monkeypatch.setattr(program, 'jitted', jitted)
    spread.sample(np.zeros((8, 64, 64, 3), np.float32), jax.random.key(0), steps=2)
    assert seen == [1]


def test_random_numbers_are_bit_equal_whatever_the_batch_and_the_place_in_it(model, monkeypatch):
    seen = []
    monkeypatch.setattr(pipeline.Pipeline, '_sample', lambda self, lq, noise, *_: seen.append(np.asarray(noise)) or lq)
    lq = np.zeros((3, 64, 64, 3), np.float32)
    model.sample(lq, jax.random.key(0), steps=4)
    model.sample(lq[:1], jax.random.key(0), steps=4)
    np.testing.assert_array_equal(seen[0][:1], seen[1])
    assert (seen[0][0] != seen[0][1]).any()


@pytest.mark.parametrize(
    'changed',
    [
        {'method': 'seesr', 'steps': 3},
        {'steps': 3},
        {'psr_weight': 1.0},
        {'start_point': 'noise'},
        {'antithetic': True},
        {'tta': True},
        {'guidance_scale': 4.0},
        {'prompt': 'red top'},
        {'color': 'adain'},
        {'color': 'wavelet'},
        {'color': 'guided'},
        {'grain': 5.0},
    ],
    ids=str,
)
def test_every_setting_changes_the_picture(model, changed):
    assert difference(model.upscale(SMALL, **FAST), model.upscale(SMALL, **{**FAST, **changed})) > 0


def test_with_mirror_images_a_mirrored_tile_becomes_a_mirrored_result(model):
    lq = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)
    noise = np.random.default_rng(1).standard_normal((1, 3, 16, 16, 4)).astype(np.float32)
    for tta in (True, False):
        settings = Settings(steps=2, tta=tta, tile=0)
        words = model.words(settings)[None]
        plain = model._sample(lq, noise, words, None, settings)
        mirrored = model._sample(lq[:, :, ::-1], noise[:, :, :, ::-1], words, None, settings)
        away = np.abs(np.asarray(mirrored)[:, :, ::-1] - plain).max()
        assert (away < 1e-4) == tta


def test_the_negative_prompt_matters_under_guidance(model):
    guided = {**FAST, 'method': 'seesr', 'guidance_scale': 6.0}
    assert difference(model.upscale(SMALL, **guided), model.upscale(SMALL, negative_prompt='red top', **guided)) > 0


def test_the_colour_fixes_bring_the_colours_back_to_those_of_the_input(model):
    calm = (96 + SMALL * 0.25).astype(np.uint8)  # far from black and white, where nothing is cut off
    means = {
        c: model.upscale(calm, **{**FAST, 'color': c}).astype(float).mean(axis=(0, 1))
        for c in ('none', 'wavelet', 'adain', 'guided')
    }
    away = {c: np.abs(mean - calm.mean(axis=(0, 1))).max() for c, mean in means.items()}
    assert away['none'] > 12
    assert max(away['wavelet'], away['adain'], away['guided']) < 6


def test_the_finish_is_the_model_s_own_unless_the_user_names_it(model):
    plain = {name: FAST[name] for name in ('tile', 'steps')}
    spec = model.networks.spec
    for finish in (
        {'color': 'guided', 'grain': 4.0, 'overshoot': 0.5, 'plain': 0.0, 'edges': 3.0, 'film_grain': 2.0},
        {'color': 'wavelet', 'grain': 0.0, 'overshoot': 10.0, 'plain': 9.0, 'edges': 0.0, 'film_grain': 0.0},
    ):
        view = dataclasses.replace(spec.view, **finish)
        networks = dataclasses.replace(model.networks, spec=dataclasses.replace(spec, view=view))
        own = dataclasses.replace(model, networks=networks)
        np.testing.assert_array_equal(own.upscale(SMALL, **plain), model.upscale(SMALL, **plain, **finish))


def test_along_an_edge_of_the_picture_less_is_drawn_the_farther_it_is_averaged(model):
    upright = np.full((32, 32, 3), 60, np.uint8)
    upright[:, 16:] = 190
    left, right = 52, 76  # of what lies within one and a half small pixels of the edge
    wobble = [
        model.upscale(upright, **{**FAST, 'edges': edges})[16:-16, left:right].astype(float).std(axis=0).mean()
        for edges in (0.0, 1.0, 4.0)
    ]
    assert wobble[0] > 1.3 * wobble[1] > 1.3 * 1.3 * wobble[2] > 0


def test_grain_is_added_to_every_channel_alike_and_is_another_one_for_another_name(model):
    without, grainy, other = (
        model.upscale(SMALL, name=name, **{**FAST, 'film_grain': levels}).astype(float)
        for name, levels in (('a', 0.0), ('a', 3.0), ('b', 3.0))
    )
    added = (grainy - without)[np.all((without > 20) & (without < 235), axis=-1)]
    assert added.std() == pytest.approx(3, rel=0.2)
    assert np.abs(np.ptp(added, axis=-1)).max() <= 1
    assert np.abs(other - grainy).max() > 3


def test_nothing_is_drawn_where_the_picture_has_one_colour_unless_the_user_lets_it(model):
    half = np.full((32, 32, 3), (60, 90, 120), np.uint8)
    half[:, 16:] = SMALL[:, 16:]
    settings = {**FAST, 'calm': 0.0}
    free, held = (model.upscale(half, **{**settings, 'overshoot': o})[:, :56].astype(int) for o in (10.0, 0.3))
    assert np.abs(free - half[0, 0]).max() > 4
    assert np.abs(held - half[0, 0]).max() <= 2


def test_pillow_images_are_taken_as_arrays_are(model):
    np.testing.assert_array_equal(model.upscale(Image.fromarray(SMALL), **FAST), model.upscale(SMALL, **FAST))


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'method': 'gan'}, 'addsr, seesr'),
        ({'color': 'sepia'}, 'guided, wavelet, adain, none'),
        ({'grain': -1.0}, r'0\.\.20'),
        ({'steps': 0}, r'1\.\.1000'),
        ({'scale': 17}, r'1\.\.16'),
        ({'psr_weight': 2.0}, r'0\.\.1'),
        ({'tile': 200}, 'multiple of 64'),
        ({'tile': 64}, '^upscale: tile is 64: .*at least 192, or 0'),
        ({'start_point': 'middle'}, 'lr, noise'),
        ({'start_timestep': 500}, 'of the teacher'),
        ({'antithetic': True, 'method': 'seesr'}, 'of the student'),
        ({'batch': 0}, r'^upscale\.batch is 0: it must be a whole number in 1\.\.256$'),
        ({'latent_tile': 16}, 'set tile to 0'),
        ({'latent_tile': 12, 'tile': 0}, 'multiple of 8'),
        ({'latent_tile': 16, 'latent_overlap': 16, 'tile': 0}, 'less than latent_tile'),
        ({'decoder_tile': 24}, 'set tile to 0'),
        ({'encoder_tile': 100, 'tile': 0}, 'multiple of 32'),
        ({'fidelity': 1.5}, r'0\.\.1'),
        ({'guidance': 3}, r'^there is no option upscale\.guidance: did you mean guidance_scale\?'),
    ],
)
def test_impossible_settings_are_refused(model, settings, message):
    with pytest.raises(UserError, match=message):
        model.upscale(IMAGE, **settings)


KINDS = {
    'uint8': IMAGE[:24, :32],
    'grey': IMAGE[:24, :32, 0],
    'grey with an axis': IMAGE[:24, :32, :1],
    'alpha': np.dstack([IMAGE[:24, :32], np.tile(np.arange(32, dtype=np.uint8) * 8, (24, 1))]),
    'uint16': IMAGE[:24, :32].astype(np.uint16) * 257,
    'float32': IMAGE[:24, :32] / np.float32(255),
    'bfloat16': (IMAGE[:24, :32] / np.float32(255)).astype(jnp.bfloat16),
    'a batch': np.stack([IMAGE[:24, :32], IMAGE[24:48, :32]]),
}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('library', [np, jnp], ids=['numpy', 'jax'])
def test_arrays_come_back_as_the_kind_that_was_given(model, kind, library):
    given = library.asarray(KINDS[kind])
    out = model.upscale(given, **FAST)
    assert isinstance(out, type(given))
    assert out.dtype == given.dtype
    height, width = (1, 2) if given.ndim == 4 else (0, 1)
    wanted = [4 * n if axis in (height, width) else n for axis, n in enumerate(given.shape)]
    assert list(out.shape) == wanted


def test_kinds_hold_the_same_picture(model):
    plain = model.upscale(KINDS['uint8'], **FAST).astype(float)
    deep, floats = model.upscale(KINDS['uint16'], **FAST), model.upscale(KINDS['float32'], **FAST)
    assert np.abs(deep / 257 - plain).max() <= 3  # bytes are rounded once more before they are restored
    np.testing.assert_allclose(floats * 65535, deep, atol=0.6)
    batch = model.upscale(KINDS['a batch'], **FAST)
    np.testing.assert_array_equal(batch[0], plain)
    np.testing.assert_array_equal(batch[1], model.upscale(KINDS['a batch'][1], **FAST))
    assert np.ptp(model.upscale(KINDS['alpha'], **FAST)[..., 3]) > 200


@pytest.mark.parametrize('mode', ['L', 'LA', 'RGB', 'RGBA', 'I;16', 'P', '1', 'CMYK'])
def test_pillow_images_come_back_as_pillow_s(model, mode):
    given = Image.fromarray(IMAGE[:24, :32, 0].astype(np.uint16) * 257) if mode == 'I;16' else None
    given = given or Image.fromarray(IMAGE[:24, :32]).convert(mode)
    out = model.upscale(given, **FAST)
    assert isinstance(out, Image.Image)
    assert out.size == (128, 96)
    assert out.mode == {'P': 'RGB', '1': 'L', 'CMYK': 'RGB'}.get(mode, mode)


def test_a_path_is_read_as_the_command_reads_it_and_named_by_its_file(model, tmp_path):
    Image.fromarray(IMAGE[:24, :32]).save(tmp_path / 'a.png')
    out = model.upscale(tmp_path / 'a.png', **FAST)
    np.testing.assert_array_equal(out, model.upscale(IMAGE[:24, :32], name='a.png', **FAST))
    np.testing.assert_array_equal(out, model.upscale(str(tmp_path / 'a.png'), **FAST))
    with pytest.raises(PictureError, match=r'gone\.png cannot be read as an image'):
        model.upscale(tmp_path / 'gone.png')


def test_many_pictures_come_in_their_order_as_they_come_alone(model, tmp_path):
    (tmp_path / 'bad.png').write_bytes(b'none')
    given = [SMALL, tmp_path / 'bad.png', IMAGE, SMALL[:8, :8], Image.fromarray(SMALL)]
    wrong = []
    out = list(model.upscale_many(iter(given), on_error=lambda *error: wrong.append(error), batch=2, **FAST))
    assert [number for number, _ in wrong] == [1]
    for made, image in zip(out, (given[0], given[2], given[3], given[4]), strict=True):
        assert isinstance(made, type(image))
        assert difference(np.asarray(made), np.asarray(model.upscale(image, **FAST))) <= 1
    with pytest.raises(PictureError, match=r'bad\.png'):
        list(model.upscale_many(given, **FAST))


def test_progress_counts_tiles_and_may_end_it(model):
    told = []
    model.upscale(IMAGE, progress=lambda done, total: told.append((done, total)), **FAST)
    assert told == [(n, 4) for n in range(1, 5)]
    with pytest.raises(Cancelled, match='stopped after 2 tiles'):
        model.upscale(IMAGE, progress=lambda done, total: done < 2, **FAST)


def test_noise_of_a_place_is_the_same_whatever_the_tile_and_the_size_of_the_picture(model):
    def noise(height, width, tile):
        """Put together from the tiles."""
        plan, field = model.plan(height, width, tile), model._noise(Settings(tile=tile), 'a.png')
        latents = plan.padded[0] // model.factor, plan.padded[1] // model.factor
        whole = np.full((field.fields, latents[0], latents[1], field.channels), np.nan)
        for i in range(len(plan.offsets)):
            rows, columns = tiling.place(plan, i, model.factor)
            whole[:, rows, columns] = field.part(rows, columns)
        return whole

    small, large, other = noise(128, 128, 512), noise(1100, 700, 512), noise(1100, 700, 256)
    np.testing.assert_array_equal(small, large[:, : small.shape[1], : small.shape[2]])
    rows, columns = (min(a, b) for a, b in zip(large.shape[1:3], other.shape[1:3], strict=True))
    np.testing.assert_array_equal(large[:, :rows, :columns], other[:, :rows, :columns])
    block = noise_module.BLOCK // model.factor
    assert large.std() == pytest.approx(1, abs=0.02)
    assert not np.array_equal(large[:, :block, :8], large[:, block : 2 * block, :8])


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        (np.zeros((0, 60, 3), np.uint8), 'an image is'),
        (np.zeros((60, 60, 2), np.uint8), 'of 1, 3 or 4 channels'),
        (np.zeros((60, 60, 3), np.int32), 'of uint8, uint16 or floats'),
        (np.full((60, 60, 3), 1.5, np.float32), r'in 0\.\.1, not in 1\.5\.\.1\.5'),
        (np.full((60, 60), np.nan), r'in 0\.\.1'),
        (None, 'a picture is a path'),
    ],
)
def test_what_is_no_picture_is_refused(model, image, message):
    with pytest.raises(PictureError, match=message):
        model.upscale(image)


def test_another_attention_kernel_gives_the_same_picture(folder, model):
    other = pipeline.load(folder, attention='einsum')
    assert other.networks.unet.kernel == 'einsum' != model.networks.unet.kernel
    assert difference(other.upscale(SMALL, **FAST), model.upscale(SMALL, **FAST)) <= 1
    with pytest.raises(UserError, match='flash needs a TPU, not cpu'):
        pipeline.load(folder, attention='flash')


@pytest.mark.parametrize('dtype', ['foo', 'float16', np.float64])
def test_another_dtype_than_networks_compute_in_is_refused(folder, dtype):
    with pytest.raises(UserError, match='choose one of auto, float32, bfloat16'):
        pipeline.load(folder, dtype=dtype)


def test_weights_without_the_part_that_a_method_needs_say_so(tmp_path):
    bundle = tiny.bundle()
    params = {k: v for k, v in bundle.params.items() if k != 'student'}
    bundles.save(dataclasses.replace(bundle, params=params), tmp_path / 'model', 'safetensors')
    with pytest.raises(UserError, match='hold no student'):
        pipeline.load(tmp_path / 'model').upscale(IMAGE, **FAST)
    (tmp_path / 'model' / 'teacher.safetensors').unlink()  # not looked at: the names decide
    with pytest.raises(UserError, match=r'no student, which --method addsr needs: they have .*teacher'):
        pipeline.load(tmp_path / 'model', method='addsr')


def test_a_model_for_one_method_restores_as_the_whole_and_lacks_the_networks_of_the_other(folder, model):
    one = pipeline.load(folder, method='addsr')
    assert set(model.params) - set(one.params) == {'teacher'}
    np.testing.assert_array_equal(one.upscale(SMALL, **FAST), model.upscale(SMALL, **FAST))
    with pytest.raises(UserError, match='hold no teacher, which --method seesr needs'):
        one.upscale(SMALL, method='seesr')
    with pytest.raises(UserError, match=r'load.method.*choose one of addsr, seesr'):
        pipeline.load(folder, method='best')
