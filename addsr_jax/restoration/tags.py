"""Pictures to words: the tags whose probability exceeds their own threshold (RAM; ram/models/ram_lora.py)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from addsr_jax.errors import UserError


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
    return Vocabulary(tuple(words), numbers)


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'{path} cannot be read: {error}') from error
    return [line.strip() for line in text.splitlines() if line.strip()]
