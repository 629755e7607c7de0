"""Stage 1, the degradation-aware prompt extractor.

    python -m addsr_jax.train --config configs/dape.py:nano --workdir runs/dape --config.data.path=PHOTOS

nano: trained whole, from nothing, on statistics of the clean picture. Nine minutes on two CPU cores.
sd2: low-rank adaptation of RAM (--config.weights holds it): tokens and tags of the degraded picture against
those of the clean one. As SeeSR's dape.yaml and its networks have it: AdamW 1e-4, halved after 20,000 and 30,000
updates, no average, whole photographs in a square, drop-path and dropout of 0.1 in the network that learns.
"""

from configs import base

SIZES = {
    'sd2': {
        'steps': 300_000,
        'eval_every': 0,
        'preview_every': 0,
        'data': {'null_text': 1.0, 'frame': 'whole'},
        'ema': 0.0,
        'ema_warmup': False,
        'optimizer': {
            'learning_rate': 1e-4,
            'final_learning_rate': 1e-4,
            'halve_at': (20_000, 30_000),
            'warmup': 50,
            'weight_decay': 0.0,
            'clip': 0.0,
        },
    },
    'nano': {
        'steps': 1200,
        'ema': 0.995,
        'eval_every': 0,
        'preview_every': 0,
        'data': {'hr_size': 128, 'null_text': 1.0, 'threads': 1, 'degradation': 'mild'},
        'optimizer': {'learning_rate': 1e-3, 'final_learning_rate': 1e-5, 'warmup': 100, 'weight_decay': 0.0},
        'objective': {'targets': 'statistics', 'trainable': 'all', 'interpolation': 'bicubic', 'dropout': 0.0},
    },
}


def get_config(size: str = 'sd2'):
    return base.get_config('dape', SIZES, size)
