"""Stage 2, the autoencoder.

    python -m addsr_jax.train --config configs/autoencoder.py:nano --workdir runs/autoencoder \\
        --config.weights=runs/dape/final --config.data.path=PHOTOS

nano: factor 4, four latent channels; 14 minutes on two CPU cores (launch/local.sh).
sd2: fine-tunes the published autoencoder that --config.weights holds (rarely wanted).
"""

from configs import base


def get_config(size: str = 'sd2'):
    config = base.get_config('autoencoder', size)
    config.ema = 0.999
    config.data.null_text = 1.0
    config.optimizer.update({'learning_rate': 1e-5, 'final_learning_rate': 1e-6, 'warmup': 100})
    config.objective.update({'perceptual': 0.1, 'kl': 1e-6, 'perceptual_stages': 2})
    if size == 'nano':
        config.update({'steps': 2400, 'batch_size': 10, 'ema': 0.99, 'checkpoint_every': 400})
        config.data.update({'hr_size': 80, 'threads': 1, 'degradation': 'mild'})
        # without norms a higher rate only makes noise
        config.optimizer.update(
            {'learning_rate': 7e-4, 'final_learning_rate': 1e-5, 'beta2': 0.99, 'weight_decay': 0.0}
        )
        config.objective.update({'kl': 1e-6, 'perceptual': 0.01, 'perceptual_stages': 1})
    return base.lock(config)
