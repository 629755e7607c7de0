"""Pictures to words: the tags whose probability exceeds their own threshold (RAM; ram/models/ram_lora.py).

A folder of weights keeps them in `tags/`. The package ships those of the published RAM, with their licence.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from addsr_jax import places
from addsr_jax.data import pictures
from addsr_jax.data.resize import small_view
from addsr_jax.errors import UserError
from addsr_jax.networks.build import Networks, apply, build
from addsr_jax.networks.prompt_extractor import normalise
from addsr_jax.specs import ModelSpec
from addsr_jax.trees import Tree
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights import plain_files
from addsr_jax.weights.bundle import Bundle

LIST, THRESHOLDS = plain_files.TAG_LIST, plain_files.THRESHOLDS
SHIPPED = Path(__file__).parent / 'ram'
LARGEST = 4 << 20  # bytes of a file of either; the published ones have 42 kB at most


@dataclass(frozen=True)
class Vocabulary:
    """The words of a tagging head, in its order, and how sure it has to be of each."""

    words: tuple[str, ...]
    thresholds: np.ndarray  # [classes] in 0..1; 1 never fires

    def text(self, probabilities: np.ndarray) -> str:
        """'dog, grass': tags in the list's order, for probabilities [classes]."""
        return ', '.join(self.words[i] for i in np.flatnonzero(probabilities > self.thresholds))


def read_vocabulary(tag_list: Path, thresholds: Path, classes: int) -> Vocabulary:
    """ram_tag_list.txt and ram_tag_list_threshold.txt, one entry a line; UserError where they do not fit the head."""
    words = _lines(tag_list)
    try:
        numbers = np.array([float(line) for line in _lines(thresholds)], np.float32)
    except ValueError as error:
        raise UserError(f'{thresholds} holds a line that is no number: {error}') from error
    for path, count in ((tag_list, len(words)), (thresholds, len(numbers))):
        if count != classes:
            raise UserError(f'{path} has {count} lines and the tagging head {classes} tags: give the files of its RAM')
    if not ((numbers >= 0) & (numbers <= 1)).all():
        raise UserError(f'{thresholds} holds a threshold that is no probability in 0..1')
    return Vocabulary(tuple(words), numbers)


def of_weights(bundle: Bundle, weights: str | Path) -> Vocabulary:
    """The words that lie with the weights; a UserError where there are none."""
    if bundle.tags is None:
        raise UserError(
            f'{weights} has no list of tags: take weights that `addsr convert from_pytorch --ram` made, or give '
            '`addsr tag` and `addsr upscale` --tag_list and --thresholds'
        )
    return read_folder(bundle.tags, bundle.spec)


def read_folder(folder: Path, spec: ModelSpec) -> Vocabulary:
    """Of a folder that holds the two files under their published names."""
    return read_vocabulary(folder / LIST, folder / THRESHOLDS, spec.prompt_extractor.tagging.classes)


def chosen(
    ram: Path | None, tag_list: Path | None, thresholds: Path | None, spec: ModelSpec
) -> tuple[Path, Path] | None:
    """The files of RAM's words: the user's, or those that are shipped where they fit; None where nobody knows them."""
    if tag_list is not None and thresholds is not None:
        if ram is None:
            raise UserError('--tag_list and --thresholds are of RAM: give --ram too')
        read_vocabulary(tag_list, thresholds, spec.prompt_extractor.tagging.classes)
        return tag_list, thresholds
    return (SHIPPED / LIST, SHIPPED / THRESHOLDS) if ram is not None and shipped_fit(spec) else None


def write(folder: Path, files: tuple[Path, Path] | None, spec: ModelSpec) -> str:
    """Puts the two files beside weights, and what is shipped with its notice and licence; what was done, in words."""
    if files is None:
        count = spec.prompt_extractor.tagging.classes
        return f'tags: none, the published list is not of a head of {count}: give --tag_list and --thresholds'
    if files[0].parent == SHIPPED:
        plain_files.copy(SHIPPED, bundles.TAGS, folder)
        return f'tags: {len(_lines(files[0]))} of the published RAM'
    for path, name in zip(files, (LIST, THRESHOLDS), strict=True):
        places.copy(path, folder / name)
    return f'tags: {len(_lines(files[0]))} of {files[0]}'


def shipped_fit(spec: ModelSpec) -> bool:
    """Whether the tagging head is as large as the published one."""
    return len(_lines(SHIPPED / LIST)) == spec.prompt_extractor.tagging.classes


def _lines(path: Path) -> list[str]:
    try:
        text = places.read_text(path, LARGEST)
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error}') from error
    except ValueError as error:
        raise UserError(f'{path} cannot be read, {error}: it is no list of tags') from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def logits(networks: Networks, params: Tree, seen: jax.Array) -> jax.Array:
    """[B, S, S, 3] in [0, 1], as `small_view` shows a picture -> [B, classes]; params are the prompt extractor's."""
    return apply(networks.prompt_extractor, params, normalise(seen), method='tokens_and_logits')[1]


def probabilities(program: Callable[[Tree, np.ndarray], jax.Array], params: Tree, image: np.ndarray, side: int):
    """What a compiled `logits` says of a picture, uint8 or uint16 [H, W, 3]: [classes] in 0..1."""
    said = program(params, small_view(pictures.eight_bits(image), side))
    return np.asarray(jax.nn.sigmoid(said.astype(jnp.float32)))[0]


def captioner(weights: str | Path, vocabulary: Vocabulary | None = None) -> Callable[[np.ndarray], str]:
    """A function of a picture [H, W, 3] that says its caption; the words are `vocabulary`, or the weights' own.

    'dog, grass,': tags with a comma behind the last one too, as make_tags.py writes them. RAM answers as it is: DAPE is
    for degraded pictures, and these are clean (SeeSR's captions for training).
    """
    found = bundles.load(weights, 'float32', only=['prompt_extractor'])
    words = vocabulary or of_weights(found, weights)
    if 'prompt_extractor' not in found.params:
        raise UserError(f'{weights} holds no prompt extractor, which says tags: convert RAM with it')
    program, side = jax.jit(partial(logits, build(found.spec))), found.spec.prompt_extractor.swin.image_size
    params = jax.device_put(found.params['prompt_extractor'])
    return lambda image: f'{words.text(probabilities(program, params, image, side))},'
