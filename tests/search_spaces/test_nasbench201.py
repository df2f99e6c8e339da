"""NAS-Bench-201: texts, canonical forms, skeleton, and the reference table."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilnas.errors import UsageError
from search_spaces._costs import static_costs
from search_spaces.nasbench201 import EDGES, OPERATIONS, NasBench201

SPACE = NasBench201()
TINY = NasBench201(width=2, depth=1, resolution=8)
PUBLISHED = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
decisions = st.tuples(*[st.integers(0, len(OPERATIONS) - 1)] * len(EDGES))


def with_edges(cell, **operations):
    """Return decisions with some edges replaced, named `e01` ... `e23`."""
    changed = list(cell)
    for name, operation in operations.items():
        changed[EDGES.index((int(name[1]), int(name[2])))] = operation
    return tuple(changed)


def edge(cell, name):
    return cell[EDGES.index((int(name[1]), int(name[2])))]


def form(cell):
    return SPACE.canonical(SPACE.architecture(cell))


def test_published_string():
    architecture = SPACE.parse(PUBLISHED)
    names = [OPERATIONS[item] for item in architecture.decisions]
    assert names == ["avg_pool_3x3", "nor_conv_1x1", "skip_connect", "nor_conv_1x1", "skip_connect", "skip_connect"]
    assert str(architecture) == f"nasbench201:{PUBLISHED}"


@given(decisions)
def test_text_round_trip(cell):
    architecture = SPACE.architecture(cell)
    assert SPACE.parse(architecture.text) == architecture
    assert SPACE.parse(f"  {architecture.text.removeprefix('nasbench201:')}\n") == architecture


@given(decisions, st.integers(0, 200), st.text(max_size=3))
def test_damaged_text_is_refused_or_another_cell(cell, place, junk):
    text = SPACE.architecture(cell).text
    damaged = text[: place % len(text)] + junk + text[place % len(text) + 1 :]
    try:
        parsed = SPACE.parse(damaged)
    except UsageError:
        return
    assert parsed.text.removeprefix("nasbench201:") == damaged.strip().removeprefix("nasbench201:")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            PUBLISHED.replace("|avg_pool_3x3~0|", "|avg_pool_3x4~0|"),
            ["edge 0 of node 1", "'avg_pool_3x4'", "avg_pool_3x3"],
        ),
        (PUBLISHED.replace("skip_connect~2", "skip_conect~2"), ["edge 2 of node 3", "'skip_conect'", "skip_connect"]),
        (PUBLISHED.replace("skip_connect~2", "skip_connect~1"), ["edge 2 of node 3", "skip_connect~1"]),
        (PUBLISHED.replace("|nor_conv_1x1~0|skip_connect~1|+", "|nor_conv_1x1~0|+"), ["node 2 needs 2 edges"]),
        (PUBLISHED.rsplit("+", 1)[0], ["Three nodes"]),
        (PUBLISHED + "+|none~0|", ["Three nodes"]),
        (PUBLISHED[1:], ["Three nodes"]),
    ],
)
def test_bad_text_says_where_and_what(text, expected):
    with pytest.raises(UsageError) as error:
        SPACE.parse(text)
    for part in expected:
        assert part in str(error.value)


@pytest.mark.parametrize("options", [{"width": 0}, {"depth": 0}, {"resolution": 30}, {"classes": 0}, {"batch": 0}])
def test_impossible_skeletons_are_refused(options):
    with pytest.raises(UsageError):
        NasBench201(**options)


def test_enumeration_has_6466_forms():
    cells = list(SPACE.enumerate())
    assert len(set(cells)) == 15_625
    assert len({SPACE.canonical(cell) for cell in cells}) == 6_466


@given(decisions)
def test_equal_nodes_may_swap_their_readers(cell):
    """Behind a skip, node 1 is node 0: the two edges from them to one node are unordered terms of a sum."""
    cell = with_edges(cell, e01=1)
    assert form(cell) == form(with_edges(cell, e03=edge(cell, "e13"), e13=edge(cell, "e03")))
    assert form(cell) == form(with_edges(cell, e02=edge(cell, "e12"), e12=edge(cell, "e02")))


@given(decisions, decisions)
def test_edges_into_a_node_that_nobody_reads_do_not_matter(cell, other):
    unread = with_edges(cell, e23=0)
    changed = with_edges(unread, e02=edge(other, "e02"), e12=edge(other, "e12"))
    assert form(unread) == form(changed)


@given(decisions, decisions)
def test_edges_out_of_a_zero_node_do_not_matter(cell, other):
    zero = with_edges(cell, e01=0)
    changed = with_edges(zero, e12=edge(other, "e12"), e13=edge(other, "e13"))
    assert form(zero) == form(changed)


@given(decisions)
def test_a_live_convolution_matters(cell):
    kept = with_edges(cell, e03=2)
    assert form(kept) != form(with_edges(cell, e03=3))


@given(decisions, st.integers(0, 2**32))
def test_mutants_are_connected_neighbours(cell, seed):
    mutant = SPACE.mutate(SPACE.architecture(cell), np.random.default_rng(seed))
    assert sum(a != b for a, b in zip(cell, mutant.decisions, strict=True)) == 1
    assert TINY.graph(mutant).connected


def test_mutation_reaches_every_neighbour():
    rng = np.random.default_rng(0)
    start = SPACE.architecture((2,) * 6)
    assert len({SPACE.mutate(start, rng) for _ in range(600)}) == 24


@given(decisions)
def test_a_cell_costs_what_its_edges_cost(cell):
    """A convolution of edge 1x1 has width^2 weights; the three stages cost the same multiply-adds."""
    costs = static_costs(TINY.graph(TINY.architecture(cell)))
    bare = static_costs(TINY.graph(TINY.architecture((1,) * 6)))
    units = cell.count(2) + 9 * cell.count(3)
    assert costs.macs - bare.macs == units * 3 * 8 * 8 * 2 * 2
    convolutions = cell.count(2) + cell.count(3)
    assert costs.params - bare.params == units * (2**2 + 4**2 + 8**2) + convolutions * 2 * (2 + 4 + 8)


def test_skeleton_follows_the_options():
    space = NasBench201(width=8, depth=2, resolution=16, classes=7, batch=3)
    graph = space.graph(space.parse(PUBLISHED))
    assert graph.input.shape == (3, 3, 16, 16)
    assert graph.calls[-1].block.output.shape == (3, 7)
    shapes = [call.block.output.shape for call in graph.calls if call.name.startswith("reduction")]
    assert shapes == [(3, 16, 8, 8), (3, 32, 4, 4)]
    assert sum(call.block.kind == "nor_conv_1x1" for call in graph.calls) == 2 * 3 * 2
    assert {block.key for block in space.blocks()} >= {call.block.key for call in graph.calls}


def test_equal_options_share_blocks():
    first, second = NasBench201(), NasBench201()
    assert all(a is b for a, b in zip(first.blocks(), second.blocks(), strict=True))


def test_forms_and_connection_match_the_reference_table(nb201_cost):
    forms, groups = {}, {}
    for row in nb201_cost:
        architecture = SPACE.parse(row["arch_str"])
        form = SPACE.canonical(architecture)
        assert forms.setdefault(row["iso_group"], form) == form
        assert groups.setdefault(form, row["iso_group"]) == row["iso_group"]
        assert TINY.graph(architecture).connected == (row["connected"] == "1")
    assert len(forms) == len(groups) == 6_466


@pytest.mark.parametrize(
    ("dataset", "options", "step"),
    [
        ("cifar10", {}, 1),
        ("cifar100", {"classes": 100}, 7),
        ("imagenet16_120", {"classes": 120, "resolution": 16}, 7),
    ],
)
def test_costs_match_the_reference_table(nb201_cost, dataset, options, step):
    """The table adds the bias of the classifier to the multiply-adds, one a class; everything else is equal."""
    space = NasBench201(**options)
    classes = space.options["classes"]
    for row in nb201_cost[::step]:
        costs = static_costs(space.graph(space.parse(row["arch_str"])))
        assert costs.macs == int(row[f"macs_{dataset}"]) - classes
        assert costs.params == int(row[f"params_{dataset}"])


def test_pruned_costs_match_the_reference_table(nb201_cost):
    """`macs_out` is the graph without dead calls, `macs_live` the live one, each with the classifier's bias.

    The table prunes cells and keeps the skeleton, which a disconnected network of ours loses as well.
    """
    bare = static_costs(SPACE.graph(SPACE.architecture((1,) * 6))).macs
    for row in nb201_cost:
        graph = SPACE.graph(SPACE.parse(row["arch_str"]))
        if not graph.connected:
            assert int(row["macs_live_cifar10"]) - 10 == bare
            assert static_costs(graph.live()).macs == 0
            continue
        assert static_costs(graph.without_dead()).macs == int(row["macs_out_cifar10"]) - 10
        assert static_costs(graph.live()).macs == int(row["macs_live_cifar10"]) - 10
