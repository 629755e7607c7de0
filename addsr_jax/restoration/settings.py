"""How to upscale one picture: every setting of `upscale`, declared once. Nothing here needs jax."""

import math
from dataclasses import dataclass, replace
from typing import Any

from addsr_jax.diffusion.methods import METHODS, STUDENT, Method, spelled
from addsr_jax.errors import UserError
from addsr_jax.options import Options, declared, describe, option
from addsr_jax.restoration.fidelity import Choice, choice
from addsr_jax.specs import COLORS, MOST_ALONG

OWN = "the model's own"
SCALE, LONGEST = 4, 2**20  # enlargement; pixels of a result's side
ENCODER_TILE, DECODER_TILE, LATENT_TILE = 512, 64, 64  # pixels; latents: of a whole picture where memory is short
LATENT_OVERLAP = 4  # latents
SMALLEST = 8  # pixels of a picture's side; one of less is mirrored
SMALLEST_TILE = 192  # output pixels: neighbours share 48 on either side
INSIDE, CROP, STRETCH = 'inside', 'crop', 'stretch'  # how a picture meets a width and a height
PSR_WEIGHT = 0.4
FREE = 10  # the overshoot that has no bound
BICUBIC = 'bicubic'  # what evaluations compare with: no method, and no settings
RESULT, SAMPLING, FINISH, WORDS, LARGE = (
    'size and files of results',
    'sampling',
    'colours and grain',
    'words',
    'large pictures and memory',
)


def _levels(text: str) -> Any:
    """An option of the finish that counts in levels of a byte, and is the model's own where nobody says it."""
    return option(text, default=None, unset=OWN, low=0, high=20, unit='levels of 255', group=FINISH)


