"""Walls that stop a point: nothing gets through them, in exact fractions, and which ones enclose it."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from envs.maze_walls import MARGIN, Walls

BOX = [[[0, 0], [1, 0]], [[1, 0], [1, 1]], [[1, 1], [0, 1]], [[0, 1], [0, 0]]]
MIDDLE = np.array([0.5, 0.5])

coordinate = st.floats(0.0, 1.0, width=32) | st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.75, 1.0])
point = st.tuples(coordinate, coordinate)
steps = st.lists(st.tuples(st.floats(-3.0, 3.0), st.floats(-3.0, 3.0)), min_size=1, max_size=8)


def long_enough(pair):
    return np.hypot(pair[0][0] - pair[1][0], pair[0][1] - pair[1][1]) > 0.01


inner = st.lists(st.tuples(point, point).filter(long_enough), max_size=4)


def walls(*more):
    return Walls(np.array([*BOX, *more], np.float64))


def exact(pair):
    return [Fraction(float(value)) for value in pair]


def side(a, b, c):
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def between(a, b, c):
    return min(a[0], b[0]) <= c[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= c[1] <= max(a[1], b[1])


def meet(a, b, c, d):
    """Whether the segments a-b and c-d have a point in common, without any rounding."""
    a, b, c, d = map(exact, (a, b, c, d))
    one, two, three, four = side(a, b, c), side(a, b, d), side(c, d, a), side(c, d, b)
    if one * two < 0 and three * four < 0:
        return True
    ends = ((one, a, b, c), (two, a, b, d), (three, c, d, a), (four, c, d, b))
    return any(area == 0 and between(p, q, end) for area, p, q, end in ends)


@settings(max_examples=150)
@given(inner, point, steps)
@example([((0.0, 0.0), (1.0, 1.0))], (0.75, 0.25), [(-1.0, 1.0), (0.25, 0.25), (-3.0, -2.9)])  # into its corner
@example([], (0.5, 0.5), [(0.5, 0.5), (1e-18, -1e-18), (3.0, 3.0), (0.0, -3.0)])
def test_no_path_meets_a_wall(more, begin, moves):
    barrier, place = walls(*more), np.array([begin])
    if not barrier.clear(place)[0]:
        return
    for move in moves:
        new, stopped = barrier.moved(place, np.array([move]))
        assert barrier.clear(new)[0]
        for wall in barrier.segments:
            assert not meet(place[0], new[0], *wall)
        if not stopped[0]:
            np.testing.assert_array_equal(new, place + np.array([move]))
        place = new


@given(st.floats(-3.2, 3.2), st.floats(0.3, 5.0))
def test_a_stopped_point_touches_the_wall_in_its_way(angle, far):
    step = far * np.array([np.cos(angle), np.sin(angle)])
    new, stopped = walls().moved(MIDDLE[None], step[None])
    share = min(1.0, (0.5 - MARGIN) / abs(step).max())  # of the way to the box's thick walls
    assert stopped[0] == (share < 1)
    np.testing.assert_allclose(new[0], MIDDLE + share * step, atol=1e-8)


def test_a_point_at_a_wall_can_leave_it_and_go_along_it_but_not_into_it():
    barrier = walls()
    at, stopped = barrier.moved(np.array([[0.5, 0.25]]), np.array([[1.0, 0.0]]))
    assert stopped[0] and at[0, 0] == pytest.approx(1 - MARGIN, abs=1e-8)
    for step, expected in (([0.0, 0.5], [1 - MARGIN, 0.75]), ([-0.5, 0.0], [0.5 - MARGIN, 0.25])):
        moved, stopped = barrier.moved(at, np.array([step]))
        assert not stopped[0]
        np.testing.assert_allclose(moved[0], expected, atol=1e-8)
    moved, stopped = barrier.moved(at, np.array([[0.01, 0.0]]))
    assert stopped[0]
    np.testing.assert_allclose(moved, at, atol=1e-9)


def test_a_point_that_grazes_a_wall_does_not_slip_into_it_by_rounding():
    random, slips = np.random.default_rng(0), 0
    for segment in random.uniform(0, 1, (30, 1, 2, 2)):
        barrier, along = Walls(segment), segment[0, 1] - segment[0, 0]
        along = along / np.hypot(*along)
        across = np.array([-along[1], along[0]])
        place = segment[0, 0] + random.uniform(0, 0.1, (500, 1)) * along + MARGIN * across
        place = place[barrier.clear(place)]
        step = random.uniform(-0.1, 0.1, (len(place), 1)) * along
        new, _ = barrier.moved(place, step)
        assert barrier.clear(new).all()
        slips += (~barrier.clear(place + barrier.share(place, step)[:, None] * step)).sum()
    assert slips > 100  # so it would have


def test_points_do_not_depend_on_each_other():
    barrier, random = walls([[0.2, 0.2], [0.8, 0.7]]), np.random.default_rng(0)
    place = random.uniform(0.01, 0.99, (50, 2))
    place = place[barrier.clear(place)]
    step = random.normal(size=place.shape)
    together, stopped = barrier.moved(place, step)
    alone = [barrier.moved(p[None], s[None]) for p, s in zip(place, step, strict=True)]
    assert np.concatenate([new for new, _ in alone]).tobytes() == together.tobytes()
    assert [bool(was[0]) for _, was in alone] == stopped.tolist() and 10 < stopped.sum() < len(place)


def test_a_gap_in_the_box_opens_it():
    assert walls().enclose(MIDDLE)
    for missing in range(4):
        assert not Walls(np.array(np.delete(BOX, missing, 0), np.float64)).enclose(MIDDLE)
    short = np.array(BOX, np.float64)
    short[1, 1, 1] = 1 - MARGIN / 2
    assert Walls(short).enclose(MIDDLE)  # no wider than a wall
    short[1, 1, 1] = 0.99
    opened = Walls(short)
    assert not opened.enclose(MIDDLE)
    np.testing.assert_array_equal(opened.loose_ends(), [[1, 0.99], [1, 1]])


def test_what_encloses_another_place_or_nothing_does_not_count():
    small = [[[x / 4, y / 4] for x, y in wall] for wall in BOX]
    assert not Walls(np.array(small)).enclose(MIDDLE)
    assert Walls(np.array(small)).enclose(MIDDLE / 4)
    island = [[[0.4 + x / 5, 0.4 + y / 5] for x, y in wall] for wall in BOX]
    both = Walls(np.array([*BOX, *island], np.float64))
    assert both.enclose(MIDDLE) and both.enclose(np.array([0.1, 0.1])) and len(both.loose_ends()) == 0
    crossing = [[[0.1, 0.2], [0.9, 0.2]], [[0.1, 0.8], [0.9, 0.8]], [[0.2, 0.1], [0.2, 0.9]], [[0.8, 0.1], [0.8, 0.9]]]
    assert Walls(np.array(crossing)).enclose(MIDDLE)  # walls that cross, and whose ends are all loose
    assert not Walls(np.array(crossing)).enclose(np.array([0.1, 0.1]))


def test_the_parts_of_a_slanted_wall_do_not_close_the_door_between_them():
    """Their lines are the same but for rounding, so where these cross says nothing."""
    random = np.random.default_rng(0)
    for _ in range(400):
        one, two, three = random.uniform(0, 1, (3, 2))
        door = one + random.uniform(0.2, 0.4) * (two - one), one + random.uniform(0.6, 0.8) * (two - one)
        middle = (one + two + three) / 3
        closed = Walls(np.array([[one, two], [two, three], [three, one]]))
        if closed.distance(middle) < 0.02:
            continue
        assert closed.enclose(middle)
        opened = Walls(np.array([[one, door[0]], [door[1], two], [two, three], [three, one]]))
        assert not opened.enclose(middle)


LATTICE = 3
EDGES = [((x, y), (x + 1, y)) for x in range(LATTICE) for y in range(LATTICE + 1)]
EDGES += [((x, y), (x, y + 1)) for x in range(LATTICE + 1) for y in range(LATTICE)]


@settings(max_examples=50)
@given(
    st.sets(st.sampled_from(EDGES), min_size=len(EDGES) // 2),
    st.randoms(use_true_random=False),
    st.sampled_from([0.0, np.pi / 4]) | st.floats(0, 6.3),
)
def test_enclosed_is_what_a_flood_over_cells_cannot_leave(there, random, angle):
    shuffled = [edge[:: random.choice((1, -1))] for edge in random.sample(sorted(there), len(there))]
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    barrier = Walls(np.array(shuffled, np.float64) / LATTICE @ turn)
    for x in range(LATTICE):
        for y in range(LATTICE):
            assert barrier.enclose((np.array([x, y]) + 0.4) / LATTICE @ turn) == (not flood_leaves((x, y), there))


def flood_leaves(begin, there):
    seen, waiting = {begin}, [begin]
    while waiting:
        x, y = waiting.pop()
        if not (0 <= x < LATTICE and 0 <= y < LATTICE):
            return True
        right, up = ((x + 1, y), (x + 1, y + 1)), ((x, y + 1), (x + 1, y + 1))
        left, down = ((x, y), (x, y + 1)), ((x, y), (x + 1, y))
        ways = {(x + 1, y): right, (x, y + 1): up, (x - 1, y): left, (x, y - 1): down}
        fresh = [cell for cell, wall in ways.items() if wall not in there and cell not in seen]
        seen.update(fresh)
        waiting += fresh
    return False
