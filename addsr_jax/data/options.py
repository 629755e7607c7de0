"""Where a run's photographs come from and what is made of them: `data` of a config. Imports nothing that is slow."""

from dataclasses import dataclass

from addsr_jax.data.degradation_tables import TABLES
from addsr_jax.errors import UserError
from addsr_jax.options import Options, option


@dataclass(frozen=True, kw_only=True)
class DataOptions(Options):
    source: str = option(
        'kind of source', default='folder', choices=('folder', 'pairs', 'packed', 'tfds', 'sample_photos')
    )
    path: str = option(
        'folder of photographs (of pairs the true ones), or one that `addsr pack` wrote, or DATA_SET:SPLIT of tfds',
        default='',
        free=True,
    )
    lq_path: str = option(
        'with source=pairs: folder of low-quality pictures of the same names, a quarter as large', default='', free=True
    )
    image_key: str = option("with source=tfds: the feature that is the picture, 'hr' of div2k", default='image')
    # the blur after the strongest shrinking reflects 10 pixels of at least 11, which 74 pixels leave it
    hr_size: int = option(
        'side of the target; the low-quality picture has a quarter',
        default=512,
        low=80,
        high=4096,
        multiple_of=16,
        unit='pixels',
    )
    frame: str = option(
        "what of a photograph: a 'crop', or the 'whole', squeezed into the square of the target whatever its shape",
        default='crop',
        choices=('crop', 'whole'),
    )
    null_text: float = option('probability of an empty caption', default=0.5, low=0, high=1)
    captions: str = option(
        "'sidecar' files beside the photographs, words made from the 'record' of what was done to them, or what RAM in "
        "the weights says: 'tag', kept in the workdir",
        default='sidecar',
        choices=('sidecar', 'record', 'tag'),
    )
    degraded_target: float = option(
        'probability that the target is degraded too and its caption says how; with captions=record',
        default=0.0,
        low=0,
        high=1,
    )
    degradation: str = option('table of blur, noise and JPEG', default='standard', choices=tuple(TABLES))
    threads: int = option('threads that decode, in one process', default=8, low=0, high=1024, free=True)
    workers: int = option(
        'processes that decode; the batches are the same for any number', default=0, low=0, high=1024, free=True
    )

    def check_together(self) -> None:
        if self.path and self.source == 'sample_photos':
            raise UserError('path is not of source=sample_photos: set source=folder, pairs, packed or tfds with it')
        if self.lq_path and self.source != 'pairs':
            raise UserError(f'lq_path is of source=pairs, not of source={self.source}: leave it out')
        if self.image_key != 'image' and self.source != 'tfds':
            raise UserError(f'image_key is of source=tfds, not of source={self.source}: leave it out')
        if self.captions == 'tag' and self.source == 'packed':
            raise UserError(
                'captions=tag is of pictures in folders, and packed ones have their captions inside: `addsr tag` the '
                'folder before `addsr pack`'
            )
        if self.degraded_target and self.captions != 'record':
            raise UserError(
                f'degraded_target is {self.degraded_target:g} with captions={self.captions}: set captions=record, '
                'which names the faults, or degraded_target=0'
            )
