"""What all stages share; each stage's file writes only its differences."""

from typing import Any

from ml_collections import ConfigDict


def get_config(stage: str, size: str) -> Any:
    """Unlocked: the stage's file changes it and locks it."""
    return ConfigDict(
        {
            'stage': stage,
            'size': size,  # 'sd2' or 'nano', a key of addsr_jax.specs.MODELS
            'seed': 0,  # root of all random numbers
            'steps': 50_000,  # updates
            'batch_size': 16,  # images an update, over all devices
            'accumulate': 1,  # micro-batches an update is split into
            'checkpoint_every': 1000,
            'keep': 2,  # newest checkpoints that stay, beside the best
            'eval_every': 1000,  # 0: never
            'log_every': 50,
            'preview_every': 1000,  # image grids for TensorBoard; 0: never
            'mesh': 'data:-1',  # axis:devices; -1 takes all that are there
            'weights': '',  # 'nano', or the folder of a bundle or of an earlier stage's final/
            'dtype': 'auto',  # bfloat16 compute on accelerators, float32 on CPU
            'ema': 0.99,
            'data': {
                'source': 'folder',  # 'folder', 'tfds' or 'sample_photos'
                'path': '',
                'hr_size': 512,  # pixels; the low-quality image has a quarter
                'null_text': 0.5,  # probability of an empty caption
                'captions': 'sidecar',  # 'sidecar' files beside the photos, or 'record': words made from the record
                'degraded_target': 0.0,  # probability that the target is degraded and its caption says how
                'degradation': 'standard',  # or 'mild'
                'threads': 8,
                'workers': 0,  # processes; the batches are the same for any number
            },
            'evaluation': {
                'path': '',  # folder of held-out photographs; '' are the sample photos that training never sees
                'images': 8,
            },
            'optimizer': optimizer(2e-5),
            'discriminator_optimizer': optimizer(2e-5),
            'profile': {'start': 10, 'steps': 0},  # steps 0: no profile
            'objective': {},
        }
    )


def optimizer(learning_rate: float) -> ConfigDict:
    """AdamW with warm-up and cosine decay; clip 0 does not clip."""
    return ConfigDict(
        {
            'learning_rate': learning_rate,
            'final_learning_rate': learning_rate,
            'warmup': 0,
            'beta1': 0.9,
            'beta2': 0.999,
            'epsilon': 1e-8,
            'weight_decay': 1e-2,
            'clip': 1.0,
        }
    )


def lock(config: Any) -> Any:
    """No key can be added from here on."""
    config.lock()
    return config
