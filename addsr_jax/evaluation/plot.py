"""The perception-distortion plane: PSNR to the right and LPIPS or NIQE downwards are better, one line for each way to
move."""

from collections.abc import Mapping
from pathlib import Path

from addsr_jax import atomic
from addsr_jax.diffusion.methods import spelled
from addsr_jax.evaluation.ablation import Figures, number
from addsr_jax.evaluation.figures import FIGURES


def perception_distortion(
    path: Path, curve: Mapping[str, Figures], others: Mapping[str, Figures], psr_weight: float, perception: str
) -> None:
    """A PNG. Methods of `curve`, 'addsr-STEPS[x2][@WEIGHT]', are joined by their steps.

    `others` are points of their own; `psr_weight` is the weight of methods that name none. perception: a figure of
    which less is better: 'lpips', 'dists', 'niqe'.
    """
    from matplotlib.figure import Figure  # draws without a display; nothing else here needs it

    below = f'{FIGURES[perception].label} (better below)'
    figure = Figure(figsize=(7.5, 5), dpi=110, layout='constrained')
    axes = figure.add_subplot(xlabel='PSNR on luma, dB (more faithful to the right)', ylabel=below)
    axes.margins(0.12)  # names stand beside their points
    groups: dict[str, list[tuple[float, float, float]]] = {}
    for method, figures in curve.items():
        name = spelled(method)
        weight = psr_weight if name.psr_weight is None else name.psr_weight
        groups.setdefault(name.without_weight, []).append((weight, *point(figures, perception)))
    for steps, points in groups.items():
        points.sort()
        axes.plot([p for _, p, _ in points], [n for _, _, n in points], 'o-', label=steps)
        for weight, psnr, seen in points:
            if len(points) > 1:
                axes.annotate(f'{weight:g}', (psnr, seen), textcoords='offset points', xytext=(5, 4), fontsize=8)
    for name, figures in others.items():
        place = point(figures, perception)
        axes.plot(*place, 'x', color='black')
        axes.annotate(name, place, textcoords='offset points', xytext=(6, -3), fontsize=9)
    axes.legend(title='small numbers: PSR weight', fontsize=8)
    atomic.write(path, lambda temporary: figure.savefig(temporary, format='png'))


def point(figures: Figures, perception: str) -> tuple[float, float]:
    return number(figures['psnr']), number(figures[perception])
