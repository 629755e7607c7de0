"""Every number of the sd2 configs beside the published one; where they differ the present value and the reason stand.

Published are the training scripts and configs of AddSR (train_addsr.py, its README's command, test_addsr.py) and of
SeeSR (train_seesr.py, dape.yaml, make_paired_data.py). Of the autoencoder nothing is published there: both keep that
of Stable Diffusion.
"""

import importlib
from numbers import Number

import pytest

from addsr_jax.data.degradation import KIND_WEIGHTS, SCALE
from addsr_jax.data.degradation_tables import TABLES
from addsr_jax.sizes import SD2

ADAMW = {'beta1': 0.9, 'beta2': 0.999, 'epsilon': 1e-8, 'halve_at': ()}
# config key -> the published value, which is ours
PUBLISHED = {
    'addsr': {
        'steps': 50_000,
        'ema': 0.99,
        'ema_warmup': False,
        'data.hr_size': 512,
        'data.null_text': 0.5,
        'optimizer.learning_rate': 2e-5,
        'optimizer.final_learning_rate': 2e-5,  # "constant"
        'optimizer.warmup': 0,  # the script's 500 are ignored by "constant"
        'optimizer.weight_decay': 1e-2,
        'optimizer.clip': 1.0,
        'discriminator_optimizer.learning_rate': 2e-5,
        'discriminator_optimizer.final_learning_rate': 2e-5,
        'discriminator_optimizer.warmup': 0,
        'discriminator_optimizer.weight_decay': 1e-2,
        'discriminator_optimizer.clip': 0.0,  # the student's gradient alone is clipped
        'objective.c_norm': 'none',
        'objective.timesteps': (999, 749, 499, 249),
        'objective.teacher_samples': 4,
        'objective.one_step_probability': 0.5,
        'objective.distillation_weight': 1.0,
        'objective.adversarial_weight': 0.02,
        'objective.mu': 0.5,
        'objective.nu': 2.1,
        'objective.psr_train': 1.0,
        'objective.psr_preview': 0.4,  # test_addsr.py ignores its option of 0.5
        'objective.r1': 0.0,
        'objective.ta_form': 'exponential',
        'objective.teacher_condition': 'hr',
        'objective.teacher_decoder': 'whole',
        'objective.trainable': 'image_attentions',
    },
    'seesr': {
        'steps': 150_000,  # CVPR version, with a batch of 192; first version 100,000
        'batch_size': 32,  # README: 8 GPUs x 2 images x 2 micro-batches
        'data.hr_size': 512,
        'data.null_text': 0.5,
        'ema': 0.0,
        'ema_warmup': False,
        'optimizer.learning_rate': 5e-5,
        'optimizer.final_learning_rate': 5e-5,
        'optimizer.warmup': 0,  # the script's 500 are ignored by "constant"
        'optimizer.weight_decay': 1e-2,
        'optimizer.clip': 1.0,
        'objective.late_timesteps': 0.0,  # uniform over 0..999
        'objective.huber_c': 0.0,  # the square
        'objective.trainable': 'image_attentions',  # and the whole ControlNet
    },
    'dape': {
        'steps': 300_000,  # dape.yaml; the paper says 20,000
        'checkpoint_every': 1000,
        'data.hr_size': 512,
        'data.null_text': 1.0,  # captions play no part
        'optimizer.learning_rate': 1e-4,
        'optimizer.final_learning_rate': 1e-4,
        'optimizer.warmup': 50,
        'optimizer.weight_decay': 0.0,
        'optimizer.clip': 0.0,
        'ema': 0.0,
        'ema_warmup': False,
        'data.frame': 'whole',  # squeezed to 512 x 512 offline
        'objective.interpolation': 'bilinear',  # 512 to the 384 of RAM
        'objective.dropout': 0.1,  # drop_path_rate and BERT's two of the degraded branch
        'objective.token_weight': 1.0,
        'objective.tag_weight': 1.0,
        'objective.targets': 'clean_tokens',
        'objective.trainable': 'lora',
    },
    'autoencoder': {},
    'tiny_decoder': {},
}
for stage in ('addsr', 'seesr'):
    PUBLISHED[stage]['data.frame'] = 'crop'  # make_paired_data.py
for stage in ('addsr', 'seesr', 'dape'):
    PUBLISHED[stage].update({'data.degradation': 'standard', 'data.degraded_target': 0.0})
    PUBLISHED[stage].update({f'optimizer.{name}': value for name, value in ADAMW.items()})
