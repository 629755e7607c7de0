"""Every number of the configs at Stable Diffusion 2 size beside the published one.

Sources: train_addsr.py and its README (AddSR), train_seesr.py and its README, dape.yaml (SeeSR). PUBLISHED has a
stage's published numbers; OTHERWISE what is another here today; OURS is what nobody published.
"""

from pathlib import Path

import pytest

from addsr_jax.training import config

ROOT = Path(__file__).parents[2]
ADAMW = {'beta1': 0.9, 'beta2': 0.999, 'epsilon': 1e-8}
PUBLISHED = {
    'addsr': {
        'steps': 50_000,
        'batch_size': 8,  # 4 GPUs of 2 images
        'ema': 0.99,
        'data.hr_size': 512,
        'data.null_text': 0.5,
        **{f'optimizer.{name}': value for name, value in ADAMW.items()},
        'optimizer.learning_rate': 2e-5,
        'optimizer.final_learning_rate': 2e-5,  # constant
        'optimizer.warmup': 0,  # the flag is ignored by a constant schedule
        'optimizer.weight_decay': 1e-2,
        'optimizer.clip': 1.0,
        **{f'discriminator_optimizer.{name}': value for name, value in ADAMW.items()},
        'discriminator_optimizer.learning_rate': 2e-5,
        'discriminator_optimizer.final_learning_rate': 2e-5,
        'discriminator_optimizer.warmup': 0,
        'discriminator_optimizer.weight_decay': 1e-2,
        'discriminator_optimizer.clip': 0.0,
        'objective.timesteps': [999, 749, 499, 249],
        'objective.teacher_samples': 4,
        'objective.one_step_probability': 0.5,
        'objective.adversarial_weight': 0.02,
        'objective.mu': 0.5,
        'objective.nu': 2.1,
        'objective.psr_train': 1.0,
        'objective.psr_preview': 0.4,  # of the published results
        'objective.spectral_steps': 3,
        'objective.r1': 0.0,
        'accumulate': 2,
        'checkpoint_every': 5000,
    },
    'seesr': {
        'steps': 150_000,
        'batch_size': 32,  # 8 GPUs of 2 images, 2 micro-batches
        'data.hr_size': 512,
        'data.null_text': 0.5,
        **{f'optimizer.{name}': value for name, value in ADAMW.items()},
        'optimizer.learning_rate': 5e-5,
        'optimizer.final_learning_rate': 5e-5,
        'optimizer.warmup': 0,
        'optimizer.weight_decay': 1e-2,
        'optimizer.clip': 1.0,
        'accumulate': 2,
    },
    'dape': {
        'steps': 300_000,
        'batch_size': 32,
        'data.hr_size': 512,
        **{f'optimizer.{name}': value for name, value in ADAMW.items()},
        'optimizer.learning_rate': 1e-4,
        'optimizer.final_learning_rate': 2.5e-5,  # halved at 20,000 and at 30,000; here the end of a cosine
        'optimizer.warmup': 50,
        'optimizer.weight_decay': 0.0,
        'optimizer.clip': 0.0,
        'accumulate': 1,
        'objective.token_weight': 1.0,
        'objective.tag_weight': 1.0,
        'checkpoint_every': 1000,
    },
}
# What is another here, and what it is.
OTHERWISE = {
    'addsr': {
        'batch_size': 16,
        'accumulate': 1,  # the published loop steps its optimisers at every micro-batch
        'checkpoint_every': 1000,
        'objective.spectral_steps': 1,  # a switch: docs/differences.md
        'discriminator_optimizer.clip': 1.0,
    },
    'seesr': {'optimizer.warmup': 500, 'accumulate': 1},
    'dape': {'batch_size': 16, 'optimizer.clip': 1.0},
}
# Intervals, machines, and options that the originals do not have.
OURS = {
    *('seed', 'keep', 'eval_every', 'log_every', 'preview_every', 'checkpoint_every', 'ema', 'profile.start'),
    *('profile.steps', 'data.threads', 'data.workers', 'data.degraded_target', 'data.null_text', 'evaluation.images'),
    *('objective.late_timesteps', 'objective.huber_c', 'objective.lora_rank', 'objective.lora_alpha'),
}


def numbers(stage: str) -> dict:
    """The numbers of a config by key; a stage without a discriminator has no use for that optimiser's."""
    from addsr_jax.options import to_data

    flat = config.flat(to_data(config.train_options(f'{ROOT}/configs/{stage}.py', ())))
    kept = {key: value for key, value in flat.items() if not isinstance(value, str | bool)}
    return {
        key: value for key, value in kept.items() if stage == 'addsr' or not key.startswith('discriminator_optimizer')
    }


@pytest.mark.parametrize('stage', PUBLISHED)
def test_every_number_is_the_published_one_or_is_listed_with_both(stage):
    found, published, otherwise = numbers(stage), PUBLISHED[stage], OTHERWISE[stage]
    assert set(otherwise) <= set(published)
    for key, value in published.items():
        assert found[key] == otherwise.get(key, value), key
    assert all(published[key] != value for key, value in otherwise.items())


@pytest.mark.parametrize('stage', PUBLISHED)
def test_no_number_is_without_a_source(stage):
    assert set(numbers(stage)) - set(PUBLISHED[stage]) <= OURS
