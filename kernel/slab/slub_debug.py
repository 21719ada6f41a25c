"""The boot parameter ``slub_debug=``: which caches get which debug flags.

Mirrors parse_slub_debug_flags(), setup_slub_debug() and kmem_cache_flags() of mm/slub.c (6.1).

The value is a row of blocks with semicolons between.  A block is letters, or letters, a comma and a list of cache
names with commas between; a name may end in ``*``.  A block without names is about all caches, the last of them
counts; one with names is about those only, the first that matches counts and replaces what is about all.

    F consistency checks   Z red zones   P poisoning   U user tracking   T trace   A failslab
    O not where metadata would make a slab larger   - nothing        no letters: F, Z, P and U
"""

from __future__ import annotations

from dataclasses import dataclass

from .flags import (
    DEBUG_DEFAULT_FLAGS,
    NOT_CONFIGURED,
    SLAB_CONSISTENCY_CHECKS,
    SLAB_FAILSLAB,
    SLAB_NO_USER_FLAGS,
    SLAB_NOLEAKTRACE,
    SLAB_POISON,
    SLAB_RED_ZONE,
    SLAB_STORE_USER,
    SLAB_TRACE,
)

LETTERS = {
    "f": SLAB_CONSISTENCY_CHECKS,
    "z": SLAB_RED_ZONE,
    "p": SLAB_POISON,
    "u": SLAB_STORE_USER,
    "t": SLAB_TRACE,
    "a": SLAB_FAILSLAB & ~NOT_CONFIGURED,
}


@dataclass(frozen=True, slots=True)
class _Block:
    """Flags, and where in the text their list of names starts and the next block does; None for neither."""

    flags: int
    names: int | None
    next: int | None


@dataclass(frozen=True, slots=True)
class SlubDebug:
    """What the parameter asks for; as it is here, nothing.

    `flags` are for all caches but those that a block of `text` names.
    """

    flags: int = 0
    disable_higher_order_debug: bool = False
    text: str = ""
    blocks: tuple[_Block, ...] = ()

    def cache_flags(self, name: str, flags: int) -> int:
        """`flags` and those that a cache called `name` gets besides (``kmem_cache_flags``)."""
        if flags & SLAB_NO_USER_FLAGS:
            return flags
        for block in self.blocks:
            if block.names is not None and _is_named(name, self.text, block.names, block.next):
                return flags | block.flags
        # Leak detection keeps its own track of users.
        return flags | (self.flags & ~SLAB_STORE_USER if flags & SLAB_NOLEAKTRACE else self.flags)


NO_DEBUG = SlubDebug()


def parse_slub_debug(value: str, before: SlubDebug = NO_DEBUG) -> SlubDebug:
    """What ``slub_debug=value`` asks for; `value` is empty for the bare word, `before` what an earlier one did.

    Raises:
        ValueError: there is no such letter.
    """
    if not value:
        return SlubDebug(DEBUG_DEFAULT_FLAGS, before.disable_higher_order_debug, before.text, before.blocks)
    blocks: list[_Block] = []
    higher_order = before.disable_higher_order_debug
    at: int | None = 0
    while at is not None:
        block, disable = _parse_block(value, at)
        blocks.append(block)
        higher_order = higher_order or disable
        at = block.next
    for_all = [block.flags for block in blocks if block.names is None]
    if len(for_all) == len(blocks):
        return SlubDebug(for_all[-1], higher_order, before.text, before.blocks)
    return SlubDebug(for_all[-1] if for_all else before.flags, higher_order, value, tuple(blocks))


def _parse_block(text: str, at: int) -> tuple[_Block, bool]:
    """The block that starts at `at`, and whether it has the letter O."""
    at = _skip(text, at, ";")
    flags = 0
    higher_order_disable = False
    if text[at : at + 1] == ",":
        flags = DEBUG_DEFAULT_FLAGS
    else:
        while at < len(text) and text[at] not in ",;":
            letter = text[at].lower()
            if letter == "-":
                flags = 0
            elif letter == "o":
                higher_order_disable = True
            elif letter in LETTERS:
                flags |= LETTERS[letter]
            else:
                raise ValueError(f"slub_debug={text}: there is no option {text[at]!r}; there are: F Z P U T A O and -")
            at += 1
    names = at + 1 if text[at : at + 1] == "," else None
    end = text.find(";", at)
    following = len(text) if end < 0 else _skip(text, end, ";")
    return _Block(flags, names, following if following < len(text) else None), higher_order_disable


def _skip(text: str, at: int, character: str) -> int:
    while text[at : at + 1] == character:
        at += 1
    return at


def _is_named(name: str, text: str, at: int, next_block: int | None) -> bool:
    """Whether the list of names at `at` has `name`, read as the kernel does.

    It takes a name to end at a comma or one character before the next block: the semicolon at the very end of the
    value, or the first of two, counts as part of the name before it.
    """
    while at < len(text):
        comma = text.find(",", at)
        end = len(text) if comma < 0 else comma
        if next_block is not None and next_block < end:
            end = next_block - 1
        star = text.find("*", at, end)
        length = star - at if star >= 0 else max(len(name), end - at)
        if f"{name}\0"[:length] == f"{text[at:]}\0"[:length]:
            return True
        if end == len(text) or text[end] == ";":
            return False
        at = end + 1
    return False
