from __future__ import annotations

from services.store.database import DatabaseManager
from services.store.history import History
from services.store.summary import summary_table
from shared.config import CameraConfig
from shared.messages import IdentityEvent
from tests.store.scene import stamp, tracks


def test_each_person_has_the_cameras_they_crossed_and_the_last_place(
    database: DatabaseManager, history: History
) -> None:
    database.set_cameras({1: CameraConfig(1, "a.mp4", "hall"), 2: CameraConfig(2, "b.mp4")})
    for camera, first in ((1, 0), (2, 100)):
        rows = [tracks(stamp(camera, first + n), [(camera, 7)]) for n in range(20)]
        database.commit([(camera, 1, n, row) for n, row in enumerate(rows)])
    events = [IdentityEvent(7, "name", 1, "Ada"), IdentityEvent(9, "follow", 1)]
    database.commit([(0, 1, n, event) for n, event in enumerate(events)])
    assert summary_table(history).splitlines() == [
        "person  cameras crossed  from                   to                     last seen",
        "7 Ada   hall             2024-05-01 12:00:00.0  2024-05-01 12:00:01.9  "
        "camera 2 at 2024-05-01 12:00:11.9, foot point (35, 120)",
        "        camera 2         2024-05-01 12:00:10.0  2024-05-01 12:00:11.9",
        "9                                                                      never",
    ]


def test_names_cannot_steer_the_terminal_or_add_lines(database: DatabaseManager, history: History) -> None:
    database.set_cameras({1: CameraConfig(1, "a.mp4", "hall\x1b[2J")})
    database.commit([(1, 1, 0, tracks(stamp(1, 0), [(1, 7)]))])
    database.commit([(0, 1, 0, IdentityEvent(7, "name", 1, "Ada\r\n8 Eve"))])
    header, row = summary_table(history).split("\n")
    assert "7 Ada\\r\\n8 Eve" in row
    assert "hall\\x1b[2J" in row
    assert (header + row).isprintable()


def test_of_many_people_those_who_were_seen_last_and_the_named_are_in_the_table(
    database: DatabaseManager, history: History
) -> None:
    for identity in range(1, 7):
        message = tracks(stamp(1, 10 * identity), [(identity, identity)])
        database.commit([(1, 1, identity, message)])
    database.commit([(0, 1, 0, IdentityEvent(2, "name", 1, "Ada"))])
    table = summary_table(history, 3).splitlines()
    assert [row.split("  ")[0] for row in table[1:]] == ["2 Ada", "4", "5", "6"]
