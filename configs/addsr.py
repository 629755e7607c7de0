"""Stage 4, the student: AddSR's distillation of the teacher into at most four steps.

    python -m addsr_jax.train --config configs/addsr.py:nano --workdir runs/addsr --config.weights=runs/seesr/final
    python -m addsr_jax.train --config configs/addsr.py --workdir runs/addsr --config.weights=CONVERTED \\
        --config.data.path=PHOTOS

nano: without more arguments, from the embedded teacher on the photographs that scikit-image ships.
sd2: image attentions and the condition encoder (387 M of 1.6 B parameters), at 512 pixels. Published: AdamW
2e-5, 4 GPUs x 2 images, 50,000 iterations. The objective's numbers are section 3 of the paper; its switches
are explained in docs/differences.md.
sd2_released: every number and switch as the published script has it, where it differs from the paper or from ours.
"""

from configs import base

_UNCLIPPED = {'clip': 0.0}  # published: the student's gradient alone is clipped
# train_addsr.py and its README's command, where they differ from the paper or from what is better here
RELEASED = {
    'batch_size': 8,  # 4 GPUs x 2; it steps at each of its 2 micro-batches
    'checkpoint_every': 5000,
    'ema_warmup': False,
    'discriminator_optimizer': _UNCLIPPED,
    'objective': {
        'start': 'teacher',
        'ta_index': 'first_step',
        'second_step_latent': 'hr',
        'psr_range': 'signed',
        'noise': 'shared',
        'branch': 'per_pair',  # each of the 4 GPUs draws for its 2 images
        'spectral_steps': 3,
        'd_grad_leak': True,
    },
}

SIZES = {
    'sd2': {'ema_warmup': False, 'discriminator_optimizer': _UNCLIPPED},
    'sd2_released': RELEASED,
    'nano': {
        'steps': 60,
        'batch_size': 8,
        'ema': 0.98,
        'weights': 'nano',
        'checkpoint_every': 100,
        'data': {
            'source': 'sample_photos',
            'hr_size': 128,
            'threads': 1,
            'captions': 'record',
            'degradation': 'mild',
        },
        'optimizer': {'learning_rate': 1e-4, 'final_learning_rate': 1e-5, 'beta1': 0.5, 'weight_decay': 1e-4},
        'discriminator_optimizer': {
            'learning_rate': 3e-4,
            'final_learning_rate': 3e-4,
            'beta1': 0.5,
            'weight_decay': 0.0,
            'clip': 0.0,
        },
        # Small heads on small features: more adversarial weight, or more samples of one step, and pictures of one step
        # become grainy; less of either, and they are softer than those of four.
        'objective': {
            'adversarial_weight': 0.002,
            'one_step_probability': 0.35,
            'teacher_samples': 2,
            'branch': 'per_sample',
            'trainable': 'all',
        },
    },
}


def get_config(size: str = 'sd2'):
    return base.get_config('addsr', SIZES, size)
