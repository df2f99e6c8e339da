"""How many bytes a device gives for the bytes that are asked for: simulated allocators, and what a trace costs on one.

A trace is a list of events (name of a block, bytes): a positive number of bytes allocates the block, 0 frees it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass, field

Event = tuple[int, int]

_KIB, _MIB = 1 << 10, 1 << 20


class Allocator(ABC):
    """Gives and takes back blocks; `allocated_bytes` are in use, `reserved_bytes` taken from the device."""

    def __init__(self) -> None:
        self.allocated_bytes = 0
        self.reserved_bytes = 0

    @abstractmethod
    def allocate(self, size: int) -> Block:
        """Return a block of at least `size` bytes."""

    @abstractmethod
    def free(self, block: Block) -> None:
        """Take a block back."""


@dataclass(eq=False, slots=True)
class Block:
    """A piece of a segment; its neighbours there are where the segment was split."""

    size: int
    pool: _Pool | None = None
    before: Block | None = None
    after: Block | None = None
    number: int = 0
    is_free: bool = False


class HostAllocator(Allocator):
    """The C library's, told by MALLOC_MMAP_THRESHOLD_ to hand every block of 64 KiB back to the system at once.

    Large blocks are whole pages; a small one has a header and is aligned to 64 bytes, as torch asks for.
    """

    THRESHOLD = 64 * _KIB
    _PAGE, _HEADER, _ALIGNED = 4096, 16, 64

    def allocate(self, size: int) -> Block:
        """Return a block of at least `size` bytes."""
        unit = self._PAGE if size >= self.THRESHOLD else self._ALIGNED
        block = Block(_round_up(size + self._HEADER, unit))
        self.allocated_bytes += block.size
        self.reserved_bytes = self.allocated_bytes
        return block

    def free(self, block: Block) -> None:
        """Take a block back."""
        self.allocated_bytes -= block.size
        self.reserved_bytes = self.allocated_bytes


@dataclass(eq=False, slots=True)
class _Pool:
    """Free blocks in order of size, then age; how much may be left of a block that is not split."""

    keep_whole: int
    free: list[tuple[int, int, Block]] = field(default_factory=list)


class CudaAllocator(Allocator):
    """PyTorch's caching allocator with its default settings (c10/cuda/CUDACachingAllocator.cpp, torch 2.6 to 2.13).

    Blocks are multiples of 512 B. Up to 1 MiB they are cut from segments of 2 MiB, up to 10 MiB from segments of
    20 MiB, above that a segment has whole 2 MiB. The smallest free block that fits is taken and split where at least
    512 B (small blocks) or more than 1 MiB (large ones) are left; free neighbours merge. Segments are kept.
    """

    _UNIT, _SMALL, _SMALL_SEGMENT = 512, _MIB, 2 * _MIB
    _LARGE, _LARGE_SEGMENT, _SEGMENT_UNIT = 10 * _MIB, 20 * _MIB, 2 * _MIB

    def __init__(self) -> None:
        super().__init__()
        self._small, self._large = _Pool(self._UNIT - 1), _Pool(self._SMALL)
        self._number = 0

    def allocate(self, size: int) -> Block:
        """Return a block of at least `size` bytes."""
        size = max(_round_up(size, self._UNIT), self._UNIT)
        pool = self._small if size <= self._SMALL else self._large
        block = _take_smallest(pool, size) or self._segment(pool, size)
        if block.size - size > pool.keep_whole:
            self._split(block, size)
        block.is_free = False
        self.allocated_bytes += block.size
        return block

    def free(self, block: Block) -> None:
        """Take a block back, merged with its free neighbours."""
        self.allocated_bytes -= block.size
        assert block.pool is not None
        for other in (block.before, block.after):
            if other is not None and other.is_free:
                _withdraw(block.pool, other)
                _merge(block, other)
        _offer(block.pool, block)

    def _segment(self, pool: _Pool, size: int) -> Block:
        if pool is self._small:
            room = self._SMALL_SEGMENT
        else:
            room = self._LARGE_SEGMENT if size < self._LARGE else _round_up(size, self._SEGMENT_UNIT)
        self.reserved_bytes += room
        return self._new(room, pool)

    def _split(self, block: Block, size: int) -> None:
        assert block.pool is not None
        rest = self._new(block.size - size, block.pool)
        rest.before, rest.after = block, block.after
        if rest.after is not None:
            rest.after.before = rest
        block.size, block.after = size, rest
        _offer(block.pool, rest)

    def _new(self, size: int, pool: _Pool) -> Block:
        self._number += 1
        return Block(size, pool, number=self._number)


def _offer(pool: _Pool, block: Block) -> None:
    block.is_free = True
    insort(pool.free, (block.size, block.number, block))


def _withdraw(pool: _Pool, block: Block) -> None:
    del pool.free[bisect_left(pool.free, (block.size, block.number))]


def _take_smallest(pool: _Pool, size: int) -> Block | None:
    place = bisect_left(pool.free, (size,))
    return pool.free.pop(place)[2] if place < len(pool.free) else None


def _merge(block: Block, other: Block) -> None:
    """Join a free neighbour to a block."""
    if other is block.before:
        block.before = other.before
        if block.before is not None:
            block.before.after = block
    else:
        block.after = other.after
        if block.after is not None:
            block.after.before = block
    block.size += other.size


def _round_up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


@dataclass(frozen=True, slots=True)
class Peak:
    """The most bytes in use at a time, the most taken from the device, and the event after which the former were."""

    allocated_bytes: int
    reserved_bytes: int
    event: int


def replay(events: Iterable[Event], allocator: Allocator) -> Peak:
    """Return the peak of a trace on an allocator that has given nothing yet.

    Raises ValueError for a trace that frees what it has not allocated or allocates what it has not freed.
    """
    held: dict[int, Block] = {}
    most, reserved, at = 0, 0, -1
    for i, (name, size) in enumerate(events):
        if (size == 0) is not (name in held):
            raise ValueError(f"event {i} of the trace allocates or frees block {name} twice")
        if size == 0:
            allocator.free(held.pop(name))
            continue
        held[name] = allocator.allocate(size)
        reserved = max(reserved, allocator.reserved_bytes)
        if allocator.allocated_bytes > most:
            most, at = allocator.allocated_bytes, i
    return Peak(most, reserved, at)
