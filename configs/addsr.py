"""Stage 4, the student: AddSR's distillation of the teacher into at most four steps.

    python -m addsr_jax.train --config configs/addsr.py:nano --workdir runs/addsr --config.weights=runs/seesr/final
    python -m addsr_jax.train --config configs/addsr.py --workdir runs/addsr --config.weights=CONVERTED \\
        --config.data.path=PHOTOS

nano: without more arguments, from the embedded teacher on the photographs that scikit-image ships.
sd2: image attentions and the condition encoder (387 M of 1.6 B parameters), at 512 pixels. Published: AdamW
2e-5, 4 GPUs x 2 images, 50,000 iterations. The objective's numbers are section 3 of the paper; its switches
are explained in docs/differences.md.
"""

from configs import base


def get_config(size: str = 'sd2'):
    config = base.get_config('addsr', size)
    config.objective.update(
        {
            'timesteps': (999, 749, 499, 249),
            'teacher_samples': 4,
            'one_step_probability': 0.5,
            'adversarial_weight': 0.02,
            'mu': 0.5,
            'nu': 2.1,
            'start': 'teacher',
            'ta_index': 'graded_step',
            'ta_form': 'exponential',
            'second_step_latent': 'student',
            'psr_range': 'unit',
            'psr_train': 1.0,
            'psr_preview': 0.4,
            'teacher_condition': 'hr',
            'noise': 'independent',
            'branch': 'per_batch',
            'c_norm': 'imagenet',
            'spectral_steps': 1,
            'r1': 0.0,
            'd_grad_leak': False,
            'trainable': 'image_attentions',
        }
    )
    if size == 'nano':
        config.update({'steps': 60, 'batch_size': 8, 'ema': 0.98, 'weights': 'nano', 'checkpoint_every': 100})
        config.data.update(
            {
                'source': 'sample_photos',
                'hr_size': 128,
                'threads': 1,
                'captions': 'record',
                'degradation': 'mild',
            }
        )
        config.optimizer.update(
            {'learning_rate': 1e-4, 'final_learning_rate': 1e-5, 'beta1': 0.5, 'weight_decay': 1e-4}
        )
        config.discriminator_optimizer.update(
            {'learning_rate': 3e-4, 'final_learning_rate': 3e-4, 'beta1': 0.5, 'weight_decay': 0.0, 'clip': 0.0}
        )
        # Small heads on small features: more adversarial weight, or more samples of one step, and pictures of one step
        # become grainy; less of either, and they are softer than those of four.
        config.objective.update(
            {
                'adversarial_weight': 0.002,
                'one_step_probability': 0.35,
                'teacher_samples': 2,
                'branch': 'per_sample',
                'trainable': 'all',
            }
        )
    return base.lock(config)
