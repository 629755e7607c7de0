"""The fidelity dial: one number instead of steps, PSR weight, colour fix and antithetic noise.

It follows what was measured on one model (docs/nano.md): each entry is nearer to the photograph (PSNR, SSIM) than the
one before it, and draws less of its own. The colour fix is the same everywhere.
"""

from dataclasses import dataclass, replace

MEASURED_ON = 'nano'  # what `--weights` calls the model


@dataclass(frozen=True)
class Choice:
    """What the student's sampler and the colour fix are told."""

    steps: int | None  # None: the method's or the model's own
    psr_weight: float
    color: str | None  # None: the model's own
    antithetic: bool = False


DIAL = (
    (0.0, Choice(8, 1.0, 'wavelet')),
    (0.3, Choice(4, 1.0, 'wavelet')),
    (0.6, Choice(1, 0.4, 'wavelet')),  # what the embedded model does by itself
    (0.8, Choice(1, 0.4, 'wavelet', antithetic=True)),
    (1.0, Choice(2, 0.0, 'wavelet', antithetic=True)),
)


def choice(fidelity: float) -> Choice:
    """The setting at 0 (more detail) .. 1 (less invention): PSR weights between entries of as many steps, else the
    nearest entry."""
    after = next(i for i, (at, _) in enumerate(DIAL) if fidelity <= at)
    if after == 0:
        return DIAL[0][1]
    (low, before), (high, behind) = DIAL[after - 1], DIAL[after]
    share = (fidelity - low) / (high - low)
    if replace(before, psr_weight=behind.psr_weight) != behind:
        return before if share < 0.5 else behind
    return replace(before, psr_weight=before.psr_weight + share * (behind.psr_weight - before.psr_weight))


def elsewhere(weights: str) -> str:
    """What somebody has to know who turns the dial of another model."""
    names = [f'addsr-{c.steps}{"x2" if c.antithetic else ""}@{c.psr_weight:g}' for _, c in DIAL]
    return (
        f'--fidelity was measured on {MEASURED_ON}, not on {weights}: `addsr evaluate --weights {weights} '
        f'--lq LQ --hr HR --methods {",".join(names)}` measures its marks there'
    )