@dataclass(frozen=True, kw_only=True)
class Settings(Options):
    """None takes the method's or the model's own value."""

    fidelity: float | None = option(
        'from 0, more detail, to 1, less invention; in place of steps, psr_weight, color and antithetic',
        default=None,
        low=0,
        high=1,
    )
    scale: float | None = option(
        'enlargement', default=None, unset=f'{SCALE}, or what another size asks for', low=1, high=16
    )
    width: int | None = option(
        'of the result, aspect kept; with height: as fit says',
        default=None,
        low=1,
        high=LONGEST,
        unit='pixels',
        unset='',
        group=RESULT,
    )
    height: int | None = option(
        'the same of its height', default=None, low=1, high=LONGEST, unit='pixels', unset='', group=RESULT
    )
    fit: str = option(
        'with width and height: the largest that fits into both, what covers both and is cut on two sides, or both as '
        'they are',
        default=INSIDE,
        choices=(INSIDE, CROP, STRETCH),
        group=RESULT,
    )
    megapixels: float | None = option(
        'of the result, aspect kept',
        default=None,
        low=0.0001,
        high=100_000,
        unit='millions of pixels',
        unset='',
        group=RESULT,
    )
    max_side: int | None = option(
        "the most that the result's longer side may have",
        default=None,
        low=1,
        high=LONGEST,
        unit='pixels',
        unset='',
        group=RESULT,
    )
    method: str = option(
        'student, or its many-step teacher', default=STUDENT.name, choices=tuple(METHODS), group=SAMPLING
    )
    steps: int | None = option(
        'how often the network is asked',
        default=None,
        unset=', '.join(f'{m.steps or OWN} for {m.name}' for m in METHODS.values()),
        low=1,
        high=1000,
        group=SAMPLING,
    )
    psr_weight: float | None = option(
        'student: share of the last prediction in the next condition',
        default=None,
        unset=f'{PSR_WEIGHT}',
        low=0,
        high=1,
        group=SAMPLING,
    )
    antithetic: bool = option(
        'student: every step is the mean of two, of opposite noise: calm flat areas, less fine texture',
        default=False,
        group=SAMPLING,
    )
    tiny_decoder: str = option(
        'what the small decoder of the weights draws, where they hold one: the pictures before the last step, or all; '
        'quicker at Stable Diffusion size, and less exact',
        default='none',
        choices=('none', 'steps', 'all'),
        group=SAMPLING,
    )
    int8: bool = option(
        'UNet and ControlNet multiply numbers of eight bits, which accelerators do faster and CPUs slower; less exact; '
        "needs pip install '.[int8]'",
        default=False,
        group=SAMPLING,
    )
    tta: bool = option(
        'the mean of what becomes of a tile and of its three mirror images: calmer, four times as slow',
        default=False,
        group=SAMPLING,
    )
    guidance_scale: float | None = option(
        'classifier-free guidance; 1: off',
        default=None,
        unset="off for the student, else the model's",
        low=0,
        high=30,
        group=SAMPLING,
    )
    start_point: str = option(
        'begin at the noised small picture, or at noise', default='lr', choices=('lr', 'noise'), group=SAMPLING
    )
    start_timestep: int | None = option(
        'teacher: how far the small picture is noised; lower keeps more of it',
        default=None,
        unset='999',
        low=1,
        high=999,
        group=SAMPLING,
    )
    seed: int = option('of all random numbers', default=0, low=0, high=2**31 - 1, group=SAMPLING)
    color: str | None = option('colour fix', default=None, unset=OWN, choices=COLORS, group=FINISH)
    grain: float | None = _levels(
        'smooths luma that varies by less; 0: nothing',
    )
    overshoot: float | None = option(
        'how far the result goes beyond the range of the four nearest pixels of the picture, as a share of it; '
        f'{FREE}: as far as it likes',
        default=None,
        unset=OWN,
        low=0,
        high=FREE,
        group=FINISH,
    )
    calm: float | None = _levels(
        'where the picture varies by less, the result is the enlarged picture; 0: nowhere',
    )
    plain: float | None = _levels(
        'smooths luma that varies by less where the picture is plain: walls, skies, what is out of focus; 0: nothing',
    )
    edges: float | None = option(
        'along clear edges of the picture, the mean of what was drawn within about so far, so that rims and frames do '
        'not wobble; 0: nowhere',
        default=None,
        unset=OWN,
        low=0,
        high=MOST_ALONG,
        unit='pixels of the result',
        group=FINISH,
    )
    film_grain: float | None = _levels(
        'adds grain of that deviation, as photographs have it, but where the picture is calm; 0: none',
    )
    prompt: str = option('words about the picture', default='', blank=True, group=WORDS)
    tags: str | None = option(
        "what the prompt extractor's tagging head says of the picture; '': nothing",
        default=None,
        unset="the picture's own, where the weights have a list of tags",
        group=WORDS,
    )
    negative_prompt: str | None = option('what to stay away from', default=None, unset=OWN, blank=True, group=WORDS)
    tile: int = option(
        f'side of a tile, {SMALLEST_TILE} or more; 0: the whole picture at once',
        default=512,
        low=0,
        high=4096,
        multiple_of=64,
        unit='output pixels',
        group=LARGE,
    )
    batch: int = option('tiles in one call', default=1, low=1, high=256, group=LARGE)
    latent_tile: int = option(
        'with tile 0: side of the windows that denoise the whole picture together; 0: none while memory is enough',
        default=0,
        low=0,
        high=4096,
        multiple_of=8,
        unit='latents',
        group=LARGE,
    )
    latent_overlap: int = option(
        'with latent_tile: what neighbouring windows share',
        default=LATENT_OVERLAP,
        low=0,
        high=4096,
        unit='latents',
        group=LARGE,
    )
    encoder_tile: int = option(
        'with tile 0: side of tiles that are encoded one by one, with the same result; 0: none while memory is enough',
        default=0,
        low=0,
        high=8192,
        multiple_of=32,
        unit='pixels',
        group=LARGE,
    )
    decoder_tile: int = option(
        'with tile 0: the same of the decoder',
        default=0,
        low=0,
        high=4096,
        multiple_of=8,
        unit='latents',
        group=LARGE,
    )

    def check_together(self) -> None:
        self._check_size()
        if 0 < self.tile < SMALLEST_TILE:
            raise UserError(
                f'tile is {self.tile}: it is a multiple of 64, at least {SMALLEST_TILE}, or 0 for the whole picture'
            )
        for name in ('latent_tile', 'encoder_tile', 'decoder_tile'):
            if getattr(self, name) and self.tile:
                raise UserError(f'{name} is of pictures that are restored whole: set tile to 0 with it')
            if getattr(self, name) and self.tiny_decoder != 'none':
                raise UserError(f'the tiny decoder draws whole tiles: leave out {name}, or tiny_decoder')
        if not self.latent_tile and self.latent_overlap != LATENT_OVERLAP:
            raise UserError('latent_overlap is what windows share: set tile to 0 and latent_tile with it')
        if self.latent_tile and self.latent_overlap >= self.latent_tile:
            raise UserError(f'latent_overlap is {self.latent_overlap}: it is less than latent_tile, {self.latent_tile}')
        if self.of_method.refines:
            self._check_student()
        else:
            self._check_teacher()

    def _check_size(self) -> None:
        given = {'scale': self.scale, 'width or height': self.width or self.height, 'megapixels': self.megapixels}
        names = [name for name, value in given.items() if value is not None]
        if len(names) > 1:
            raise UserError(f'{" and ".join(names)} both say how large the result is: give one of them')
        if self.fit != INSIDE and not (self.width and self.height):
            raise UserError(f'fit {self.fit} is of a width and a height: give both')
        if self.fit != INSIDE and self.max_side:
            raise UserError(f'fit {self.fit} gives the width and the height that were asked for: leave out max_side')

    def _check_student(self) -> None:
        if self.start_timestep is not None:
            raise UserError(f'start_timestep is of the teacher, not of method {self.method}: leave it out')
        if self.fidelity is None:
            return
        given = [name for name in ('steps', 'psr_weight', 'color') if getattr(self, name) is not None]
        given += ['antithetic'] if self.antithetic else []
        if given:
            raise UserError(f'fidelity chooses {", ".join(given)}: give one or the other')

    def _check_teacher(self) -> None:
        for name, unset in (('fidelity', None), ('psr_weight', None), ('antithetic', False)):
            if getattr(self, name) != unset:
                raise UserError(f'{name} is of the student, not of method {self.method}: leave it out')
        if self.start_timestep is not None and self.start_point != 'lr':
            raise UserError('start_timestep noises the small picture: leave it out with start_point noise')

    @property
    def pieces(self) -> tuple[int, int, int, int]:
        """In which pieces the networks work on a tile: fields of LARGE."""
        return self.encoder_tile, self.decoder_tile, self.latent_tile, self.latent_overlap

    def in_pieces(self, pieces: tuple[int, int, int, int]) -> 'Settings':
        """With those of another."""
        encoder, decoder, latent, overlap = pieces
        return replace(self, encoder_tile=encoder, decoder_tile=decoder, latent_tile=latent, latent_overlap=overlap)

    def in_less_memory(self) -> 'Settings | None':
        """With tile 0: the autoencoder tile by tile, then the denoiser window by window; None: there is no less."""
        if self.tiny_decoder != 'none':
            return None
        if not (self.encoder_tile and self.decoder_tile):
            return replace(
                self,
                encoder_tile=self.encoder_tile or ENCODER_TILE,
                decoder_tile=self.decoder_tile or DECODER_TILE,
            )
        return None if self.latent_tile else replace(self, latent_tile=LATENT_TILE, latent_overlap=LATENT_TILE // 4)

    @property
    def of_method(self) -> Method:
        return METHODS[self.method]

    def enlargement(self, width: int, height: int) -> float:
        """How many times larger the result of a picture of that size is."""
        asked = [wanted / side for wanted, side in ((self.width, width), (self.height, height)) if wanted]
        if self.megapixels:
            asked = [(1e6 * self.megapixels / (width * height)) ** 0.5]
        nearest = min if self.fit == INSIDE else max
        factor = nearest(asked) if asked else self.scale or SCALE
        if self.fit == STRETCH and len(asked) == 2:
            # of what becomes far longer along one side no more than four times the result's pixels
            factor = min(factor, 2 * math.prod(asked) ** 0.5)
        return min(factor, self.max_side / max(width, height)) if self.max_side else factor

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the result of a picture of that size."""
        if self.fit != INSIDE and self.width and self.height:
            return self.width, self.height
        factor = self.enlargement(width, height)
        return max(1, round(width * factor)), max(1, round(height * factor))

    def restored(self, width: int, height: int) -> tuple[int, int]:
        """Width and height at which such a picture is restored, never below its own: what is asked for comes after."""
        wide, tall = self.part(width, height)[2:]
        factor = max(1, self.enlargement(wide, tall))
        wide, tall = max(wide, SMALLEST), max(tall, SMALLEST)
        return round(wide * factor), round(tall * factor)

    def part(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, width and height of what of a picture of that size becomes the result: its middle, or all."""
        if self.fit != CROP or not (self.width and self.height):
            return 0, 0, width, height
        factor = self.enlargement(width, height)
        wide, tall = (min(n, max(1, round(m / factor))) for n, m in ((width, self.width), (height, self.height)))
        return (width - wide) // 2, (height - tall) // 2, wide, tall

    @property
    def chosen(self) -> Choice:
        """Steps, PSR weight, colour fix and antithetic noise: the user's, the dial's, or the method's."""
        if self.fidelity is not None:
            return choice(self.fidelity)
        weight = PSR_WEIGHT if self.psr_weight is None else self.psr_weight
        return Choice(self.steps, weight, self.color, self.antithetic)

    def steps_with(self, student_steps: int) -> int:
        """How often the network is asked, of a model whose own number for the student is that."""
        return self.chosen.steps or self.of_method.steps or student_steps


# Settings that a model has values of its own for, in its `view`
OF_FINISH = tuple(name for name in declared(Settings) if describe(Settings, name).group == FINISH)


def half_of(tile: int) -> int:
    """The tile to try where one of that side finds no room; 0 where it is the smallest."""
    return max(tile // 2 // 64 * 64, SMALLEST_TILE) if tile > SMALLEST_TILE else 0


def parse_method(text: str, defaults: Settings) -> Settings | None:
    """METHOD[-STEPS[x2]][@PSR_WEIGHT] with the rest of `defaults`, x2 for antithetic; None for bicubic.

    The defaults' guidance is for methods that are guided, their PSR weight for those that refine.
    """
    if text.strip() == BICUBIC:
        return None
    try:
        name = spelled(text)
    except ValueError as error:
        usual = ', '.join(f'{m.name}-STEPS' for m in METHODS.values())
        raise UserError(
            f'{text!r} is no method: write {BICUBIC} or one of {usual}; {STUDENT.name} also with x2 and @PSR_WEIGHT, '
            f'as {STUDENT.name}-4x2@0.8'
        ) from error
    weight = defaults.psr_weight if name.psr_weight is None else name.psr_weight
    return replace(
        defaults,
        method=name.method.name,
        steps=name.steps,
        antithetic=name.antithetic,
        psr_weight=weight if name.method.refines else None,
        guidance_scale=defaults.guidance_scale if name.method.guided else None,
    )
