"""Simulated allocators: what they give and take, on any order of requests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler._allocators import CudaAllocator, HostAllocator, replay

MIB = 1 << 20
#: Requests around the borders between the allocators' kinds of blocks.
SIZES = st.one_of(st.integers(1, 5000), st.integers(MIB - 2000, MIB + 2000), st.integers(1, 40 * MIB))


@st.composite
def traces(draw):
    """Return events in which every block is allocated once and freed at most once, and the requests."""
    events, held = [], []
    for name, size in enumerate(draw(st.lists(SIZES, max_size=40))):
        events.append((name, size))
        held.append(name)
        while held and draw(st.booleans()):
            events.append((held.pop(draw(st.integers(0, len(held) - 1))), 0))
    return events + [(name, 0) for name in draw(st.permutations(held))]


def asked(events):
    """Return the most bytes asked for and not given back at a time."""
    sizes = {name: size for name, size in events if size}
    now = most = 0
    for name, size in events:
        now += size or -sizes[name]
        most = max(most, now)
    return most


@given(traces(), st.sampled_from([CudaAllocator, HostAllocator]))
def test_no_less_is_given_than_asked_for_and_all_comes_back(events, kind):
    allocator = kind()
    peak = replay(events, allocator)
    assert asked(events) <= peak.allocated_bytes <= peak.reserved_bytes
    assert allocator.allocated_bytes == 0
    assert peak.event == -1 if not events else events[peak.event][1] > 0


@given(traces())
def test_what_is_free_is_whole_again(events):
    """After everything came back, the segments are as if nothing had ever been cut from them."""
    allocator = CudaAllocator()
    first = replay(events, allocator)
    assert replay(events, allocator).reserved_bytes == first.reserved_bytes == allocator.reserved_bytes


@given(traces())
def test_a_large_block_wastes_a_mebibyte_at_most(events):
    allocator, held = CudaAllocator(), {}
    for name, size in events:
        if size:
            held[name] = allocator.allocate(size)
            assert size <= held[name].size <= size + (MIB + 512 if size > MIB else 511)
        else:
            allocator.free(held.pop(name))


@pytest.mark.parametrize(
    ("sizes", "allocated", "reserved"),
    [
        ([1], 512, 2 * MIB),
        ([513], 1024, 2 * MIB),
        ([MIB], MIB, 2 * MIB),
        ([MIB, MIB], 2 * MIB, 2 * MIB),
        ([MIB, MIB, 1], 2 * MIB + 512, 4 * MIB),
        ([MIB + 1], MIB + 512, 20 * MIB),
        ([10 * MIB - 512], 10 * MIB - 512, 20 * MIB),
        ([10 * MIB], 10 * MIB, 10 * MIB),
        ([11 * MIB], 12 * MIB, 12 * MIB),  # a mebibyte that is left is not cut off
        ([11 * MIB - 512], 11 * MIB - 512, 12 * MIB),
        ([32 * MIB] * 3, 96 * MIB, 96 * MIB),
    ],
)
def test_cuda_blocks_and_segments(sizes, allocated, reserved):
    peak = replay(enumerate(sizes), CudaAllocator())
    assert (peak.allocated_bytes, peak.reserved_bytes) == (allocated, reserved)


def test_the_smallest_free_block_that_fits_is_used_again():
    events = [(0, 32 * MIB), (1, 12 * MIB), (0, 0), (1, 0), (2, 12 * MIB), (3, 30 * MIB)]
    assert replay(events, CudaAllocator()).reserved_bytes == 44 * MIB


@pytest.mark.parametrize(("size", "given"), [(4, 64), (48, 64), (49, 128), (65536, 69632), (10 * MIB, 10 * MIB + 4096)])
def test_host_blocks(size, given):
    assert replay([(0, size)], HostAllocator()).allocated_bytes == given


@pytest.mark.parametrize("events", [[(0, 0)], [(0, 8), (0, 8)], [(0, 8), (0, 0), (0, 0)]])
def test_a_trace_that_makes_no_sense_is_refused(events):
    with pytest.raises(ValueError, match="twice"):
        replay(events, HostAllocator())
