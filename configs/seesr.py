"""Stage 3, the teacher: a diffusion model that is told the low-quality image (SeeSR).

    python -m addsr_jax.train --config configs/seesr.py:nano --workdir runs/seesr \\
        --config.weights=runs/autoencoder/final --config.data.path=PHOTOS

nano: everything is trained, from nothing; an hour and a quarter on two CPU cores (launch/local.sh).
sd2: the whole ControlNet and the UNet's image attentions; --config.weights holds SD-2 base and the prompt
extractor. Published: AdamW 5e-5, 8 GPUs x 2 images x 2 micro-batches, 150,000 iterations.
"""

from configs import base

SIZES = {
    'sd2': {
        'steps': 150_000,
        'batch_size': 32,
        'ema': 0.0,
        'ema_warmup': False,
        'optimizer': {'learning_rate': 5e-5, 'final_learning_rate': 5e-5},
    },
    'nano': {
        'steps': 6000,
        'batch_size': 8,
        'ema': 0.998,
        'checkpoint_every': 500,
        'data': {'hr_size': 128, 'threads': 1, 'captions': 'record', 'degraded_target': 0.1, 'degradation': 'mild'},
        'optimizer': {
            'learning_rate': 1e-3,
            'final_learning_rate': 2e-5,
            'warmup': 100,
            'beta2': 0.99,
            'weight_decay': 1e-4,
        },
        'objective': {'trainable': 'all', 'late_timesteps': 0.3},
    },
}


def get_config(size: str = 'sd2'):
    return base.get_config('seesr', SIZES, size)
