"""A small decoder for `upscale --tiny_decoder`, and for the teacher's pictures in stage 4: beside the stages.

    python -m addsr_jax.train --config configs/tiny_decoder.py:nano --workdir runs/tiny_decoder \\
        --config.weights=nano --config.data.path=PHOTOS

nano: a third of the operations of its own decoder. What it costs and saves stands in docs/performance.md.
sd2: TAESD's layout, from nothing, or on from the one that --config.weights holds.
"""

from configs import base

SIZES = {
    'sd2': {
        'ema': 0.999,
        'data': {'null_text': 1.0},
        'optimizer': {'learning_rate': 1e-4, 'final_learning_rate': 1e-6, 'warmup': 100, 'weight_decay': 0.0},
        'objective': {'lpips_weight': 0.1, 'latent_noise': 0.1},
    },
    'nano': {
        'steps': 2400,
        'batch_size': 8,
        'ema': 0.995,
        'checkpoint_every': 400,
        'data': {'hr_size': 96, 'null_text': 1.0, 'threads': 1, 'degradation': 'mild'},
        'optimizer': {
            'learning_rate': 2e-3,
            'final_learning_rate': 1e-5,
            'warmup': 100,
            'beta2': 0.99,
            'weight_decay': 0.0,
        },
        'objective': {'channels': 16, 'blocks': (3, 3, 1), 'latent_noise': 0.1},
    },
}


def get_config(size: str = 'sd2'):
    return base.get_config('tiny_decoder', SIZES, size)
