"""A fixed batch of held-out pairs for evaluation during training: the same pixels at every step and every start."""

import numpy as np

from addsr_jax.data.batches import (
    Tokenizer,
    degrade_image,
    enlarged,
    pictures_of,
    random_crop,
    random_pair,
    to_signed,
)
from addsr_jax.data.resize import resize
from addsr_jax.data.sources import Source
from addsr_jax.errors import UserError


def held_out_batch(
    source: Source, count: int, size: int, degradation: str, caption: str, tokenizer: Tokenizer
) -> dict[str, np.ndarray]:
    """{'hr', 'lq' [count, size, size, 3] in [-1, 1], 'tokens'}: crop i of photograph i, by seed i.

    Of pairs the low-quality picture is their own, and nothing is degraded.
    """
    pairs = []
    for i in range(count):
        try:
            found = pictures_of(source[i % len(source)])
        except UserError as error:
            raise UserError(f'{error}: mend --config.evaluation.path') from error
        rng = np.random.default_rng(i)
        if 'lq' in found:
            hr, small = random_pair(found['image'], found['lq'], size, rng)
            lq = enlarged(np.ascontiguousarray(small, np.float32) / 255)
        else:
            hr = np.ascontiguousarray(random_crop(found['image'], size, rng))
            small = degrade_image(hr, i, degradation).astype(np.float32) / 255
            lq = np.clip(resize(small, hr.shape[:2], 'bicubic'), 0, 1)
        pairs.append((to_signed(hr.astype(np.float32) / 255), to_signed(lq)))
    hr, lq = (np.stack(side) for side in zip(*pairs, strict=True))
    return {'hr': hr, 'lq': lq, 'tokens': tokenizer([caption] * count)}
