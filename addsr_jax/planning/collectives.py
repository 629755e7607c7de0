"""What a compiled program moves between devices, read out of its text: bytes by kind, loops as often as they run."""

import math
import re
from collections import defaultdict
from dataclasses import dataclass, field

KINDS = ('all-gather', 'all-reduce', 'reduce-scatter', 'all-to-all', 'collective-permute')
BYTES = {'pred': 1, 's8': 1, 'u8': 1, 'bf16': 2, 'f16': 2, 's32': 4, 'u32': 4, 'f32': 4, 's64': 8, 'u64': 8, 'f64': 8}

HEAD = re.compile(r'^(ENTRY )?%?([\w.\-]+) .*\{$')
USED = re.compile(r' = (\(.*?\)|\S+) (' + '|'.join(KINDS) + r')(-start)?\(')
ARRAY = re.compile(r'(\w+)\[([\d,]*)\]')
CALLED = re.compile(
    r'(?:calls|to_apply|true_computation|false_computation|called_computations|branch_computations)='
    r'(?:%?([\w.\-]+)|\{([^}]*)\})'
)
LOOP = re.compile(r' while\(.*condition=%?([\w.\-]+), body=%?([\w.\-]+)')
BOUND = re.compile(r' = s32\[\]\S* constant\((\d+)\)')


@dataclass
class Computation:
    found: list[tuple[str, int]] = field(default_factory=list)  # kind, bytes
    calls: list[str] = field(default_factory=list)
    loops: list[tuple[str, str]] = field(default_factory=list)  # condition, body
    bounds: list[int] = field(default_factory=list)  # whole numbers: of a condition, how often the loop runs


@dataclass(frozen=True)
class Traffic:
    """{kind: bytes} and {kind: operations} of one device in one run; a result counts, whatever part of it arrives."""

    bytes: dict[str, int]
    counts: dict[str, int]


def traffic(text: str) -> Traffic:
    """Of an optimised HLO module, as `Compiled.as_text()` gives it."""
    computations, entry = parsed(text)
    total, counts = defaultdict(int), defaultdict(int)

    def walk(name: str, times: int) -> None:
        for kind, size in computations[name].found:
            total[kind] += times * size
            counts[kind] += times
        for called in computations[name].calls:
            if called in computations:
                walk(called, times)
        for condition, body in computations[name].loops:
            walk(body, times * max(computations[condition].bounds, default=1))

    walk(entry, 1)
    return Traffic(dict(total), dict(counts))


def parsed(text: str) -> tuple[dict[str, Computation], str]:
    """Every computation of a module by name, and the name of its entry."""
    computations: dict[str, Computation] = {}
    entry, here = '', Computation()
    for line in text.splitlines():
        if (head := HEAD.match(line)) and not line.startswith(' '):
            here = computations.setdefault(head[2], Computation())
            entry = head[2] if head[1] else entry
        elif ' = ' in line:
            if used := USED.search(line):
                both = bool(used[3]) and used[2] != 'all-reduce'  # whose start says its result alone
                here.found.append((used[2], size_of(used[1], started=both)))
            if loop := LOOP.search(line):
                here.loops.append((loop[1], loop[2]))
                continue
            here.bounds += [int(bound[1])] if (bound := BOUND.search(line)) else []
            for single, several in CALLED.findall(line):
                here.calls += [single] if single else re.findall(r'%?([\w.\-]+)', several)
    return computations, entry


def size_of(shape: str, *, started: bool) -> int:
    """Bytes of a result; an asynchronous start says operands first, then results, then flags without sides."""
    sizes = [
        BYTES.get(kind, 4) * math.prod(int(n) for n in sides.split(','))
        for kind, sides in ARRAY.findall(shape)
        if sides
    ]
    return sum(sizes[len(sizes) // 2 :] if started else sizes)