PUBLISHED['dape']['optimizer.halve_at'] = (20_000, 30_000)
PUBLISHED['addsr'].update({f'discriminator_optimizer.{name}': value for name, value in ADAMW.items()})
# config key -> (published, ours, why)
DIFFERENT = {
    'addsr': {
        'batch_size': (8, 16, '4 GPUs x 2; 16 is what the README asks for with 2 micro-batches, which never worked'),
        'accumulate': (2, 1, 'the script steps at every micro-batch all the same'),
        'checkpoint_every': (5000, 1000, 'a run that stops loses less'),
        'objective.start': ('teacher', 'auto', 'goes on from a student that the weights hold, a switch'),
        'objective.ta_index': ('first_step', 'graded_step', "the paper's weight, a switch"),
        'objective.second_step_latent': ('hr', 'student', 'as at inference, a switch'),
        'objective.psr_range': ('signed', 'unit', 'as everywhere else, a switch'),
        'objective.noise': ('shared', 'independent', 'a switch'),
        'objective.branch': ('per_pair', 'per_batch', 'each of 4 GPUs draws for its 2 images; 7 % dearer, a switch'),
        'objective.spectral_steps': (3, 1, 'a switch'),
        'objective.d_grad_leak': (True, False, 'a switch'),
    },
    'seesr': {
        'accumulate': (2, 1, 'the 32 images of an update in one piece; fewer devices may split them'),
    },
    'dape': {
        'batch_size': (8, 16, 'dape.yaml says 8 for each GPU; the paper 32'),
    },
    'autoencoder': {},
    'tiny_decoder': {},
}
DISCRIMINATOR = {f'discriminator_optimizer.{name}': value for name, value in ADAMW.items()} | {
    'discriminator_optimizer.learning_rate': 2e-5,
    'discriminator_optimizer.final_learning_rate': 2e-5,
    'discriminator_optimizer.warmup': 0,
    'discriminator_optimizer.weight_decay': 1e-2,
    'discriminator_optimizer.clip': 1.0,
}
# config key -> ours, of which the publications say nothing
OURS = {
    'addsr': {
        'objective.teacher_together': 1,
        'objective.lora_rank': 16,
        'objective.lora_alpha': 16.0,
        'objective.lpips_weight': 0.0,
        'objective.pixel_weight': 0.0,
        'objective.spectrum_weight': 0.0,
        'objective.train_decoder': False,
    },
    'seesr': {'checkpoint_every': 1000, **DISCRIMINATOR},
    'dape': {'accumulate': 1, **DISCRIMINATOR},
    'autoencoder': {
        'steps': 50_000,
        'batch_size': 16,
        'accumulate': 1,
        'checkpoint_every': 1000,
        'ema': 0.999,
        'ema_warmup': True,
        'objective.lpips_weight': 0.0,
        'objective.trainable': 'all',
        'objective.latent_noise': 0.0,
        'data.hr_size': 512,
        'data.frame': 'crop',
        'data.null_text': 1.0,
        'data.degradation': 'standard',
        'data.degraded_target': 0.0,
        'optimizer.learning_rate': 1e-5,
        'optimizer.final_learning_rate': 1e-6,
        'optimizer.warmup': 100,
        'optimizer.weight_decay': 1e-2,
        'optimizer.clip': 1.0,
        'objective.perceptual': 0.1,
        'objective.kl': 1e-6,
        'objective.perceptual_stages': 2,
        **{f'optimizer.{name}': value for name, value in ADAMW.items()},
        **DISCRIMINATOR,
    },
    'tiny_decoder': {
        'steps': 50_000,
        'batch_size': 16,
        'accumulate': 1,
        'checkpoint_every': 1000,
        'ema': 0.999,
        'ema_warmup': True,
        'objective.channels': 64,  # TAESD's, as its blocks: of its training nothing is published
        'objective.blocks': (3, 3, 3, 1),
        'objective.lpips_weight': 0.1,
        'objective.latent_noise': 0.1,
        'data.hr_size': 512,
        'data.frame': 'crop',
        'data.null_text': 1.0,
        'data.degradation': 'standard',
        'data.degraded_target': 0.0,
        'optimizer.learning_rate': 1e-4,
        'optimizer.final_learning_rate': 1e-6,
        'optimizer.warmup': 100,
        'optimizer.weight_decay': 0.0,
        'optimizer.clip': 1.0,
        **{f'optimizer.{name}': value for name, value in ADAMW.items()},
        **DISCRIMINATOR,
    },
}
# How a run is looked at and where it computes: no number of these is part of what is learned.
RUN = (
    *('seed', 'keep', 'eval_every', 'log_every', 'preview_every', 'evaluation.images', 'profile.start'),
    *('profile.steps', 'data.threads', 'data.workers'),
)


