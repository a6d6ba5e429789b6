"""``python -m tests.mutation``: how many small mistakes do the tests notice?

Exit status: 0 when each area reaches the threshold, 1 when one does not, 2 for wrong arguments.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.mutation.areas import AREAS
from tests.mutation.campaign import Fate, Mutant, mutants_of, sample, try_all
from tests.mutation.trial import Ground, load_third_party

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGE: Final = "perdure"
THRESHOLD: Final = 85.0


def main() -> int:
    """Parse the arguments, try the mutants, print the table and the survivors."""
    arguments = _arguments()
    grounds = {area: _ground(area) for area in AREAS}
    wanted = [
        mutant
        for area, ground in grounds.items()
        for mutant in mutants_of(area, ground, _chosen(ground, arguments.module))
    ]
    if not wanted:
        print(f"nothing to change in {', '.join(arguments.module)}", file=sys.stderr)
        return 2
    chosen = sample(wanted, arguments.sample, arguments.seed)
    print(f"{len(chosen)} of {len(wanted)} changes, seed {arguments.seed}, {arguments.workers} at a time", flush=True)
    bar = _Bar(len(chosen))
    fates: dict[Mutant, Fate] = {}
    areas = {mutant.area for mutant in chosen}
    for area in sorted(areas):
        load_third_party(grounds[area])
    for area in sorted(areas):
        mutants = [mutant for mutant in chosen if mutant.area == area]
        fates |= try_all(grounds[area], mutants, workers=arguments.workers, progress=bar.step)
    bar.end()
    _print_survivors(fates)
    rates = _print_table(fates)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(_as_json(fates, rates, arguments.seed), indent=1) + "\n")
    low = [f"{area} {rate:.1f} %" for area, rate in rates.items() if rate < arguments.threshold]
    if low:
        print(f"below {arguments.threshold} %: {', '.join(low)}")
    return 1 if low else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument(
        "--module", action="append", default=[], help="an area (wire), a module (wire.varint); again for more; all"
    )
    parser.add_argument("--sample", type=int, help="how many changes to try; all")
    parser.add_argument("--seed", type=int, default=0, help="which ones; 0")
    parser.add_argument("--workers", type=int, default=2, help="how many at a time; 2")
    parser.add_argument("--threshold", type=float, default=THRESHOLD, help=f"percent, for each area; {THRESHOLD}")
    parser.add_argument("--json", type=Path, help="where to write everything that was found out")
    return parser.parse_args()


def _ground(area: str) -> Ground:
    # The specification of the top package only: that of a module would import the packages above it.
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    top = Path(spec.submodule_search_locations[0])
    sources: dict[str, Path] = {}
    for module in AREAS[area].modules:
        place = top.joinpath(*module.split(".")[1:])
        files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
        for file in files:
            parts = file.relative_to(top).with_suffix("").parts
            sources[".".join((PACKAGE, *(part for part in parts if part != "__init__")))] = file
    return Ground(ROOT, PACKAGE, sources, AREAS[area].tests, AREAS[area].ignore)


def _chosen(ground: Ground, names: list[str]) -> list[str]:
    wanted = [name if name.startswith(PACKAGE) else f"{PACKAGE}.{name}" for name in names]
    return [
        module
        for module in ground.sources
        if not wanted or any(module == name or module.startswith(f"{name}.") for name in wanted)
    ]


# --- what is printed -----------------------------------------------------------------------------------------------


class _Bar:
    """How far it is, on one line of a terminal, otherwise a line now and then."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._missed = 0
        self._since = time.monotonic()
        self._live = sys.stderr.isatty()

    def step(self, _mutant: Mutant, fate: Fate) -> None:
        self._done += 1
        self._missed += not fate.noticed
        elapsed = time.monotonic() - self._since
        left = elapsed / self._done * (self._total - self._done)
        filled = 30 * self._done // self._total
        text = (
            f"[{'#' * filled}{'.' * (30 - filled)}] {self._done}/{self._total}, "
            f"{self._missed} survived, {left:.0f} s to go"
        )
        if self._live:
            print(f"\r{text}\033[K", end="", file=sys.stderr, flush=True)
        elif self._done % max(1, self._total // 20) == 0:
            print(text, file=sys.stderr, flush=True)

    def end(self) -> None:
        print(f"{self._done} tried in {time.monotonic() - self._since:.0f} s", file=sys.stderr, flush=True)


def _place(mutant: Mutant) -> str:
    return f"{mutant.module.replace('.', '/')}.py:{mutant.change.first}"


def _short(text: str, size: int = 90) -> str:
    text = " ".join(text.split())
    return text if len(text) <= size else f"{text[: size - 1]}…"


def _print_survivors(fates: Mapping[Mutant, Fate]) -> None:
    survivors = [(mutant, fate) for mutant, fate in fates.items() if not fate.noticed]
    if survivors:
        print("\nsurvivors:")
    for mutant, fate in survivors:
        note = "  (no test runs this line)" if fate is Fate.UNREACHED else ""
        print(f"  {_place(mutant)}: {_short(mutant.change.before)}  ->  {_short(mutant.change.after)}{note}")
        print(f"      {_short(mutant.line, 110)}")


def _print_table(fates: Mapping[Mutant, Fate]) -> dict[str, float]:
    """Print how many were noticed, and return the percentage of each area."""
    print(f"\n{'module':32}{'tried':>7}{'killed':>8}{'timeout':>9}{'survived':>10}{'unreached':>11}{'rate':>9}")
    rates: dict[str, float] = {}
    for area in dict.fromkeys(mutant.area for mutant in fates):
        inside = {mutant: fate for mutant, fate in fates.items() if mutant.area == area}
        for module in dict.fromkeys(mutant.module for mutant in inside):
            _row(module.partition(".")[2], [fate for mutant, fate in inside.items() if mutant.module == module])
        rates[area] = _row(f"{area}, together", list(inside.values()))
    if len(rates) > 1:
        _row("all", list(fates.values()))
    return rates


def _row(name: str, fates: list[Fate]) -> float:
    rate = 100 * sum(fate.noticed for fate in fates) / len(fates)
    counts = [fates.count(fate) for fate in (Fate.KILLED, Fate.TIMEOUT, Fate.SURVIVED, Fate.UNREACHED)]
    print("{:32}{:7}{:8}{:9}{:10}{:11}{:7.1f} %".format(name, len(fates), *counts, rate))
    return rate


def _as_json(fates: Mapping[Mutant, Fate], rates: Mapping[str, float], seed: int) -> dict[str, object]:
    return {
        "seed": seed,
        "rates": dict(rates),
        "mutants": [
            {
                "module": mutant.module,
                "line": mutant.change.first,
                "number": mutant.change.number,
                "before": mutant.change.before,
                "after": mutant.change.after,
                "fate": fate.value,
            }
            for mutant, fate in fates.items()
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
