"""Stage 1, the degradation-aware prompt extractor.

    python -m addsr_jax.train --config configs/dape.py:nano --workdir runs/dape --config.data.path=PHOTOS

nano: trained whole, from nothing, on statistics of the clean picture. Nine minutes on two CPU cores.
sd2: low-rank adaptation of RAM (--config.weights holds it): tokens and tags of the degraded picture against
those of the clean one. Learning rate and steps are those of SeeSR's dape.yaml (AdamW 1e-4, halved twice).
"""

from configs import base


def get_config(size: str = 'sd2'):
    config = base.get_config('dape', size)
    config.steps = 300_000
    config.data.null_text = 1.0
    config.eval_every = 0
    config.preview_every = 0
    config.optimizer.update({'learning_rate': 1e-4, 'final_learning_rate': 2.5e-5, 'warmup': 50, 'weight_decay': 0.0})
    config.objective.update({'targets': 'clean_tokens', 'trainable': 'lora', 'token_weight': 1.0, 'tag_weight': 1.0})
    if size == 'nano':
        config.update({'steps': 1200, 'batch_size': 16, 'ema': 0.995})
        config.data.update({'hr_size': 128, 'threads': 1, 'degradation': 'mild'})
        config.optimizer.update({'learning_rate': 1e-3, 'final_learning_rate': 1e-5, 'warmup': 100})
        config.objective.update({'targets': 'statistics', 'trainable': 'all'})
    return base.lock(config)
