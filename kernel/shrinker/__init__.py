"""Shrinkers: how memory reclaim has caches give objects back, and how they come and go meanwhile.

Who meets here: *reclaimers* (kswapd, direct reclaim, reclaim for a cgroup, drop_caches) that walk the shrinkers;
*registrars* (mount), *unregistrars* (umount); *users* of LRU lists, who put an object on a list and say so in the
bitmap of its cgroup; cgroups that come online, go offline and end; and whoever needs a larger bitmap for a new id.

What is shared, and what protects it:

======================== ======================================= ==============================================
what                     changed under                           looked at
======================== ======================================= ==============================================
list of shrinkers        the writers' lock                       rwsem: its read side; SRCU; or RCU + reference
``shrinker_idr``         the writers' lock                       the same
``memcg->shrinker_info`` the writers' lock                       the same; RCU to set a bit
bits of a map            atomic                                  atomic
``nr_deferred``          atomic (exchange, addition)             atomic
lists of a `ListLru`     ``nlru->lock`` of the node              the same; their lengths without
======================== ======================================= ==============================================

Life of a shrinker: *allocated* (has an id and is in ``shrinker_idr`` if it is memcg-aware; nobody asks it) →
*registered* (on the list; asked) → *unregistered* (nobody asks it any more, none of its callbacks runs) → freed.

What has changed (the variants of the seam ``shrinkers`` in releases.py; one class each):

============ ============ ====================================================================== ==============
from         class        what keeps a shrinker alive while it is asked                          commits
============ ============ ====================================================================== ==============
up to 4.18   `rwsem`      ``shrinker_rwsem``, read by trylock: who fails reclaims nothing;
                          a walk ends early where somebody waits for the lock
4.19         `rwsem`      the same; for a cgroup those are asked whose bits are set in its map   b0dedc49a2da
6.4-rc       `srcu`       SRCU; unregistering waits for a grace period, which was too slow       f95bdb700bc6
                                                                                                 caa05325c912
6.7          `refcounted` a reference taken under RCU; unregistering waits for the last one      ca1d36b82394
                          with a completion.  ``shrinker_mutex`` is for writers only             50d09da8e119
7.2          `refcounted` as before; who skips a shrinker gives its reference back               (M36)
============ ============ ====================================================================== ==============

Walk over all, 6.7: RCU; next on the list; reference or skip; leave RCU; ask, which may sleep; RCU again, *then* put the
reference: ``next`` is still on the list, for it is unlinked only after the last reference is gone.
Walk over a cgroup's map, 6.7: for each unit of 64 bits: RCU; info; its unit; leave RCU; for each set bit: RCU; look the
id up, take a reference, *clear the bit if there is none* (M38: also one that is not registered yet); leave RCU; ask;
put.  The unit stays, without RCU, as long as the cgroup, which the walker holds.

A shrinker that has nothing says SHRINK_EMPTY: its bit is cleared, it is asked again, and the bit is set again if it has
something after all.  Who adds the first object puts it on the list, then sets the bit.  One of the two sees the other
(here: in every interleaving; on real processors thanks to two full barriers, M30).  `ClearWithoutRecount` of `rwsem`,
a patch that nobody sent, leaves the second question out.

Maps (seam ``shrinker_maps``, module `maps`): up to 6.6 growing *copies* the map with all old bits set, for a bit may be
set in the old one after it was copied; from 6.7 (307bececcd12) *units are shared* by the old and the new array, which
is what keeps deferred counts whole without a lock.  Two bugs of cgroups that fail to come online are variants too: M37
(15e8156713cc), M59.

LRU lists (`list_lru`, `lru_memcg`; seams ``lru_reparenting``: M28, ``lru_owner``: M29): a cgroup that goes offline
hands its lists to its parent: first its number becomes the parent's, for later additions, then the lists are spliced
under ``nlru->lock``.

What keeps what is declared where it is allocated (`KeptBy`), by the protocol (`Walks.kept_by`, `info_kept_by`): a
shrinker by readers of its walks' flavour, the writers' lock, and references from 6.7; an info by its readers or the
lock, *inside* its cgroup, which takes it with it; a unit by its cgroup, while maps were copied by its info.  Pointers
are loaded with rcu_dereference() and relatives, so the sanitizer ``existence`` can tell what each use rests on.  The
four questions of the review of 6.7 are answered that way in the gallery, three of them with a patch that takes one
guarantee away.

Lock order, outermost first: ``cgroup_mutex`` → ``list_lrus_mutex`` → ``nlru->lock``; ``cgroup_mutex`` →
``shrinker_rwsem`` or ``shrinker_mutex``; ``s_umount`` → either of these.  Reclaim takes ``shrinker_rwsem`` and
``s_umount`` by trylock only, and ``nlru->lock`` for short.

The series as reviewed (v4 of lockless slab shrink) has no variant of its own: of the source this rests on nothing that
would tell its protocol from the merged one.  Left out: what differs from 4.19 to 5.12 (deferred counts per
shrinker, placeholders in the idr), where these releases get the protocol of 5.13; vfs_cache_pressure.
"""

from .shrinker import ShrinkControl, Shrinker
from .shrinkers import Shrinkers

__all__ = ["ShrinkControl", "Shrinker", "Shrinkers"]
