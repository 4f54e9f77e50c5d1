from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from services.store import export as export_module
from services.store.database import DatabaseManager
from services.store.export import export
from shared.config import CameraConfig
from shared.errors import StorageError
from shared.messages import IdentityEvent, Tracks
from tests.store.scene import START_NS, stamp, tracks


def fill(folder: Path, *sent: Tracks) -> None:
    with DatabaseManager(folder) as database:
        for message in sent:
            camera, session = message.stamp.camera, message.stamp.session
            database.commit([(camera, session, database.position(camera, session) + 1, message)])


def mot(folder: Path, camera: int = 1) -> list[str]:
    export(folder, "mot", folder / "out")
    return (folder / "out" / f"cam{camera}.txt").read_text().splitlines()


def test_a_mot_row_is_frame_identity_box_and_score(tmp_path: Path) -> None:
    fill(tmp_path, tracks(stamp(1, 4), [(3, 7)], boxes=[(-1.5, 2.25, 10.0, 22.26)], scores=[0.87654]))
    assert mot(tmp_path) == ["5,7,-1.50,2.25,11.50,20.01,0.8765,-1,-1,-1"]


def test_mot_has_the_settled_identity_of_people_who_were_observed(tmp_path: Path) -> None:
    fill(
        tmp_path,
        tracks(stamp(1, 0), [(1, 9), (2, 8), (3, 0), (4, 6)], observed=[True, True, True, False]),
        tracks(stamp(1, 1), assign=[(1, 7)]),
    )
    assert [row.split(",")[:2] for row in mot(tmp_path)] == [["1", "7"], ["1", "8"]]


def test_online_mot_has_the_identity_that_was_shown_live_and_nobody_who_had_none_yet(tmp_path: Path) -> None:
    fill(
        tmp_path,
        tracks(stamp(1, 0), [(1, 0), (2, 8)]),
        tracks(stamp(1, 1), [(1, 9), (2, 8)]),
        tracks(stamp(1, 2), [(1, 7), (2, 8)], assign=[(1, 7), (2, 6)], observed=[True, False]),
    )
    exported = export(tmp_path, "mot", tmp_path / "out", online=True)
    rows = (tmp_path / "out" / "cam1.txt").read_text().splitlines()
    assert [row.split(",")[:2] for row in rows] == [["1", "8"], ["2", "8"], ["2", "9"], ["3", "7"]]
    assert (exported.rows, exported.left_out) == (4, 0)


def test_people_cannot_be_exported_online(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"json cannot be exported online.*use mot or csv"):
        export(tmp_path, "json", tmp_path / "out", online=True)


def test_of_one_identity_twice_in_a_frame_mot_keeps_the_higher_score_and_counts_the_other(
    tmp_path: Path,
) -> None:
    fill(
        tmp_path,
        tracks(stamp(1, 0), [(1, 7), (2, 8)], scores=[0.4, 0.6]),
        tracks(stamp(1, 1), [(1, 7)], assign=[(2, 7)]),
    )
    exported = export(tmp_path, "mot", tmp_path / "out")
    rows = (tmp_path / "out" / "cam1.txt").read_text().splitlines()
    assert [row.split(",")[6] for row in rows] == ["0.6000", "0.5000"]
    assert (exported.rows, exported.left_out) == (2, 1)


def test_every_camera_has_its_mot_file_even_an_empty_one(tmp_path: Path) -> None:
    fill(tmp_path, tracks(stamp(1, 0), [(1, 7)]), tracks(stamp(2, 0)))
    assert mot(tmp_path, 2) == []
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["cam1.txt", "cam2.txt"]


def test_the_sessions_of_a_camera_follow_one_another_in_one_numbering(tmp_path: Path) -> None:
    later = START_NS + 10**12
    fill(
        tmp_path,
        tracks(stamp(1, 0, session=9, t_ns=later), [(2, 7)]),
        *(tracks(stamp(1, frame, session=5), [(1, 7)] if frame < 2 else []) for frame in range(3)),
    )
    assert [row.split(",")[0] for row in mot(tmp_path)] == ["1", "2", "4"]


