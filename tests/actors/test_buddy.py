"""The buddy system: splitting, merging, alignment, and memory that comes and goes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slubloom.actors.buddy import LARGEST, LARGEST_PAGES, MAX_ORDER, Buddy


def with_memory(start_pfn: int, nr_pages: int) -> Buddy:
    buddy = Buddy()
    buddy.add(start_pfn, nr_pages)
    return buddy


def remove(buddy: Buddy, start: int, pages: int) -> bool:
    """Isolate a range and take it away; false, and no change, where something in it is in use."""
    if buddy.in_use(start, pages):
        return False
    buddy.isolate(start, pages)
    buddy.discard(start, pages)
    return True


def pages_of(counts: list[int]) -> int:
    return sum(count << order for order, count in enumerate(counts))


def test_the_orders_are_0_to_10_and_the_largest_block_is_4_mib_of_4_kib_pages() -> None:
    assert MAX_ORDER == 11
    assert LARGEST == 10
    assert LARGEST_PAGES * 4096 == 4 << 20
    assert Buddy().counts() == [0] * 11


def test_a_split_leaves_one_upper_half_of_each_order_and_hands_out_the_lowest_pages() -> None:
    buddy = with_memory(2048, 1024)
    assert buddy.allocate(7) == 2048
    #  128 taken; its buddy 2176, then 2304 (256 pages) and 2560 (512 pages) are left
    assert buddy.counts() == [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0]
    assert buddy.free_pages == 896
    assert (buddy.allocate(9), buddy.allocate(8), buddy.allocate(7)) == (2560, 2304, 2176)
    assert buddy.counts() == [0] * 11


def test_a_smaller_block_that_fits_is_preferred_to_splitting_a_larger_one() -> None:
    buddy = with_memory(0, 2048)
    assert buddy.allocate(3) == 0
    assert buddy.allocate(2) == 8  # from the order 3 that the first split left
    assert buddy.counts() == [0, 0, 1, 0, 1, 1, 1, 1, 1, 1, 1]


def test_pages_freed_last_are_handed_out_first() -> None:
    buddy = with_memory(0, 1024)
    pages = [buddy.allocate(0) for _ in range(6)]
    assert pages == [0, 1, 2, 3, 4, 5]
    buddy.free(1)
    buddy.free(4)
    assert buddy.allocate(0) == 4
    assert buddy.allocate(0) == 1


def test_a_block_does_not_merge_with_a_neighbour_that_is_not_its_buddy() -> None:
    buddy = with_memory(0, 1024)
    pages = [buddy.allocate(0) for _ in range(4)]
    assert pages == [0, 1, 2, 3]
    buddy.free(1)
    buddy.free(2)  # 1 and 2 touch, but the buddies are 0|1 and 2|3
    assert buddy.counts()[:2] == [2, 0]
    buddy.free(3)
    assert buddy.counts()[:2] == [1, 1]
    buddy.free(0)
    assert buddy.counts() == [0] * 10 + [1]


def test_blocks_of_the_largest_order_do_not_merge() -> None:
    buddy = with_memory(0, 2048)
    first, second = buddy.allocate(10), buddy.allocate(10)
    assert (first, second) == (0, 1024)
    assert buddy.free(0) == 10
    assert buddy.free(1024) == 10
    assert buddy.counts() == [0] * 10 + [2]


def test_a_buddy_system_without_memory_has_nothing_to_give() -> None:
    buddy = Buddy()
    assert buddy.allocate(0) is None
    assert not buddy.has_block(0)
    assert buddy.counts() == [0] * 11
    assert remove(buddy, 0, 0)


def test_only_the_start_of_a_block_in_use_is_held() -> None:
    buddy = with_memory(0, 1024)
    assert buddy.allocate(2) == 0
    assert [buddy.holds(pfn) for pfn in (0, 1, 4)] == [True, False, False]


def test_a_request_larger_than_any_free_block_is_answered_with_none_and_changes_nothing() -> None:
    buddy = with_memory(1, 1023)  # 1, 2, 4, … 512: every order below the largest once
    assert buddy.counts() == [1] * 10 + [0]
    assert buddy.allocate(10) is None
    assert buddy.counts() == [1] * 10 + [0]
    assert buddy.free_pages == 1023
    assert buddy.allocate(9) == 512


def test_what_is_no_allocated_block_cannot_be_freed() -> None:
    buddy = with_memory(0, 1024)
    assert buddy.allocate(1) == 0
    with pytest.raises(KeyError):
        buddy.free(1)  # inside a block, not its start
    buddy.free(0)
    with pytest.raises(KeyError):
        buddy.free(0)
    assert buddy.free_pages == 1024


def test_memory_that_starts_unaligned_gets_the_largest_aligned_blocks_that_fit() -> None:
    # 1000..1007 (3), 1008..1023 (4), 1024..3071 (two of order 10), 3072..3075 (2), 3076 (0)
    buddy = with_memory(1000, 2077)
    assert buddy.counts() == [1, 0, 1, 1, 1, 0, 0, 0, 0, 0, 2]
    assert buddy.free_pages == 2077


def test_memory_added_next_to_its_buddy_merges_with_it() -> None:
    buddy = with_memory(0, 512)
    buddy.add(512, 256)
    assert buddy.counts() == [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0]
    buddy.add(768, 256)
    assert buddy.counts() == [0] * 10 + [1]


def test_page_frame_zero_is_aligned_to_every_order_but_limits_itself_to_the_memory_there_is() -> None:
    assert with_memory(0, 7).counts()[:4] == [1, 1, 1, 0]  # 0..3, 4..5, 6


@pytest.mark.parametrize(("start", "pages"), [(0, 64), (63, 1), (60, 100), (0, 2048), (32, 1)])
def test_a_range_that_touches_a_block_in_use_is_not_removed(start: int, pages: int) -> None:
    buddy = with_memory(0, 2048)
    assert buddy.allocate(6) == 0
    before = buddy.counts()
    assert not remove(buddy, start, pages)
    assert buddy.counts() == before
    assert buddy.free_pages == 2048 - 64
    assert len(buddy.in_use(start, pages)) == 1


def test_a_range_that_begins_right_behind_a_block_in_use_is_removed() -> None:
    buddy = with_memory(0, 1024)
    assert buddy.allocate(6) == 0
    assert buddy.in_use(64, 960) == []
    assert remove(buddy, 64, 960)
    assert buddy.counts() == [0] * 11
    assert buddy.free_pages == 0
    buddy.free(0)
    assert buddy.counts() == [0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]  # no buddy to merge with any more


def test_removing_the_middle_of_free_blocks_keeps_both_ends_in_aligned_blocks() -> None:
    buddy = with_memory(0, 4096)
    assert remove(buddy, 1000, 2080)  # 1000..3079
    # left: 0..999 = 512 + 256 + 128 + 64 + 32 + 8, and 3080..4095 = 8 + 16 + 32 + 64 + 128 + 256 + 512
    assert buddy.counts() == [0, 0, 0, 2, 1, 2, 2, 2, 2, 2, 0]
    assert buddy.free_pages == 1000 + 1016


def test_removing_part_of_a_split_block_leaves_the_rest_of_it() -> None:
    buddy = with_memory(0, 1024)
    assert buddy.allocate(0) == 0
    assert remove(buddy, 600, 100)  # 600..699, inside the free half 512..1023
    # of 512..1023 are left 512..599 = 64 + 16 + 8 and 700..1023 = 4 + 64 + 256 (700, 704, 768)
    assert buddy.counts() == [1, 1, 2, 2, 2, 1, 3, 1, 2, 0, 0]
    assert buddy.free_pages == 1023 - 100


def test_removed_memory_that_is_added_again_merges_with_what_stayed() -> None:
    buddy = with_memory(0, 2048)
    assert remove(buddy, 300, 1000)
    buddy.add(300, 1000)
    assert buddy.counts() == [0] * 10 + [2]
    assert buddy.free_pages == 2048


@given(st.integers(0, 5000), st.integers(1, 5000))
def test_memory_added_anywhere_is_all_there_and_every_block_is_aligned(start: int, pages: int) -> None:
    buddy = with_memory(start, pages)
    assert buddy.free_pages == pages
    assert pages_of(buddy.counts()) == pages
    taken: list[int] = []
    for order in range(LARGEST, -1, -1):  # never splits: each order is empty before the next is asked
        while (pfn := buddy.allocate(order)) is not None:
            assert pfn % (1 << order) == 0
            taken += range(pfn, pfn + (1 << order))
    assert sorted(taken) == list(range(start, start + pages))


@given(st.integers(0, 3000), st.integers(1, 3000), st.data())
def test_removing_any_free_range_leaves_exactly_the_other_pages(start: int, pages: int, data: st.DataObject) -> None:
    buddy = with_memory(start, pages)
    low = data.draw(st.integers(start, start + pages - 1))
    count = data.draw(st.integers(1, start + pages - low))
    assert remove(buddy, low, count)
    assert buddy.free_pages == pages - count
    assert pages_of(buddy.counts()) == pages - count
    left = [buddy.allocate(0) for _ in range(pages - count)]
    assert sorted(pfn for pfn in left if pfn is not None) == [*range(start, low), *range(low + count, start + pages)]


@given(st.integers(0, 2000), st.integers(1, 4000), st.lists(st.tuples(st.integers(0, 10), st.integers(0, 99))))
def test_random_use_hands_no_page_out_twice_and_everything_merges_back(
    start: int, pages: int, script: list[tuple[int, int]]
) -> None:
    buddy = with_memory(start, pages)
    initial = buddy.counts()
    held: dict[int, int] = {}
    for order, which in script:
        if which < 60 or not held:
            expected = buddy.has_block(order)
            pfn = buddy.allocate(order)
            assert expected == (pfn is not None)
            if pfn is None:
                assert not any(buddy.counts()[order:])
                continue
            assert buddy.holds(pfn)
            assert pfn % (1 << order) == 0
            assert start <= pfn
            assert pfn + (1 << order) <= start + pages
            assert all(pfn + (1 << order) <= other or other + (1 << size) <= pfn for other, size in held.items())
            held[pfn] = order
        else:
            pfn = list(held)[which % len(held)]
            assert buddy.free(pfn) == held.pop(pfn)
            assert not buddy.holds(pfn)
        assert buddy.free_pages == pages - sum(1 << size for size in held.values())
        assert buddy.free_pages == pages_of(buddy.counts())
    for pfn in held:
        buddy.free(pfn)
    assert buddy.counts() == initial


# --- isolation


def test_nobody_gets_pages_of_an_isolated_range_and_all_of_them_come_back() -> None:
    buddy = with_memory(0, 4096)
    before = buddy.counts()
    buddy.isolate(1024, 2048)
    assert buddy.free_pages == 2048
    assert buddy.counts() == before  # they are on free lists all the same, as /proc/buddyinfo sees it
    taken = [buddy.allocate(10) for _ in range(3)]
    assert taken == [0, 3072, None]
    buddy.undo_isolation(1024, 2048)
    assert buddy.free_pages == 2048
    assert sorted(pfn for pfn in (buddy.allocate(10), buddy.allocate(10)) if pfn is not None) == [1024, 2048]


def test_what_is_in_use_when_its_range_is_isolated_is_free_for_nobody_when_it_is_freed() -> None:
    buddy = with_memory(0, 1024)
    used = [buddy.allocate(0) for _ in range(3)]
    buddy.isolate(0, 1024)
    assert buddy.in_use(0, 1024) == [(pfn, 0) for pfn in sorted(pfn for pfn in used if pfn is not None)]
    for pfn in used:
        assert pfn is not None
        assert buddy.free(pfn) == 0
    assert buddy.free_pages == 0
    assert buddy.allocate(0) is None
    assert not buddy.has_block(0)
    assert buddy.in_use(0, 1024) == []
    buddy.undo_isolation(0, 1024)
    assert buddy.counts() == with_memory(0, 1024).counts()


def test_ending_an_isolation_leaves_what_is_in_use_to_its_user() -> None:
    buddy = with_memory(0, 1024)
    used = buddy.allocate(3)
    assert used == 0
    buddy.isolate(0, 1024)
    assert pages_of(buddy.counts()) == 1016
    buddy.undo_isolation(0, 1024)
    assert buddy.free_pages == pages_of(buddy.counts()) == 1016
    buddy.free(used)
    assert buddy.counts() == with_memory(0, 1024).counts()


@given(
    st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=40),
    st.integers(0, 3).map(lambda block: block * 1024),
)
def test_pages_are_counted_once_whatever_is_isolated_meanwhile(steps: list[tuple[int, bool]], start: int) -> None:
    buddy = with_memory(0, 4096)
    used: list[tuple[int, int]] = []
    isolated = False
    for number, (order, frees) in enumerate(steps):
        if number == len(steps) // 2:
            buddy.isolate(start, 1024)
            isolated = True
        if frees and used:
            buddy.free(used.pop()[0])
        elif (pfn := buddy.allocate(order)) is not None:
            assert not (isolated and start <= pfn < start + 1024)
            used.append((pfn, order))
        assert pages_of(buddy.counts()) + sum(1 << order for _, order in used) == 4096
    if isolated:
        buddy.undo_isolation(start, 1024)
    assert buddy.free_pages == pages_of(buddy.counts())
    for pfn, _ in used:
        buddy.free(pfn)
    assert buddy.counts() == with_memory(0, 4096).counts()
