"""The files of a tokenizer as every version of transformers reads them.

transformers 5 writes two: `tokenizer.json`, which holds vocabulary and merges, and `tokenizer_config.json`, which holds
the special tokens. Earlier versions, and the originals' scripts, want those in files of their own, which are made here.
"""

import json
from pathlib import Path
from typing import Any

from addsr_jax import json_file, options, places
from addsr_jax.data import tokens
from addsr_jax.errors import UserError
from addsr_jax.specs import ModelSpec
from addsr_jax.weights import plain_files

SHIPPED = Path(__file__).parent / 'nano' / plain_files.TOKENIZER
WHOLE, CONFIG = 'tokenizer.json', 'tokenizer_config.json'
SPECIAL = ('bos_token', 'eos_token', 'pad_token', 'unk_token')
END = '</w>'  # of a word, as CLIP's vocabulary has it
ADVICE = 'get the folder of the tokenizer again'


def copy(folder: Path, target: Path) -> None:
    """All files of a tokenizer that something reads, and those that it lacks."""
    plain_files.copy(folder, plain_files.TOKENIZER, target)
    for name, text in lacking(folder).items():
        places.make_folder(target)
        (target / name).write_text(text, encoding='utf-8')


def shipped(spec: ModelSpec) -> Path | None:
    """The tokenizer that the package has for models of this text encoder, if it has one."""
    words = json_file.read(SHIPPED / 'vocab.json', 'install the package again')
    return SHIPPED if len(words) == spec.text_encoder.vocab_size else None


def is_one(folder: Path) -> bool:
    """Whether it looks like a tokenizer's folder."""
    return any((folder / name).exists() for name in (tokens.FILES[0], WHOLE))


def lacking(folder: Path) -> dict[str, str]:
    """{name: text} of the files that are not there, made of those that are; a UserError where they do not say it."""
    there = plain_files.found(folder, tokens.NAMES, folder.parent)
    missing = [name for name in tokens.FILES if name not in there]
    if not missing:
        return {}
    if CONFIG in missing or (WHOLE not in there and {'vocab.json', 'merges.txt'} & set(missing)):
        raise UserError(f'{folder} is no tokenizer folder: it holds neither {missing[0]} nor {WHOLE} with {CONFIG}')
    made = _from_whole(folder / WHOLE) if WHOLE in there else {}
    if 'special_tokens_map.json' in missing:
        made['special_tokens_map.json'] = _special(folder / CONFIG)
    return {name: text for name, text in made.items() if name not in there}


def _special(path: Path) -> str:
    config = json_file.read(path, ADVICE)
    if missing := [name for name in SPECIAL if name not in config]:
        raise UserError(f'{path} does not say {missing[0]}: {ADVICE}')
    return _text({name: _plain(config[name]) for name in SPECIAL})


def _plain(token: Any) -> Any:
    """Without the mark of its class."""
    return {key: value for key, value in token.items() if key != '__type'} if isinstance(token, dict) else token


def _from_whole(path: Path) -> dict[str, str]:
    """Vocabulary, merges, and tokens that were added to them."""
    content = json_file.read(path, ADVICE)
    model = options.typed(dict[str, Any], content.get('model'), f'model of {path}')
    if model.get('type') != 'BPE' or model.get('end_of_word_suffix') != END:
        raise UserError(f"{path} is no tokenizer of CLIP (byte-pair tokens that end words in '{END}'): {ADVICE}")
    words = options.typed(dict[str, int], model.get('vocab'), f'vocab of {path}')
    pairs = options.typed(tuple[str | tuple[str, ...], ...], model.get('merges'), f'merges of {path}')
    merges = [pair.split(' ') if isinstance(pair, str) else pair for pair in pairs]  # text, before tokenizers 0.20
    if not all(len(pair) == 2 and all(len(part.split()) == 1 for part in pair) for pair in merges):
        raise UserError(f'{path} has a merge that is no pair of tokens: {ADVICE}')
    added = options.typed(tuple[dict[str, Any], ...], content.get('added_tokens', []), f'added_tokens of {path}')
    ids = {str(token.get('content')): token.get('id') for token in added}
    more = {token: number for token, number in ids.items() if token not in words}
    options.typed(dict[str, int], more, f'added_tokens of {path}')
    return {
        'vocab.json': _text(words),
        'merges.txt': '\n'.join(['#version: 0.2', *map(' '.join, merges), '']),
        **({'added_tokens.json': _text(more)} if more else {}),
    }


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + '\n'
