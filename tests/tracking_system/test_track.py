from __future__ import annotations

from pathlib import Path

import pytest

from tracking_system.__main__ import main


def walk(frames: int = 40, score: float = 0.97) -> list[str]:
    """Rows of one who walks to the right."""
    return [f"{n},-1,{100 + 4 * n},200,48,120,{score},-1,-1,-1" for n in range(1, frames + 1)]


def tracked(folder: Path, lines: list[str], *words: str) -> list[list[float]]:
    found, out = folder / "det.txt", folder / "result.txt"
    found.write_text("\n".join(lines))
    assert main(["track", str(found), "--fps", "20", "--size", "640x480", "--out", str(out), *words]) == 0
    return [[float(cell) for cell in line.split(",")] for line in out.read_text().splitlines()]


def test_one_person_is_one_track_in_motchallenge_rows(tmp_path: Path) -> None:
    rows = tracked(tmp_path, walk())
    assert {row[1] for row in rows} == {1} and rows[-1][0] == 40
    assert rows[-1][2:6] == pytest.approx([260, 200, 48, 120], abs=5)
    assert rows[-1][6:] == [0.97, -1, -1, -1]


def test_a_settled_result_fills_gaps_and_beginnings(tmp_path: Path) -> None:
    lines = [line for line in walk() if not 20 <= int(line.split(",")[0]) < 26]
    rows = tracked(tmp_path, lines, "--settle", "2")
    assert [row[0] for row in rows] == list(range(1, 41))
    assert {row[1] for row in rows} == {1}


def test_the_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    assert tracked(tmp_path, walk()[::-1]) == tracked(tmp_path, walk())


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ("1,-1,10,20", "4 values instead of at least 7"),
        ("1,-1,a,20,30,40,0.9", "not all of the first 7 values are numbers"),
        ("1,-1,nan,20,30,40,0.9", "a value is not finite"),
        ("0,-1,10,20,30,40,0.9", "the frame is 0"),
        ("1.5,-1,10,20,30,40,0.9", "the frame is 1.5"),
        ("99999999999,-1,10,20,30,40,0.9", "the frame is 99999999999"),
        ("1,-1,10,20,0,40,0.9", "less than one"),
        ("1,-1,10,20,30,-40,0.9", "less than one"),
        ("1,-1,1e9,20,30,40,0.9", "a million pixels"),
    ],
)
def test_a_row_that_is_no_detection_is_named_counted_and_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bad: str, complaint: str
) -> None:
    rows = tracked(tmp_path, [*walk()[:3], bad, "", *walk()[3:]])
    said = capsys.readouterr()
    assert "det.txt:4: skipped" in said.err and complaint in said.err
    assert "1 lines" in said.out
    assert rows == tracked(tmp_path, walk())


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--fps", "0", "--size", "640x480"], "--fps must be"),
        (["--fps", "nan", "--size", "640x480"], "--fps must be"),
        (["--fps", "20", "--size", "640"], "--size must be like 1920x1080"),
        (["--fps", "20", "--size", "640x480", "--settle", "-1"], "--settle must be"),
    ],
)
def test_a_wrong_option_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
) -> None:
    found = tmp_path / "det.txt"
    found.write_text("\n".join(walk()))
    assert main(["track", str(found), "--out", str(tmp_path / "r.txt"), *words]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and complaint in errors


def test_files_that_are_not_there_or_hold_nothing_are_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "det.txt").write_text("\n".join(walk()))
    options = ["--fps", "20", "--size", "640x480", "--out"]
    for found, out, complaint in (
        ("none.txt", "r.txt", "cannot be read"),
        ("empty.txt", "r.txt", "holds no detection"),
        ("det.txt", "no/r.txt", "cannot be written"),
    ):
        assert main(["track", str(tmp_path / found), *options, str(tmp_path / out)]) == 2
        errors = capsys.readouterr().err
        assert errors.count("\n") == 1 and complaint in errors
