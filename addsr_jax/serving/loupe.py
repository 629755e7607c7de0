"""The magnifier: what lies under the pointer, enlarged, before and after side by side."""

from html import escape
from pathlib import Path
from urllib.parse import quote

ZOOM = 3  # pixels of the screen for one of the result

CSS = """
.loupe { display: grid; grid-template-columns: 1fr 1fr; gap: 8px; }
.loupe > img { grid-column: 1 / 3; max-height: 320px; margin: auto; cursor: crosshair; touch-action: none; }
.loupe > figure { margin: 0; }
.loupe .lens { height: 260px; image-rendering: pixelated; background-repeat: no-repeat; background-color: #8884; }
.loupe figcaption { text-align: center; }
"""

JS = f"""
element.addEventListener('pointermove', (event) => {{
  const image = event.target.closest('.loupe > img');
  if (!image) return;
  const x = event.offsetX / image.clientWidth, y = event.offsetY / image.clientHeight;
  const width = {ZOOM} * image.naturalWidth, height = {ZOOM} * image.naturalHeight;
  for (const lens of element.querySelectorAll('.lens')) {{
    lens.style.backgroundSize = `${{width}}px ${{height}}px`;
    lens.style.backgroundPosition =
      `${{lens.clientWidth / 2 - x * width}}px ${{lens.clientHeight / 2 - y * height}}px`;
  }}
}});
"""


def shown(before: Path, after: Path) -> str:
    """HTML of two pictures of one size, files that the page may serve."""
    lenses = ''.join(
        f'<figure><div class="lens {name}" style="background-image: url(\'{_address(path)}\')"></div>'
        f'<figcaption>{name}</figcaption></figure>'
        for name, path in (('before', before), ('after', after))
    )
    hint = 'move over this picture to magnify it'
    return f'<div class="loupe"><img src="{_address(after)}" alt="{hint}" title="{hint}">{lenses}</div>'


def _address(path: Path) -> str:
    return escape(f'./gradio_api/file={quote(str(path))}')
