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
