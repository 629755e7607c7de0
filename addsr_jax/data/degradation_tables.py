"""The numbers of the degradation, by the names that a config gives: what is drawn, and how often."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class StageTable:
    """One stage's numbers (make_paired_data.py; `mild`: params_realesrgan.yml)."""

    blur: float  # probability
    sinc: float
    sigma: tuple[float, float]
    up_down_keep: tuple[float, float, float]
    factor: tuple[float, float]
    gaussian: float  # probability of Gaussian noise, else Poisson
    sigma_noise: tuple[float, float]  # in 1 / 255
    poisson_scale: tuple[float, float]
    grey: float
    quality: tuple[float, float]


@dataclass(frozen=True)
class Table:
    stages: tuple[StageTable, StageTable]
    final_sinc: float
    sharpen: bool  # the target is the sharpened photograph
    otherwise: 'Table | None' = None  # what `share` of the pictures are degraded by instead
    share: float = 0.0


def _stage(blur, sigma, up_down_keep, factor, sigma_noise, poisson_scale, quality) -> StageTable:
    return StageTable(blur, 0.1, sigma, up_down_keep, factor, 0.5, sigma_noise, poisson_scale, 0.4, quality)


_FIRST, _SECOND = (0.2, 0.7, 0.1), (0.3, 0.4, 0.3)
TABLES = {
    'standard': Table(
        (
            _stage(1.0, (0.2, 3), _FIRST, (0.15, 1.5), (1, 30), (0.05, 3.0), (30, 95)),
            _stage(0.8, (0.2, 1.5), _SECOND, (0.3, 1.2), (1, 25), (0.05, 2.5), (30, 95)),
        ),
        final_sinc=0.8,
        sharpen=True,
    ),
    'mild': Table(
        (
            _stage(1.0, (0.2, 3), _FIRST, (0.3, 1.5), (1, 15), (0.05, 2.0), (60, 95)),
            _stage(0.5, (0.2, 1.5), _SECOND, (0.6, 1.2), (1, 12), (0.05, 1.0), (60, 100)),
        ),
        final_sinc=0.8,
        sharpen=False,
    ),
}
# A camera at another focal length: blurred and reduced, hardly any noise, compressed well if at all.
_CAMERA = Table(
    (
        _stage(1.0, (0.5, 3), (0.0, 0.6, 0.4), (0.4, 1.0), (0, 3), (0.0, 0.3), (90, 100)),
        _stage(0.2, (0.2, 0.8), (0.0, 0.3, 0.7), (0.8, 1.0), (0, 3), (0.0, 0.3), (90, 100)),
    ),
    final_sinc=0.3,
    sharpen=False,
)
TABLES['camera'] = replace(_CAMERA, otherwise=TABLES['mild'], share=0.35)
# From a good camera to an old scan, for a small model that is one for all.
TABLES['wide'] = Table(TABLES['standard'].stages, final_sinc=0.8, sharpen=False, otherwise=TABLES['mild'], share=0.6)