def flat(config, prefix: str = ''):
    """{'data.path': value}."""
    out = {}
    for name, value in config.items():
        out.update(flat(value, f'{prefix}{name}.') if hasattr(value, 'items') else {f'{prefix}{name}': value})
    return out


def config_of(stage: str, row: str = 'sd2'):
    return importlib.import_module(f'configs.{stage}').get_config(row)


@pytest.fixture(params=PUBLISHED)
def case(request):
    """(stage, {key: value} of its sd2 config)."""
    return request.param, flat(config_of(request.param))


def test_values_are_the_published_ones(case):
    stage, config = case
    assert {key: config[key] for key in PUBLISHED[stage]} == PUBLISHED[stage]


def test_values_that_differ_from_the_published_ones_are_these(case):
    stage, config = case
    assert {key: config[key] for key in DIFFERENT[stage]} == {
        key: ours for key, (_, ours, _) in DIFFERENT[stage].items()
    }
    assert all(published != ours and why for published, ours, why in DIFFERENT[stage].values())


def test_values_that_nobody_published_are_these(case):
    stage, config = case
    assert {key: config[key] for key in OURS[stage]} == OURS[stage]


def test_every_number_of_a_config_stands_in_one_table(case):
    stage, config = case
    tables = (PUBLISHED[stage], DIFFERENT[stage], OURS[stage], RUN)
    for key, value in config.items():
        if isinstance(value, (Number, tuple)) or key.startswith('objective.'):
            assert sum(key in table for table in tables) == 1, key


def test_the_released_config_has_every_published_value_and_none_of_ours_but_where_the_script_does_not_do_what_it_says():
    config = flat(config_of('addsr', 'sd2_released'))
    wanted = {**PUBLISHED['addsr'], **{key: value for key, (value, _, _) in DIFFERENT['addsr'].items()}}
    del wanted['accumulate']  # its optimisers step at each of the two micro-batches
    assert {key: config[key] for key in wanted} == wanted
    assert config['size'] == 'sd2'
    same = {key: value for key, value in flat(config_of('addsr')).items() if key not in DIFFERENT['addsr']}
    assert {key: config[key] for key in same} == same


def test_colours_are_fixed_as_both_published_scripts_do_by_default():
    assert SD2.view.color == 'adain'


def test_the_degradation_is_that_of_the_published_pairs():
    table = TABLES[config_of('addsr').data.degradation]
    first, second = table.stages
    assert (SCALE, KIND_WEIGHTS) == (4, (0.45, 0.25, 0.12, 0.03, 0.12, 0.03))
    assert (first.blur, second.blur, table.final_sinc, table.sharpen) == (1.0, 0.8, 0.8, True)
    assert (first.sigma, second.sigma) == ((0.2, 3), (0.2, 1.5))
    assert (first.up_down_keep, second.up_down_keep) == ((0.2, 0.7, 0.1), (0.3, 0.4, 0.3))
    assert (first.factor, second.factor) == ((0.15, 1.5), (0.3, 1.2))
    assert (first.sigma_noise, second.sigma_noise) == ((1, 30), (1, 25))
    assert (first.poisson_scale, second.poisson_scale) == ((0.05, 3.0), (0.05, 2.5))
    for stage in table.stages:
        assert (stage.sinc, stage.gaussian, stage.grey, stage.quality) == (0.1, 0.5, 0.4, (30, 95))


def test_adaptation_schedule_prompts_and_guidance_are_the_published_ones():
    extractor, schedule, prompts = SD2.prompt_extractor, SD2.schedule, SD2.prompts
    assert (extractor.lora_rank, extractor.lora_scale) == (8, 1 / 8)
    assert (extractor.tagging.classes, extractor.token_dim, extractor.swin.image_size) == (4585, 512, 384)
    assert (schedule.beta_start, schedule.beta_end, schedule.steps) == (0.00085, 0.012, 1000)
    assert schedule.prediction == 'epsilon'
    assert SD2.autoencoder.scaling_factor == 0.18215
    assert prompts.guidance_scale == 5.5
    assert prompts.student_added == 'clean, high-resolution, 8k, extremely detailed, best quality, sharp'
    assert prompts.teacher_added == 'clean, high-resolution, 8k'
    assert prompts.negative == 'dotted, noise, blur, lowres, smooth'


def test_the_student_takes_the_published_four_steps():
    assert SD2.view.student_steps == 4
