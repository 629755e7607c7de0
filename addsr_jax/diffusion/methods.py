"""The ways to restore a picture, as values: AddSR's few steps of the student and SeeSR's many of the teacher.

Nothing here needs jax, so that settings and help texts are quick.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field


def student_timesteps(count: int, steps: int = 1000) -> tuple[int, ...]:
    """The student's chain of `count` steps ("trailing": 4 gives 999, 749, 499, 249).

    Fewer than four steps stop early on the chain of four, as AddSR's author recommends (issue 18).
    """
    if count < 1:
        raise ValueError(f'steps must be at least 1, not {count}')
    spacing = steps / max(count, 4)
    return tuple(round(steps - i * spacing) - 1 for i in range(count))


def teacher_timesteps(count: int, steps: int = 1000) -> tuple[int, ...]:
    """SeeSR's grid ("leading", offset 1): 50 gives 981, 961, ..., 1."""
    if not 1 <= count <= steps:
        raise ValueError(f'steps must lie in 1..{steps}, not {count}')
    return tuple(i * (steps // count) + 1 for i in reversed(range(count)))


@dataclass(frozen=True)
class Method:
    """What tells one method from another; nothing else asks for its name."""

    name: str
    part: str  # of the parameters: whose UNet and ControlNet
    steps: int | None  # where the user names none; None: as the model says (`ViewSpec.student_steps`)
    # (steps, training steps) -> falling; `repr` is the same in every process
    timesteps: Callable[[int, int], tuple[int, ...]] = field(repr=False)
    extra_noise: int  # noise fields beside one a step
    refines: bool  # prediction-based self-refinement, else ancestral steps: which sampler it is
    guided: bool  # classifier-free guidance at the model's own scale where the user says nothing
    added_prompt: str  # field of PromptSpec with the words that are added to the user's

    def noise_fields(self, steps: int) -> int:
        """How many noise fields [B, h, w, C] the sampler takes: posterior of E(lq), start, and those of later steps."""
        return steps + self.extra_noise


METHODS = {
    method.name: method
    for method in (
        Method(
            name='addsr',
            part='student',
            steps=None,
            timesteps=student_timesteps,
            extra_noise=1,
            refines=True,
            guided=False,
            added_prompt='student_added',
        ),
        Method(
            name='seesr',
            part='teacher',
            steps=50,
            timesteps=teacher_timesteps,
            extra_noise=2,
            refines=False,
            guided=True,
            added_prompt='teacher_added',
        ),
    )
}
STUDENT = METHODS['addsr']
TEACHER = METHODS['seesr']


@dataclass(frozen=True)
class Spelled:
    """A method as evaluations name it: METHOD[-STEPS[x2]][@PSR_WEIGHT], x2 for antithetic steps."""

    method: Method
    steps: int | None
    antithetic: bool
    psr_weight: float | None

    @property
    def without_weight(self) -> str:
        """The text as far as the weight."""
        steps = '' if self.steps is None else f'-{self.steps}'
        return f'{self.method.name}{steps}{"x2" if self.antithetic else ""}'


def spelled(text: str) -> Spelled:
    """'addsr-4x2@0.8' taken apart; ValueError where it is no such text. Only a method that refines has x2 and @."""
    match = re.fullmatch(r'([a-z]+)(?:-([0-9]+)(x2)?)?(?:@([0-9.]+))?', text.strip())
    method = METHODS.get(match[1]) if match else None
    if match is None or method is None or ((match[3] or match[4]) and not method.refines):
        raise ValueError(f'{text!r} is no METHOD-STEPS[x2][@WEIGHT]')
    steps, weight = match[2], match[4]
    return Spelled(method, int(steps) if steps else None, bool(match[3]), float(weight) if weight else None)
