"""The operations that took longest in a profile that jax wrote.

    python -m benchmarks.slowest DIR [--most 10]

DIR is what `jax.profiler.trace` or `addsr train --config.profile_steps` wrote, or holds it. Of a GPU or TPU its own
lines are added up, of a CPU those of XLA's threads; an operation that calls others has their time as well.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from addsr_jax.flags import say

# how names begin that the runtime has for its own work
MARKS = ('$', 'end:', 'ThreadpoolListener', 'ThunkExecutor', 'Pj', 'Tfrt', 'CommonPjRt', 'ParseArguments', 'Execute')


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('folder', type=Path, metavar='DIR')
    parser.add_argument('--most', type=int, default=10)
    values = parser.parse_args()
    for line in slowest(values.folder, values.most):
        say(line)


def slowest(folder: Path, most: int = 10) -> list[str]:
    """A line for each of the operations that took longest, of the newest profile below `folder`."""
    files = sorted(folder.rglob('*.xplane.pb'), key=lambda path: path.stat().st_mtime)
    if not files:
        raise SystemExit(f'{folder} holds no profile (*.xplane.pb)')
    found: dict[str, list[float]] = {}
    for name, seconds in operations(jax.profiler.ProfileData.from_file(str(files[-1]))):
        found.setdefault(name, []).append(seconds)
    total = sum(map(sum, found.values()))
    return [
        f'{sum(spent) * 1e3:9.2f} ms {sum(spent) / total:6.1%} {len(spent):5} x {name[:100]}'
        for name, spent in sorted(found.items(), key=lambda item: -sum(item[1]))[:most]
    ]


def operations(profile: Any) -> Iterator[tuple[str, float]]:
    """(name, seconds) of what devices did; of the host's own threads where there is no other device."""
    planes = list(profile.planes)
    devices = [plane for plane in planes if plane.name.startswith('/device:')]
    for plane in devices or planes:
        for line in plane.lines:
            if devices and line.name in ('XLA Modules', 'Steps', 'XLA TraceMe'):  # whole programs, not operations
                continue
            for event in line.events:
                if devices or not event.name.startswith(MARKS):
                    yield event.name, event.duration_ns / 1e9


if __name__ == '__main__':
    main()
