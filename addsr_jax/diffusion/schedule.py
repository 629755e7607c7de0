"""The noise schedule of SD-2 as arrays and functions (Ho et al. 2020; reference: scheduling_ddpm.py).

abar_t is the cumulative product of 1 - beta_t; z_t = sqrt(abar_t) z_0 + sqrt(1 - abar_t) noise.
"""

import jax
import jax.numpy as jnp
import numpy as np

from addsr_jax.specs import ScheduleSpec


def alphas_cumprod(spec: ScheduleSpec) -> np.ndarray:
    """abar [steps] float32; beta is linear in its square root ("scaled linear")."""
    root = np.linspace(np.float32(spec.beta_start**0.5), np.float32(spec.beta_end**0.5), spec.steps, dtype=np.float32)
    return np.cumprod(np.float32(1) - root**2, dtype=np.float32)


def coefficients(abar: np.ndarray, timesteps: jax.Array, ndim: int) -> tuple[jax.Array, jax.Array]:
    """(sqrt abar_t, sqrt(1 - abar_t)) of timesteps [B], with axes to multiply arrays of rank `ndim`."""
    a = jnp.asarray(abar)[timesteps].reshape(-1, *(1,) * (ndim - 1))
    return jnp.sqrt(a), jnp.sqrt(1 - a)


def add_noise(abar: np.ndarray, z0: jax.Array, noise: jax.Array, timesteps: jax.Array) -> jax.Array:
    """z_t of z0 [B, h, w, C] at timesteps [B]."""
    signal, sigma = coefficients(abar, timesteps, z0.ndim)
    return signal * z0 + sigma * noise


def predict_z0(
    abar: np.ndarray, prediction: str, output: jax.Array, latents: jax.Array, timesteps: jax.Array
) -> jax.Array:
    """z0 from a network's output: 'epsilon' (z - sigma e) / signal, 'v' signal z - sigma v (Salimans & Ho 2022).

    output and latents [B, h, w, C], timesteps [B] -> [B, h, w, C].
    """
    signal, sigma = coefficients(abar, timesteps, latents.ndim)
    if prediction == 'epsilon':
        return (latents - sigma * output) / signal
    if prediction == 'v':
        return signal * latents - sigma * output
    raise ValueError(f"prediction is 'epsilon' or 'v', not {prediction!r}")


def training_target(
    abar: np.ndarray, prediction: str, z0: jax.Array, noise: jax.Array, timesteps: jax.Array
) -> jax.Array:
    """What a network of that parameterisation should answer at z_t: z0 and noise [B, h, w, C] -> [B, h, w, C]."""
    signal, sigma = coefficients(abar, timesteps, z0.ndim)
    if prediction == 'epsilon':
        return noise
    if prediction == 'v':
        return signal * noise - sigma * z0
    raise ValueError(f"prediction is 'epsilon' or 'v', not {prediction!r}")


def ddpm_coefficients(abar: np.ndarray, timesteps: tuple[int, ...], count: int) -> np.ndarray:
    """[N, 3] float32: weights of z0 and of z_t in the posterior mean, and its standard deviation.

    Ancestral step from t to t - steps // count (Ho et al. 2020, eq. 6 and 7, variance "fixed small").
    """
    t = np.asarray(timesteps)
    previous = t - len(abar) // count
    a = abar[t].astype(np.float32)
    a_previous = np.where(previous >= 0, abar[np.maximum(previous, 0)], np.float32(1)).astype(np.float32)
    alpha = a / a_previous
    beta = 1 - alpha
    to_z0 = np.sqrt(a_previous) * beta / (1 - a)
    to_zt = np.sqrt(alpha) * (1 - a_previous) / (1 - a)
    variance = np.maximum((1 - a_previous) / (1 - a) * beta, np.float32(1e-20))
    deviation = np.where(t > 0, np.sqrt(variance), 0)
    return np.stack([to_z0, to_zt, deviation], axis=1).astype(np.float32)
