from __future__ import annotations

import numpy as np

from services.tracker.kalman import Float64
from services.tracker.topology import Asked, Topology
from services.tracker.track import Track
from services.tracker.ways import Ways

SIZES = {1: (640, 480), 2: (800, 600)}
START_NS = 1_700_000_000_000_000_000


def stay(track_id: int, camera: int, first_s: float, last_s: float, place: object) -> Track:
    """A track whose foot point at t seconds is place(t)."""
    track = Track(track_id, camera, START_NS + round(first_s * 1e9))
    assert callable(place)
    for t_s in np.arange(first_s, last_s + 1e-6, 0.2):
        x, y = place(t_s)
        ahead = place(t_s + 0.1)
        t_ns = START_NS + round(t_s * 1e9)
        track.observe(t_ns, [t_ns * 1e-9, x, y, (ahead[0] - x) * 10, (ahead[1] - y) * 10, 150.0])
    return track


def crossings(count: int) -> list[Track]:
    """People walking through both of two overlapping views, the second flipped and enlarged."""
    tracks = []
    for n in range(count):
        start, depth = 20.0 * n, 250.0 + 37 * (n % 5)

        def first(t_s: float, start: float = start, depth: float = depth) -> tuple[float, float]:
            return 100 * (t_s - start), depth

        def second(t_s: float, start: float = start, depth: float = depth) -> tuple[float, float]:
            return 800 - 1.25 * (100 * (t_s - start) - 400), 1.25 * depth

        tracks.append(stay(2 * n + 1, 1, start, start + 6, first))
        tracks.append(stay(2 * n + 2, 2, start + 4.5, start + 10, second))
    return tracks


def ratio(
    topology: Topology, ways: Ways, earlier: list[int], later: list[int], links: list[float]
) -> Float64:
    asked = Asked(np.array(earlier), np.array(later), np.array(links), np.ones(len(links), np.int64))
    terms = topology.ratios(ways, asked)
    return np.asarray(np.sum(list(terms.values()), axis=0))


def test_ways_are_interpolated_within_and_walked_on_beyond() -> None:
    ways = Ways.of(
        [stay(1, 1, 0, 2, lambda t: (100 * t, 300.0)), stay(2, 2, 5, 6, lambda t: (50.0, 400.0))], SIZES
    )
    there = ways.at(np.array([0, 0, 1]), np.array([1.1, 3.0, 5.5]))
    np.testing.assert_allclose(there[:, 0], [110, 300, 50], atol=1e-3)
    np.testing.assert_allclose(there[:, 1], [300, 300, 400], atol=1e-3)


def test_an_unknown_pair_of_cameras_says_nothing_about_the_place() -> None:
    tracks = crossings(2)
    ways = Ways.of(tracks, SIZES)
    right, wrong = ratio(Topology(), ways, [0, 2], [1, 3], [0, 0])
    assert abs(right - wrong) < 0.5


def test_the_map_between_overlapping_views_is_learned_from_a_few_links() -> None:
    tracks = crossings(6)
    # Somebody else, at the same moment elsewhere in the second view, walking the other way.
    other = stay(99, 2, 104.5, 110, lambda t: (100 + 120 * (t - 104.5), 590.0))
    ways = Ways.of([*tracks, other], SIZES)
    earlier, later = [0, 2, 4, 6, 8, 10, 10], [1, 3, 5, 7, 9, 11, 12]
    value = ratio(Topology(), ways, earlier, later, [1.0, 1, 1, 1, 1, 0, 0])
    assert value[5] > 3
    assert value[6] < value[5] - 4


def test_where_other_cameras_overlap_an_unknown_pair_is_readily_taken_to_overlap_too() -> None:
    pairs = crossings(6)
    third, fourth = (stay(50 + n, 3 + n, 200, 206, lambda t: (10 * t, 300.0)) for n in (0, 1))
    ways = Ways.of([*pairs, third, fourth], SIZES | {3: (1280, 720), 4: (1280, 720)})
    earlier, later = [0, 2, 4, 6, 8, 10, 12], [1, 3, 5, 7, 9, 11, 13]
    alone = ratio(Topology(), ways, [12], [13], [0.0])[0]
    among_them = ratio(Topology(), ways, earlier, later, [1.0] * 6 + [0.0])[6]
    assert alone + 0.4 < among_them < alone + 1.2, "but nothing is certain of a pair that is unknown"


def test_settled_links_are_remembered_and_restored() -> None:
    tracks = crossings(6)
    ways = Ways.of(tracks, SIZES)
    topology = Topology()
    for n in range(5):
        topology.learn(ways, np.array([2 * n]), np.array([2 * n + 1]))
    again = Topology.restored(topology.state())
    learned, restored, new = (
        ratio(each, ways, [10], [11], [0.0])[0] for each in (topology, again, Topology())
    )
    assert learned == restored
    assert learned > new + 3


def test_one_camera_never_shows_a_person_twice_at_once() -> None:
    ways = Ways.of(
        [stay(1, 1, 0, 4, lambda t: (100.0, 300.0)), stay(2, 1, 3, 6, lambda t: (100.0, 300.0))], SIZES
    )
    assert ratio(Topology(), ways, [0], [1], [0])[0] == -np.inf


def test_who_is_lost_within_the_picture_is_found_near_by_rather_than_far_away() -> None:
    lost = stay(1, 1, 0, 4, lambda t: (320.0, 300.0))
    near = stay(2, 1, 6, 8, lambda t: (340.0, 310.0))
    far = stay(3, 1, 6, 8, lambda t: (30.0, 470.0))
    ways = Ways.of([lost, near, far], SIZES)
    topology = Topology()
    topology.expect(20)
    value = ratio(topology, ways, [0, 0], [1, 2], [0, 0])
    assert value[0] > value[1] + 1
