"""The picture of the page in the README: the photograph of `make demo` restored by `addsr serve`, in a real browser.

python -m benchmarks.page [--output docs/page.jpg]
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from addsr_jax.demo import held_out_pair
from addsr_jax.errors import UserError, guard
from addsr_jax.flags import say
from benchmarks.served import NO_BROWSER, ROOT, chromium, running

MINUTES = 10 * 60_000  # milliseconds that a restoration may take


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--output', type=Path, default=ROOT / 'docs' / 'page.jpg')
    values = parser.parse_args(arguments)
    path = chromium()
    if path is None:
        raise UserError(NO_BROWSER)
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as place, running(Path(place)) as server, sync_playwright() as driver:
        photo = Path(place) / 'cat.jpg'
        Image.fromarray(held_out_pair()[1]).save(photo, quality=90)
        browser = driver.chromium.launch(executable_path=path, args=['--no-sandbox'])
        page = browser.new_page(viewport={'width': 1200, 'height': 1000})
        page.set_default_timeout(MINUTES)
        page.goto(server.address)
        page.set_input_files('#photo input[type=file]', photo)
        page.locator('#photo .file-preview').wait_for()
        page.get_by_label('detailed', exact=True).first.check()
        page.click('#restore-one')
        page.locator('#status').get_by_text('Done').wait_for()
        page.locator('#magnifier .loupe > img').hover(position={'x': 150, 'y': 110})
        page.wait_for_timeout(1000)
        page.screenshot(path=values.output, type='jpeg', quality=85, full_page=True)
        browser.close()
    say(f'{values.output}')


if __name__ == '__main__':
    raise SystemExit(guard(main))
