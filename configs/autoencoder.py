"""Stage 2, the autoencoder.

    python -m addsr_jax.train --config configs/autoencoder.py:nano --workdir runs/autoencoder \\
        --config.weights=runs/dape/final --config.data.path=PHOTOS

nano: factor 4, four latent channels; 14 minutes on two CPU cores (launch/local.sh).
sd2: fine-tunes the published autoencoder that --config.weights holds (rarely wanted).
"""

from configs import base

SIZES = {
    'sd2': {
        'ema': 0.999,
        'data': {'null_text': 1.0},
        'optimizer': {'learning_rate': 1e-5, 'final_learning_rate': 1e-6, 'warmup': 100},
    },
    'nano': {
        'steps': 3000,
        'batch_size': 8,
        'ema': 0.99,
        'checkpoint_every': 400,
        'data': {'hr_size': 80, 'null_text': 1.0, 'threads': 1, 'degradation': 'mild'},
        'optimizer': {
            'learning_rate': 7e-4,  # without norms a higher rate only makes noise
            'final_learning_rate': 1e-5,
            'warmup': 100,
            'beta2': 0.99,
            'weight_decay': 0.0,
        },
        'objective': {'perceptual': 0.01, 'perceptual_stages': 1},
    },
}


def get_config(size: str = 'sd2'):
    return base.get_config('autoencoder', SIZES, size)
