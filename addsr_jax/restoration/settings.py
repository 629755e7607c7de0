"""How to upscale one picture: the options of `upscale`, checked."""

from dataclasses import dataclass

from addsr_jax.diffusion.windows import Windows
from addsr_jax.errors import UserError
from addsr_jax.restoration.fidelity import Choice, choice
from addsr_jax.restoration.finish import COLORS

STEPS = {'addsr': 4, 'seesr': 50}
START_POINTS = ('lr', 'noise')
RANGES = {
    'fidelity': (0, 1),
    'steps': (1, 1000),
    'psr_weight': (0, 1),
    'scale': (1, 8),
    'start_timestep': (1, 999),
    'grain': (0, 20),
}
PSR_WEIGHT = 0.4


@dataclass(frozen=True)
class Settings:
    """None takes the method's own value: 4 or 50 steps, no guidance or the model's, its colour fix and grain."""

    method: str = 'addsr'  # 'addsr', the student; 'seesr', the teacher
    fidelity: float | None = None  # addsr: 0, more detail, to 1, less invention; chooses the next four
    steps: int | None = None
    psr_weight: float | None = None  # addsr: how much of the last prediction conditions the next step; 0.4
    color: str | None = None  # 'guided', 'wavelet', 'adain' or 'none'
    antithetic: bool = False  # addsr: every step the mean of two, of opposite noise; calm flat areas
    grain: float | None = None  # levels of 255: luma that varies by less is smoothed; 0: nothing is
    scale: int = 4
    start_point: str = 'lr'  # or 'noise': where the first step begins
    start_timestep: int | None = None  # seesr: how far the small picture is noised, 999; lower keeps more of it
    guidance_scale: float | None = None  # 1: one evaluation a step, no guidance
    prompt: str = ''
    tags: str = ''  # what the prompt extractor's tagging head says of the picture (`Pipeline.tags`)
    negative_prompt: str | None = None
    tile: int = 512  # output pixels; 0: the whole picture at once, a program for every size
    latent_tile: int = 0  # with tile 0: side of windows that denoise the picture together, in latents; 0: none
    latent_overlap: int = 4  # latents that neighbouring windows share
    encoder_tile: int = 0  # with tile 0: side of the encoder's tiles, in pixels; 0: whole
    decoder_tile: int = 0  # with tile 0: side of the decoder's tiles, in latents; 0: whole
    seed: int = 0
    batch: int = 1  # tiles in one call

    def __post_init__(self):
        for name, known in (('method', STEPS), ('color', COLORS), ('start_point', START_POINTS)):
            value = getattr(self, name)
            if value not in known and not (name == 'color' and value is None):
                raise UserError(f'{name} is {value!r}: choose one of {", ".join(known)}')
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise UserError(f'{name} is {value}: it lies in {low}..{high}')
        if self.tile and (self.tile % 64 or self.tile < 192):
            raise UserError(f'tile is {self.tile}: it is a multiple of 64, at least 192, or 0 for the whole picture')
        if self.batch < 1:
            raise UserError(f'batch is {self.batch}: it is at least 1')
        if self.start_timestep is not None and (self.method, self.start_point) != ('seesr', 'lr'):
            raise UserError('start_timestep is of method seesr, beginning at the small picture')
        if self.antithetic and self.method != 'addsr':
            raise UserError('antithetic is of the student: use it with method addsr')
        self._check_windows()
        self._check_fidelity()

    def _check_windows(self) -> None:
        for name, least in (('latent_tile', 8), ('encoder_tile', 32), ('decoder_tile', 8)):
            value = getattr(self, name)
            if value and self.tile:
                raise UserError(f'{name} is of pictures that are restored whole: set tile to 0 with it')
            if value < 0 or value % least:
                raise UserError(f'{name} is {value}: it is a multiple of {least}, or 0')
        if self.latent_tile and not 0 <= self.latent_overlap < self.latent_tile:
            raise UserError(f'latent_overlap is {self.latent_overlap}: it is less than latent_tile, {self.latent_tile}')

    def _check_fidelity(self) -> None:
        if self.fidelity is None:
            return
        if self.method != 'addsr':
            raise UserError('fidelity is a dial of the student: use it with method addsr')
        given = [name for name in ('steps', 'psr_weight', 'color') if getattr(self, name) is not None]
        given += ['antithetic'] if self.antithetic else []
        if given:
            raise UserError(f'fidelity chooses {", ".join(given)}: give one or the other')

    @property
    def chosen(self) -> Choice:
        """Steps, PSR weight, colour fix and antithetic noise: the user's, the dial's, or the method's."""
        if self.fidelity is not None:
            return choice(self.fidelity)
        weight = PSR_WEIGHT if self.psr_weight is None else self.psr_weight
        return Choice(self.steps or STEPS[self.method], weight, self.color, self.antithetic)

    @property
    def windows(self) -> Windows:
        return Windows(self.latent_tile, self.latent_overlap, self.encoder_tile, self.decoder_tile)
