import numpy as np
import pytest

from autotune.search import (
    Candidate,
    EvolutionarySearch,
    GridSearch,
    Known,
    RandomSearch,
    points,
    sample,
    size,
)

SEARCHES = [RandomSearch(), GridSearch(), EvolutionarySearch(), EvolutionarySearch(exhaustive=10)]


class Bowl:
    """x and y up to a bound, valid if x <= y; best at x = 16, y = 64."""

    def __init__(self, knobs=2, powers=8, listed=True):
        self.choices = tuple(np.array([2**p for p in range(powers)]) for _ in range(knobs))
        every = np.stack([c.ravel() for c in np.meshgrid(*self.choices, indexing="ij")], axis=1) if listed else None
        self.rows = every[self.valid(every)] if listed else None

    def valid(self, values):
        return values[:, 0] <= values[:, 1]


class Box:
    """All of 0, 1 ... for each knob."""

    def __init__(self, *extents):
        self.choices = tuple(np.arange(extent) for extent in extents)
        self.rows = np.stack([c.ravel() for c in np.meshgrid(*self.choices, indexing="ij")], axis=1)

    def valid(self, values):
        return np.ones(len(values), bool)


def score(index, values):
    distance = np.abs(np.log2(values[:, 0]) - 4) + np.abs(np.log2(values[:, 1]) - 6)
    return distance + np.log2(values[:, 2:]).sum(axis=1) + index


def propose(search, spaces, count=16, seen=(), seed=0, best=()):
    return search.propose(Known(spaces, score, best, set(seen), np.random.default_rng(seed)), count)


@pytest.mark.parametrize("listed", [True, False])
def test_sizes_and_samples(listed):
    space = Bowl(listed=listed)
    assert size(space) == (36 if listed else 64)
    drawn = sample(space, 30, np.random.default_rng(0))
    assert drawn.shape == (30, 2)
    assert space.valid(drawn).all()


@pytest.mark.parametrize("search", SEARCHES)
def test_proposals_are_valid_new_and_fixed_by_the_seed(search):
    spaces = [Bowl(), Bowl()]
    first = propose(search, spaces)
    assert first == propose(search, spaces)
    assert len(set(first)) == 16
    assert all(c.values[0] <= c.values[1] for c in first)
    assert not set(first) & set(propose(search, spaces, seen=first))


@pytest.mark.parametrize("search", SEARCHES)
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
    space = Bowl(knobs=9, listed=False)
    assert size(space) > 1e8
    assert propose(EvolutionarySearch(), [space])[0].values == (16, 64, 1, 1, 1, 1, 1, 1, 1)


def test_a_batch_is_diverse():
    found = propose(EvolutionarySearch(explore=0), [Bowl(knobs=9, listed=False)])
    for at in range(9):
        rest = [c.values[:at] + c.values[at + 1 :] for c in found]
        assert max(rest.count(r) for r in rest) <= 2


def test_a_grid_is_even_and_goes_on_where_it_ended():
    spaces = [Box(8, 4), Box(16)]
    first = propose(GridSearch(), spaces, 6)
    more = propose(GridSearch(), spaces, 6, seen=first, seed=1)
    assert len({*first, *more}) == 12
    assert propose(GridSearch(), spaces, 12, seed=2) == first + more
    assert abs(sum(c.space == 0 for c in first + more) - 8) <= 1  # two thirds of all points are there


def test_a_large_space_is_scored_in_parts():
    space, calls = Box(300, 300), []

    def score(values):
        calls.append(len(values))
        return (values[:, 0] - 7.0) ** 2 + (values[:, 1] - 250) ** 2

    best = EvolutionarySearch(population=5).survivors(space, score, np.random.default_rng(0))
    assert best[0].tolist() == [7, 250]
    assert (sum(calls), len(calls)) == (90_000, 2)


@pytest.mark.parametrize("listed", [True, False])
def test_points_are_numbered(listed):
    space = Box(3, 5)
    space.rows = space.rows if listed else None
    assert points(space, np.arange(size(space)))[[0, 1, 5, 14]].tolist() == [[0, 0], [0, 1], [1, 0], [2, 4]]
