"""Ageing evolution: tournament, mutation, death of the oldest; limits before scores."""

import pytest

from hilnas.errors import UsageError
from searchers._problem import Evaluation, Problem
from searchers.regularized_evolution import RegularizedEvolution


def differ(one, other):
    return sum(a != b for a, b in zip(one.decisions, other.decisions, strict=True))


def test_children_are_mutations_of_the_best_of_a_tournament(toy, problem, evaluation):
    searcher = RegularizedEvolution(toy, problem(), population=4, tournament=4)
    searcher.suggest(4)
    searcher.update(
        [evaluation(text, score) for text, score in (("111", 1.0), ("211", 9.0), ("301", 3.0), ("100", 2.0))]
    )
    children = searcher.suggest(20)
    assert all(differ(child, toy.parse("211")) == 1 for child in children)


def test_the_oldest_dies_even_when_it_is_the_best(toy, problem, evaluation):
    searcher = RegularizedEvolution(toy, problem(), population=2, tournament=2)
    searcher.suggest(2)
    searcher.update([evaluation("312", 9.0), evaluation("111", 1.0)])
    searcher.update([evaluation("100", 2.0)])
    assert all(differ(child, toy.parse("100")) == 1 for child in searcher.suggest(20))


def test_what_keeps_the_limit_beats_what_does_not_whatever_the_scores(toy, problem, evaluation):
    searcher = RegularizedEvolution(toy, problem(), population=3, tournament=3)
    searcher.suggest(3)
    searcher.update(
        [evaluation("312", 99.0, 2.1), evaluation("100", -5.0, 1.0), evaluation("111", 9.0, cause="broken")]
    )
    assert all(differ(child, toy.parse("100")) == 1 for child in searcher.suggest(20))


def test_among_infeasible_ones_the_nearest_to_the_limit_wins(toy, problem, evaluation):
    searcher = RegularizedEvolution(toy, problem(), population=2, tournament=2)
    searcher.suggest(2)
    searcher.update([evaluation("312", 99.0, 9.0), evaluation("100", -5.0, 2.5)])
    assert all(differ(child, toy.parse("100")) == 1 for child in searcher.suggest(20))


def test_climbs_to_the_best_of_the_toy_space(toy):
    searcher = RegularizedEvolution(toy, Problem("toy", (), 200, 1))
    seen = []
    for _ in range(200):
        (item,) = searcher.suggest(1)
        seen.append(item)
        searcher.update([Evaluation(item, float(sum(item.decisions)), {}, {}, True)])
    assert toy.parse("312") in seen
    late = seen[-50:]
    assert sum(sum(item.decisions) for item in late) / 50 > 4.0


@pytest.mark.parametrize("options", [{"tournament": 0}, {"tournament": 11}, {"population": 2}])
def test_a_tournament_larger_than_the_population_is_refused(toy, problem, options):
    with pytest.raises(UsageError, match="tournament"):
        RegularizedEvolution(toy, problem(), **options)
