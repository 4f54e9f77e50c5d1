from __future__ import annotations

import numpy as np

from services.tracker.gallery import MAX_TRACKS, WINDOW_S, Gallery
from services.tracker.track import Track
from tests.tracker.scene import START_NS, look

SIZE_PX = (640, 480)


def stay(
    track_id: int, camera: int, first_s: float, last_s: float, person: int, *, closed: bool = True
) -> Track:
    track = Track(track_id, camera, START_NS + round(first_s * 1e9))
    for n, t_s in enumerate(np.arange(first_s, last_s + 1e-6, 0.5)):
        t_ns = START_NS + round(t_s * 1e9)
        track.observe(t_ns, [t_ns * 1e-9, 320.0, 300.0, 0.0, 0.0, 150.0])
        track.embed(look(person, seed=100 * track_id + n).astype(float), 0.8)
    track.open = not closed
    return track


def decided(*tracks: Track, gallery: Gallery | None = None) -> Gallery:
    gallery = gallery or Gallery(0.75)
    for track in tracks:
        gallery.see([track], SIZE_PX)
    gallery.decide(max(track.last_ns for track in tracks))
    return gallery


def test_one_who_changes_the_camera_stays_the_same_person() -> None:
    a, b = stay(1, 1, 0, 4, 1), stay(2, 2, 5, 9, 1)
    decided(a, b)
    assert a.identity == b.identity == 1


def test_two_seen_at_once_by_one_camera_are_two_people_however_alike() -> None:
    a, b, c = stay(1, 1, 0, 4, 1), stay(2, 1, 3, 9, 1), stay(3, 2, 10, 12, 1)
    decided(a, b, c)
    assert a.identity != b.identity
    assert c.identity in (a.identity, b.identity)


def test_of_two_candidates_both_are_assigned_jointly() -> None:
    before = [stay(1, 1, 0, 4, 1), stay(2, 1, 0, 4, 2)]
    after = [stay(3, 2, 5, 9, 2), stay(4, 2, 5, 9, 1)]
    decided(*before, *after)
    assert [t.identity for t in after] == [before[1].identity, before[0].identity]


def test_later_evidence_reassigns_a_track_and_the_empty_identity_is_forgotten() -> None:
    a = stay(1, 1, 0, 4, 1)
    b = stay(2, 2, 5, 6, 2)
    gallery = decided(a, b)
    assert a.identity != b.identity
    b.total, b.weight, b.count = look(1).astype(float) * 8, 8.0, 10
    gallery.decide(START_NS + 8_000_000_000)
    assert a.identity == b.identity
    assert list(gallery.register.people) == [a.identity]
    assert set(gallery.register.changes()) == {1, 2}


def test_a_followed_person_keeps_the_number() -> None:
    a = stay(1, 1, 0, 4, 1)
    b = stay(2, 2, 5, 6, 2)
    gallery = decided(a, b)
    gallery.register.people[2].followed = True
    b.total, b.weight, b.count = look(1).astype(float) * 8, 8.0, 10
    gallery.decide(START_NS + 8_000_000_000)
    assert a.identity == b.identity == 2


def test_an_open_track_gives_way_to_a_later_one_of_the_same_person() -> None:
    lost, found = stay(1, 1, 0, 4, 1, closed=False), stay(2, 1, 5, 9, 1, closed=False)
    gallery = decided(lost, found)
    assert lost.identity == found.identity
    assert gallery.superseded() == [lost]


def test_what_ended_long_ago_is_settled_and_memory_stays_bounded() -> None:
    gallery = Gallery(0.75)
    for n in range(2 * MAX_TRACKS):
        decided(stay(n + 1, 1 + n % 3, 10.0 * n, 10.0 * n + 2, n), gallery=gallery)
    assert len(gallery.tracks) <= WINDOW_S / 10 + 2
    assert sum(person.tail is not None for person in gallery.register.people.values()) > MAX_TRACKS


def test_two_seen_at_once_are_not_joined_by_way_of_another_camera_either() -> None:
    a, between, c = stay(1, 1, 0, 10, 1), stay(2, 2, 4, 6, 1), stay(3, 1, 7, 12, 1)
    decided(a, between, c)
    assert a.identity != c.identity
    assert between.identity in (a.identity, c.identity)
