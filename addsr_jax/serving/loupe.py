"""The magnifier: a place of the picture, enlarged, before and after side by side. Pointer or arrow keys choose it."""

from html import escape
from pathlib import Path
from urllib.parse import quote

ZOOM = 3  # pixels of the screen for one of the result
STEP = 16  # pixels of the screen that a key moves

CSS = """
.loupe { display: grid; grid-template-columns: 1fr 1fr; gap: 8px; }
.loupe > img { grid-column: 1 / 3; max-height: 320px; margin: auto; cursor: crosshair; touch-action: none; }
.loupe > figure { margin: 0; }
.loupe .lens { height: 260px; image-rendering: pixelated; background-repeat: no-repeat; background-color: #8884; }
.loupe figcaption { text-align: center; }
"""

JS = f"""
const place = {{ x: 0.5, y: 0.5 }};
const show = (image) => {{
  const width = {ZOOM} * image.naturalWidth, height = {ZOOM} * image.naturalHeight;
  for (const lens of element.querySelectorAll('.lens')) {{
    lens.style.backgroundSize = `${{width}}px ${{height}}px`;
    lens.style.backgroundPosition =
      `${{lens.clientWidth / 2 - place.x * width}}px ${{lens.clientHeight / 2 - place.y * height}}px`;
  }}
}};
const within = (share) => Math.min(Math.max(share, 0), 1);
element.addEventListener('pointermove', (event) => {{
  const image = event.target.closest('.loupe > img');
  if (!image) return;
  place.x = event.offsetX / image.clientWidth;
  place.y = event.offsetY / image.clientHeight;
  show(image);
}});
element.addEventListener('focusin', (event) => {{
  const image = event.target.closest('.loupe > img');
  if (image) show(image);
}});
element.addEventListener('keydown', (event) => {{
  const image = event.target.closest('.loupe > img');
  const [x, y] = {{ ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }}[event.key] ?? [0, 0];
  if (!image || !(x || y)) return;
  event.preventDefault();
  place.x = within(place.x + {STEP} * x / image.naturalWidth / {ZOOM});
  place.y = within(place.y + {STEP} * y / image.naturalHeight / {ZOOM});
  show(image);
}});
"""


def shown(before: Path, after: Path, name: str) -> str:
    """HTML of two pictures of one size, files that the page may serve. name: of the photograph."""
    lenses = ''.join(
        f'<figure><div class="lens {name}" style="background-image: url(\'{_address(path)}\')"></div>'
        f'<figcaption>{name}</figcaption></figure>'
        for name, path in (('before', before), ('after', after))
    )
    hint = 'move over this picture, or press arrow keys on it, to magnify it'
    words = f'tabindex="0" alt="{escape(name)}, restored: arrow keys move the magnifier" title="{hint}"'
    return f'<div class="loupe"><img src="{_address(after)}" {words}>{lenses}</div>'


def _address(path: Path) -> str:
    return escape(f'./gradio_api/file={quote(str(path))}')
