"""Parts of documents that commands write: the lines between `<!-- NAME: made by COMMAND -->` and `<!-- /NAME -->`."""

import re
from pathlib import Path

from addsr_jax import atomic


def replace_block(path: Path, name: str, text: str) -> None:
    """Puts `text` between the two lines of the block; SystemExit where the document has no such block."""
    document = path.read_text(encoding='utf-8')
    found = pattern(name).search(document)
    if not found:
        raise SystemExit(f'{path} has no block {name}')
    atomic.write_text(path, f'{document[: found.end(1)]}\n{text}\n\n{document[found.start(2) :]}')


def pattern(name: str) -> re.Pattern[str]:
    """Finds a block: its first line, and its last."""
    return re.compile(rf'(<!-- {name}:[^>]*-->\n).*?(<!-- /{name} -->)', re.DOTALL)


def last_table(text: str) -> str:
    """The last Markdown table in what a command printed; '' where there is none."""
    tables = re.findall(r'(?:^\|.*\n)+', text + '\n', re.MULTILINE)
    return tables[-1].strip() if tables else ''
