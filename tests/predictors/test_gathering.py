"""What is measured, in which order, and when it is enough."""

import numpy as np
import pytest

from hilnas.errors import Inconclusive
from predictors._gathering import TableTarget, Target, Wanted, gather, mean_width
from predictors._samples import Samples
from predictors.macs_baseline import MacsBaseline
from predictors.transfer import Transfer
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201(width=4, depth=1, resolution=8)


class Bench(Target):
    """Times by the number of edges that do something; `broken` ones cannot be measured."""

    def __init__(self, broken=lambda text: False, known=()):
        self.calls = []
        self.broken = broken
        self.known = list(known)

    @property
    def samples(self):
        times = np.array([1e-3 + 1e-4 * sum(item.decisions) for item in self.known])
        return Samples(tuple(self.known), times, ((),) * len(self.known))

    def candidates(self, n):
        return SPACE.sample_distinct(min(n, 300), seed=5)

    def measure(self, architectures, progress):
        self.calls.append([item.text for item in architectures])
        self.known += [item for item in architectures if not self.broken(item.text)]


def test_random_choices_are_one_campaign():
    bench = Bench()
    found = gather(bench, MacsBaseline(SPACE), Wanted(12))
    assert [len(call) for call in bench.calls] == [12]
    assert (found.n_measured, len(found.samples), any(found.drawn)) == (12, 12, False)
    assert found.stopped == "as many are known as were asked for"


def test_designed_choices_follow_one_another():
    bench = Bench()
    gather(bench, Transfer(SPACE), Wanted(7))
    assert [len(call) for call in bench.calls] == [5, 1, 1]
    texts = [text for call in bench.calls for text in call]
    assert len({SPACE.canonical(SPACE.parse(text)) for text in texts}) == 7


def test_what_is_recorded_counts():
    bench = Bench(known=SPACE.sample_distinct(5, seed=1))
    assert gather(bench, MacsBaseline(SPACE), Wanted(5)).n_measured == 0
    assert bench.calls == []
    assert gather(bench, MacsBaseline(SPACE), Wanted(8)).n_measured == 3
    forms = [SPACE.canonical(item) for item in bench.samples.architectures]
    assert len(set(forms)) == 8


def test_what_fails_is_replaced_but_not_for_ever():
    known = SPACE.sample_distinct(8, seed=1)
    first = gather(Bench(known=known), MacsBaseline(SPACE), Wanted(10)).samples.architectures[-2:]
    bench = Bench(broken=lambda text: text == first[0].text, known=known)
    found = gather(bench, MacsBaseline(SPACE), Wanted(10))
    assert ([len(call) for call in bench.calls], found.n_measured) == ([2, 1], 2)
    dead = Bench(broken=lambda text: True)
    found = gather(dead, MacsBaseline(SPACE), Wanted(10))
    assert sum(map(len, dead.calls)) == 10
    assert (found.n_measured, found.stopped) == (0, "as many were tried as were asked for")


def test_a_bench_runs_dry():
    bench = Bench()
    bench.candidates = lambda n: SPACE.sample_distinct(6, seed=5)
    found = gather(bench, MacsBaseline(SPACE), Wanted(10))
    assert (found.n_measured, found.stopped) == (6, "nothing is left to measure")


@pytest.mark.parametrize(("budget", "n_drawn"), [(39, 0), (41, 20)])
def test_large_budgets_of_transfer_are_partly_random(budget, n_drawn):
    found = gather(Bench(), Transfer(SPACE), Wanted(budget))
    assert len(found.samples) == budget
    assert sum(found.drawn) == n_drawn


def test_narrow_intervals_end_it():
    bench = Bench()
    found = gather(bench, Transfer(SPACE), Wanted(40, interval=1e9))
    assert (found.n_measured, len(bench.calls)) == (4, 1)
    assert found.interval_width > 0 and "narrow" in found.stopped
    bench = Bench()
    found = gather(bench, MacsBaseline(SPACE), Wanted(40, interval=1e9))
    assert [len(call) for call in bench.calls] == [4, 4, 4], "nine are needed for 90 %"


def test_the_width_is_that_of_ninety_percent():
    known = SPACE.sample_distinct(30, seed=1)
    fitted = MacsBaseline(SPACE, coverage=0.5).fit(known, Bench(known=known).samples.latency_s)
    found = fitted.predict(known, 0.9)
    assert mean_width(fitted, known) == pytest.approx(np.mean((found.upper_s - found.lower_s) / found.mean_s))
    few = MacsBaseline(SPACE).fit(known[:8], Bench(known=known[:8]).samples.latency_s)
    assert mean_width(few, known) is None


class Watched(dict):
    """Values that note which of them were read."""

    def __init__(self, *values):
        super().__init__(*values)
        self.read = set()

    def __getitem__(self, key):
        self.read.add(key)
        return super().__getitem__(key)


def test_of_a_table_only_what_is_chosen_is_read(monkeypatch):
    cells = SPACE.sample_distinct(200, seed=3)
    values = Watched({item.text: 1e-3 + 1e-4 * sum(item.decisions) for item in cells})
    monkeypatch.setattr("predictors._gathering.time_column", lambda *_: values)
    found = gather(TableTarget(None, "table:t/ms", SPACE, 0), Transfer(SPACE), Wanted(9))
    assert values.read == {item.text for item in found.samples.architectures}
    assert len(values.read) == 9


def test_nothing_measured_at_all_is_told():
    class Broken(Bench):
        def measure(self, architectures, progress):
            raise Inconclusive("nothing was measured well")

    with pytest.raises(Inconclusive):
        gather(Broken(), MacsBaseline(SPACE), Wanted(5))