def test_csv_has_every_observation_with_all_that_is_known(tmp_path: Path) -> None:
    fill(
        tmp_path,
        tracks(stamp(1, 0), [(2, 0), (3, 8)], observed=[True, False], scores=[0.5, 1.0], assign=[(2, 7)]),
    )
    with DatabaseManager(tmp_path) as database:
        database.set_cameras({1: CameraConfig(1, "rtsp://secret", 'door, "north"')})
        database.commit([(0, 1, 0, IdentityEvent(7, "name", 1, "Ada"))])
    exported = export(tmp_path, "csv", tmp_path / "out")
    assert exported.rows == 2
    assert (tmp_path / "out" / "observations.csv").read_text().splitlines() == [
        "time,camera,camera_name,session,frame_index,track,identity,identity_shown,name,"
        "x0,y0,x1,y1,score,observed",
        '2024-05-01T12:00:00.000000000Z,1,"door, ""north""",1,0,2,7,,Ada,20.00,20.00,50.00,120.00,0.5000,1',
        '2024-05-01T12:00:00.000000000Z,1,"door, ""north""",1,0,3,8,8,,30.00,20.00,60.00,120.00,1.0000,0',
    ]


def test_csv_has_no_cell_that_a_spreadsheet_takes_for_a_formula(tmp_path: Path) -> None:
    fill(tmp_path, tracks(stamp(1, 0), [(2, 7)]))
    with DatabaseManager(tmp_path) as database:
        database.set_cameras({1: CameraConfig(1, "a", "+41 door")})
        database.commit([(0, 1, 0, IdentityEvent(7, "name", 1, '=HYPERLINK("http://x","Ada")'))])
    export(tmp_path, "csv", tmp_path / "out")
    with (tmp_path / "out" / "observations.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["name"], row["camera_name"]) == ('\'=HYPERLINK("http://x","Ada")', "'+41 door")


def test_json_is_one_document_as_if_it_had_been_written_at_once(tmp_path: Path) -> None:
    fill(tmp_path / "a", tracks(stamp(1, 0), [(2, 7), (3, 8)]), tracks(stamp(2, 15), [(4, 7)]))
    fill(tmp_path / "b")
    for folder in (tmp_path / "a", tmp_path / "b"):
        export(folder, "json", folder / "out")
        text = (folder / "out" / "people.json").read_text()
        assert text == json.dumps(json.loads(text), indent=1, ensure_ascii=False) + "\n"


def test_json_has_the_people_and_their_sightings(tmp_path: Path) -> None:
    fill(tmp_path, tracks(stamp(1, 0), [(2, 7)]), tracks(stamp(1, 15), [(2, 7)]))
    export(tmp_path, "json", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "people.json").read_text()) == {
        "cameras": [{"camera": 1, "name": "camera 1"}],
        "people": [
            {
                "identity": 7,
                "name": "",
                "followed": False,
                "first_seen": "2024-05-01T12:00:00.000000000Z",
                "last_seen": "2024-05-01T12:00:01.500000000Z",
                "sightings": [
                    {
                        "camera": 1,
                        "camera_name": "camera 1",
                        "first": "2024-05-01T12:00:00.000000000Z",
                        "last": "2024-05-01T12:00:01.500000000Z",
                        "last_box": [20.0, 20.0, 50.0, 120.0],
                        "last_score": 0.5,
                    }
                ],
            }
        ],
    }


@pytest.mark.parametrize("file_format", ["mot", "csv", "json"])
def test_the_same_frames_give_the_same_bytes_however_cameras_interleaved(
    tmp_path: Path, file_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "_FRAMES_AT_ONCE", 7)
    sent = [
        tracks(stamp(camera, n), [(10 * camera, 7), (10 * camera + n, 8)])
        for camera in (1, 2)
        for n in range(9)
    ]
    fill(tmp_path / "a", *sent)
    fill(tmp_path / "b", *sorted(sent, key=lambda one: one.stamp.t_ns))
    files = [
        [path.read_bytes() for path in export(tmp_path / run, file_format, tmp_path / run / "out").files]
        for run in ("a", "b")
    ]
    assert files[0] == files[1]
    assert any(files[0])


def test_an_unknown_format_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="known are mot, csv, json"):
        export(tmp_path, "xml", tmp_path)


def test_an_export_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    fill(tmp_path, tracks(stamp(1, 0)))
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(StorageError, match="out: File exists"):
        export(tmp_path, "mot", tmp_path / "out")
