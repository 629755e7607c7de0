"""Pictures as Python holds them: a path, Pillow's, an array of numpy or jax. What comes back is of the same kind."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from addsr_jax import places
from addsr_jax.data import pictures
from addsr_jax.data.pictures import Picture
from addsr_jax.errors import PictureError
from addsr_jax.restoration import results
from addsr_jax.restoration.settings import Settings
from addsr_jax.restoration.views import sized

WHITE = 65535  # floats are restored as whole numbers of 16 bits


@dataclass(frozen=True)
class Taken:
    """What was given: its pictures, all of one size, and the way back from their results."""

    pictures: Sequence[Picture]
    name: str
    back: Callable[[list[np.ndarray]], Any]  # of results [H, W, 3], each of the type of its picture's pixels


def taken(image: Any, settings: Settings) -> Taken:
    """Of any kind that `Pipeline.upscale` takes, cut as the settings ask; a PictureError says what else it is."""
    if isinstance(image, str | os.PathLike):
        path = places.place(image)
        return _of_picture(pictures.open_picture(path), settings, path.name)
    if isinstance(image, Image.Image):
        return _of_picture(pictures.of_pillow(image), settings, '')
    if isinstance(image, jax.Array):
        inner = _of_array(np.asarray(image), settings)
        return Taken(inner.pictures, '', lambda restored: jnp.asarray(inner.back(restored)))
    if isinstance(image, np.ndarray):
        return _of_array(image, settings)
    raise PictureError(f'a picture is a path, an image of Pillow, or an array, not {type(image).__name__}')


def _of_picture(picture: Picture, settings: Settings, name: str) -> Taken:
    picture = picture.part(*settings.part(*picture.size))
    return Taken([picture], name, lambda restored: results.pillow(picture, restored[0]))


def _of_array(array: np.ndarray, settings: Settings) -> Taken:
    """[H, W], [H, W, 1], [H, W, 3], [H, W, 4], or a batch [B, H, W, 1, 3 or 4]."""
    if array.ndim not in (2, 3, 4) or (array.ndim > 2 and array.shape[-1] not in (1, 3, 4)) or not array.size:
        raise PictureError(f'an image is [H, W], or [H, W, C] or [B, H, W, C] of 1, 3 or 4 channels, not {array.shape}')
    whole = array.reshape(-1, *array.shape[-3:]) if array.ndim > 2 else array[None, ..., None]  # [B, H, W, C]
    part = settings.part(whole.shape[2], whole.shape[1])
    found = [_picture(_whole_numbers(one)).part(*part) for one in whole]

    def back(restored: list[np.ndarray]) -> np.ndarray:
        done = np.stack(
            [_channels(picture, rgb, whole.shape[-1]) for picture, rgb in zip(found, restored, strict=True)]
        )
        if jnp.issubdtype(array.dtype, jnp.floating):
            done = (done / np.float32(WHITE)).astype(array.dtype)
        return done[0, ..., 0] if array.ndim == 2 else done[0] if array.ndim == 3 else done

    return Taken(found, '', back)


def _whole_numbers(array: np.ndarray) -> np.ndarray:
    """uint8 and uint16 as they are, floats in 0..1 as uint16."""
    if array.dtype in (np.uint8, np.uint16):
        return array
    if not jnp.issubdtype(array.dtype, jnp.floating):  # bfloat16 among them, which is of no kind of numpy's
        raise PictureError(f'an image is of uint8, uint16 or floats in 0..1, not of {array.dtype}')
    values = array.astype(np.float32)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise PictureError(f'floats of an image lie in 0..1, not in {values.min():g}..{values.max():g}')
    return np.rint(values * WHITE).astype(np.uint16)


def _picture(array: np.ndarray) -> Picture:
    """uint8 or uint16 [H, W, C]."""
    grey = array.shape[-1] == 1
    rgb = array.repeat(3, axis=-1) if grey else array[..., :3]
    return Picture(np.ascontiguousarray(rgb), array[..., 3] if array.shape[-1] == 4 else None, grey)


def _channels(picture: Picture, rgb: np.ndarray, channels: int) -> np.ndarray:
    """[H, W, 3] -> [H, W, channels]: grey is the mean, alpha is enlarged."""
    if channels == 1:
        return np.rint(rgb.mean(-1, keepdims=True, dtype=np.float32)).astype(rgb.dtype)
    if picture.alpha is None:
        return rgb
    return np.dstack([rgb, sized(picture.alpha, rgb.shape[1], rgb.shape[0])])
