"""The plans of docs/plans as a table of docs/tpu.md.

python -m benchmarks.plan_table [FILE.json ...]
"""

import argparse
import json
import sys
from pathlib import Path

PLANS = Path(__file__).parents[1] / 'docs' / 'plans'
COLUMNS = (
    'program',
    'slice',
    'batch (on each)',
    'mesh, remat',
    'arguments',
    'peak GB of',
    'gathered, summed GB',
    'TFLOP an image',
    's at 100 %, 40 %',
    'images/s at 40 %',
    'days at 40 %',
    'compiled in s',
)


def row(name: str, plan: dict) -> list[str]:
    mesh = ','.join(f'{axis}:{count}' for axis, count in plan['mesh'].items())
    moved = [plan['collectives'].get(kind, 0) / 1e9 for kind in ('all-gather', 'all-reduce')]
    days = plan['days_at_40_percent']
    return [
        name.partition('-')[0],
        plan['topology'],
        f'{plan["batch_size"]} ({plan["images_per_device"]:g})',
        f'{mesh}, {plan["remat"]}',
        f'{plan["memory"]["arguments"] / 1e9:.2f}',
        f'{plan["peak_bytes_per_device"] / 1e9:.2f} of {plan["available_bytes"] / 1e9:.1f}',
        f'{moved[0]:.2f}, {moved[1]:.2f}',
        f'{plan["flops"] / plan["batch_size"] / 1e12:.1f}',
        f'{plan["seconds_at_peak"]:.2f}, {plan["seconds_at_40_percent"]:.2f}',
        f'{plan["images_per_second_at_40_percent"]:.0f}',
        '' if days is None else f'{days:.2g}',
        f'{plan["compile_seconds"]:.0f}',
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('files', nargs='*', type=Path, help='default: those of docs/plans')
    files = parser.parse_args().files
    for cells in (COLUMNS, ['---'] * len(COLUMNS)):
        sys.stdout.write(f'| {" | ".join(cells)} |\n')
    for path in files or sorted(PLANS.glob('*.json')):
        cells = row(path.stem, json.loads(path.read_text(encoding='utf-8')))
        sys.stdout.write(f'| {" | ".join(cells)} |\n')


if __name__ == '__main__':
    main()
