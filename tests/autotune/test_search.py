import numpy as np
import pytest

from autotune.search import Candidate, EvolutionarySearch, RandomSearch, everything, sample, size


class Bowl:
    """x and y up to a bound, valid if x <= y; best at x = 16, y = 64."""

    def __init__(self, knobs=2, powers=8):
        self.choices = tuple(np.array([2**p for p in range(powers)]) for _ in range(knobs))

    def valid(self, values):
        return values[:, 0] <= values[:, 1]


def score(index, values):
    distance = np.abs(np.log2(values[:, 0]) - 4) + np.abs(np.log2(values[:, 1]) - 6)
    return distance + np.log2(values[:, 2:]).sum(axis=1) + index


def propose(search, spaces, count=16, seen=(), seed=0, best=()):
    return search.propose(spaces, count, score, best, set(seen), np.random.default_rng(seed))


def test_sizes_and_samples():
    space = Bowl()
    assert size(space) == 64
    assert len(everything(space)) == 36
    drawn = sample(space, 100, np.random.default_rng(0))
    assert drawn.shape == (100, 2)
    assert space.valid(drawn).all()


@pytest.mark.parametrize("search", [RandomSearch(), EvolutionarySearch(), EvolutionarySearch(exhaustive=10)])
def test_proposals_are_valid_new_and_fixed_by_the_seed(search):
    spaces = [Bowl(), Bowl()]
    first = propose(search, spaces)
    assert first == propose(search, spaces)
    assert len(set(first)) == 16
    assert all(c.values[0] <= c.values[1] for c in first)
    assert not set(first) & set(propose(search, spaces, seen=first))


@pytest.mark.parametrize("search", [RandomSearch(), EvolutionarySearch(), EvolutionarySearch(exhaustive=10)])
def test_a_small_space_is_used_up(search):
    seen, spaces = [], [Bowl(powers=3)]
    while found := propose(search, spaces, count=4, seen=seen):
        seen += found
    assert len(seen) == len(set(seen)) == 6


@pytest.mark.parametrize("search", [EvolutionarySearch(), EvolutionarySearch(exhaustive=10)])
def test_the_model_leads_to_the_best_point(search):
    measured = [(Candidate(0, (1, 1)), 1.0)]
    assert propose(search, [Bowl(), Bowl()], best=measured)[:2] == [Candidate(0, (16, 64)), Candidate(0, (8, 64))]


def test_the_first_batch_looks_into_every_space():
    found = propose(EvolutionarySearch(explore=0), [Bowl(), Bowl(), Bowl()])
    assert [c.space for c in found[:6]] == [0, 1, 2, 0, 1, 2]


def test_evolution_climbs_in_a_space_too_large_to_list():
    space = Bowl(knobs=9)
    assert size(space) > 1e8
    assert propose(EvolutionarySearch(), [space])[0].values == (16, 64, 1, 1, 1, 1, 1, 1, 1)


def test_a_batch_is_diverse():
    found = propose(EvolutionarySearch(explore=0), [Bowl(knobs=9)])
    for at in range(9):
        rest = [c.values[:at] + c.values[at + 1 :] for c in found]
        assert max(rest.count(r) for r in rest) <= 2
