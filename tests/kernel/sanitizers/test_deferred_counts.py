"""Deferred counts are conserved: seen from events and state, not told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slubloom.topology import gallery_path, load

from slubloom.explore import ScenarioSubject
from slubloom.explore.campaign import Campaign, CampaignOptions

from ..shrinker.story import GROUPS, ONE_NODE, SANITIZERS, memcg_of, shrinker, told
from ..shrinker.test_protocol import Counted

if TYPE_CHECKING:
    from slubloom.kernel import Machine
    from slubloom.kernel.shrinker import Shrinkers

TEXT = ONE_NODE + SANITIZERS + GROUPS + shrinker("fs")


def balance(change: int, *, gone: bool = False) -> list[str]:
    """What is found when a shrinker has left 112 objects for later, and `change` more are written there by nobody."""

    async def body(machine: Machine, shrinkers: Shrinkers) -> None:
        mine = Counted(machine, 10_000)
        await mine.come(shrinkers)
        await shrinkers.protocol.shrink_slab(0xFFFF, 0, memcg_of(machine, ""), 5)
        assert mine.shrinker.nr_deferred == {0: 112}
        mine.shrinker.nr_deferred[0] += change
        if gone:
            await shrinkers.umount("fs")

    return [violation.title for violation in told(TEXT, body, release="v6.7").violations]


def test_what_is_left_for_later_is_there() -> None:
    assert balance(0) == []


def test_a_count_that_is_missing_or_there_twice_is_told_of() -> None:
    assert balance(-12) == ["nr_deferred of shrinker mine: 12 deferred objects were lost"]
    assert balance(112) == ["nr_deferred of shrinker mine: 112 are counted twice"]


def test_nothing_is_said_where_a_shrinker_has_gone_whose_id_another_may_have() -> None:
    assert balance(-12, gone=True) == []


def test_a_count_that_is_added_to_a_map_that_was_copied_is_found_by_exploring() -> None:
    scenario = load(gallery_path("deferred-counts-survive"), release="v6.3", apply=("srcu-memcg-shrink-rc",))
    tally = Campaign(ScenarioSubject(scenario), CampaignOptions(schedules=600)).run()
    titles = [finding.violation.title for finding in tally.findings.values()]
    assert [title.partition(":")[0] for title in titles] == ["nr_deferred of shrinker sb-fs0"]
