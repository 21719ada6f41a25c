"""The kernel yardstick: every shipped scenario, on every kernel that is different, broken ones and fixed twins.

    python -m tests.yardsticks.kernel [--seeds 20] [--schedules 1000] [--clean 100000] [--jobs N]

Made from the gallery and from the history of patches, so it grows with them.  A kernel is broken for a scenario where
the file expects violations of its release: then the default portfolio must find exactly those kinds, with every seed,
within ``--schedules``.  Otherwise it is a fixed twin, and ``--clean`` schedules must find nothing.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from typing import NamedTuple

from slubloom.kernel.releases import HISTORY, NEWEST, OLDEST
from slubloom.topology import gallery_names, gallery_path, load

from slubloom.expectation import expected_kinds
from slubloom.explore import ScenarioSubject
from slubloom.explore.campaign import Campaign, CampaignOptions


class Twin(NamedTuple):
    """A scenario on a kernel; ``expected`` kinds are empty for a fixed one."""

    scenario: str
    release: str
    expected: tuple[str, ...]


class Search(NamedTuple):
    """One campaign on a twin."""

    twin: Twin
    seed: int
    schedules: int


def twins() -> list[Twin]:
    """Every scenario on the oldest kernel and on each release that brought a patch, and on the file's own."""
    firsts = {patch.release for patch in HISTORY if patch.release is not None and patch.release <= NEWEST}
    found: list[Twin] = []
    for name in gallery_names():
        scenario = load(gallery_path(name))
        releases = [f"v{major}.{minor}" for major, minor in sorted({OLDEST, *firsts})]
        for release in dict.fromkeys([*releases, scenario.kernel.release]):
            found.append(Twin(name, release, expected_kinds(load(gallery_path(name), release=release))))
    return found


def search(wanted: Search) -> tuple[Search, int, tuple[str, ...]]:
    """Run the campaign; how many schedules it took, and the kinds found."""
    scenario = load(gallery_path(wanted.twin.scenario), release=wanted.twin.release)
    tally = Campaign(ScenarioSubject(scenario), CampaignOptions(schedules=wanted.schedules, seed=wanted.seed)).run()
    if tally.failures:
        raise RuntimeError(f"{wanted}: {tally.failures[0].failure}")
    kinds = sorted({finding.violation.kind for finding in tally.findings.values()})
    return wanted, tally.schedules, tuple(kinds)


def main() -> int:
    """Measure, print the table; 1 where a broken kernel was missed or a fixed one was not clean."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--schedules", type=int, default=1_000)
    parser.add_argument("--clean", type=int, default=100_000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    # A long search of a fixed twin is divided among the workers: campaigns with other seeds share no schedule.
    share = -(-chosen.clean // chosen.jobs)
    searches = [
        Search(twin, seed, chosen.schedules if twin.expected else share)
        for twin in twins()
        for seed in range(1, (chosen.seeds if twin.expected else chosen.jobs) + 1)
    ]
    results: dict[Twin, list[tuple[int, tuple[str, ...]]]] = {}
    with multiprocessing.Pool(chosen.jobs) as pool:
        for number, (done, schedules, kinds) in enumerate(pool.imap(search, searches, chunksize=1)):
            results.setdefault(done.twin, []).append((schedules, kinds))
            if sys.stderr.isatty():
                print(f"\r{number + 1}/{len(searches)} {done.twin.scenario:<40}", end="", file=sys.stderr)
    return report(results)


def report(results: dict[Twin, list[tuple[int, tuple[str, ...]]]]) -> int:
    """Print; the exit status."""
    wrong = 0
    print(f"{'scenario':<24}{'release':<10}{'expected':<26}result")
    for twin, found in results.items():
        total = sum(schedules for schedules, _ in found)
        if twin.expected:
            hits = [schedules for schedules, kinds in found if kinds and set(kinds) <= set(twin.expected)]
            mean = f"{sum(hits) / len(hits):.1f} schedules in the mean, {max(hits)} at most" if hits else "-"
            text = f"found with {len(hits)}/{len(found)} seeds: {mean}"
            wrong += len(hits) < len(found)
        else:
            others = sorted({kind for _, kinds in found for kind in kinds})
            text = f"NOT CLEAN: {', '.join(others)}" if others else f"clean over {total:,} schedules"
            wrong += bool(others)
        print(f"{twin.scenario:<24}{twin.release:<10}{', '.join(twin.expected) or 'nothing':<26}{text}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
