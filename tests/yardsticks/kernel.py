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
from slubloom.topology import Scenario, gallery_names, gallery_path, load

from slubloom.expectation import expected_kinds
from slubloom.explore import ScenarioSubject
from slubloom.explore.campaign import Campaign, CampaignOptions


class Twin(NamedTuple):
    """A scenario on a kernel; ``expected`` kinds are empty for a fixed one."""

    scenario: str
    release: str
    apply: tuple[str, ...]
    expected: tuple[str, ...]

    @property
    def kernel(self) -> str:
        """The kernel as ``compare`` writes it."""
        return "+".join([self.release, *self.apply])

    def load(self) -> Scenario:
        """The scenario on that kernel."""
        return load(gallery_path(self.scenario), release=self.release, overrides=[f"kernel.apply={[*self.apply]}"])


class Search(NamedTuple):
    """One campaign on a twin."""

    twin: Twin
    seed: int
    schedules: int


def twins() -> list[Twin]:
    """Every scenario on the oldest kernel, on each release that brought a patch, on the file's own, and with patches.

    A patch that no release has belongs to the release of the file that names it, with it and without.
    """
    firsts = {patch.release for patch in HISTORY if patch.release is not None and patch.release <= NEWEST}
    releases = [f"v{major}.{minor}" for major, minor in sorted({OLDEST, *firsts})]
    unreleased = {patch.name for patch in HISTORY if patch.release is None}
    found: list[Twin] = []
    for name in gallery_names():
        scenario = load(gallery_path(name))
        own = scenario.kernel.release
        patched = {tuple(patch for patch in where.having if patch in unreleased) for where in scenario.expect.where}
        kernels = [(own, apply) for apply in sorted({(), scenario.kernel.apply, *patched})]
        if not scenario.kernel.apply:
            kernels += [(release, ()) for release in releases if release != own]
        for release, apply in kernels:
            twin = Twin(name, release, apply, ())
            found.append(twin._replace(expected=expected_kinds(twin.load())))
    return found


def sample(every: list[Twin]) -> list[Twin]:
    """Those at which a scenario's expectations change: the first and the last kernel of each run of equal ones."""
    return [
        twin
        for before, twin, after in zip([None, *every], every, [*every[1:], None], strict=False)
        if before is None or after is None or before[::3] != twin[::3] or after[::3] != twin[::3]
    ]


def search(wanted: Search) -> tuple[Search, int, tuple[str, ...]]:
    """Run the campaign; how many schedules it took, and the kinds found."""
    scenario = wanted.twin.load()
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
    print(f"{'scenario':<30}{'kernel':<32}{'expected':<20}result")
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
        print(f"{twin.scenario:<30}{twin.kernel:<32}{', '.join(twin.expected) or 'nothing':<20}{text}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
