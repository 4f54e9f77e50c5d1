from __future__ import annotations

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from shared.text import printable, printable_lines, spreadsheet_cell


def test_ordinary_names_stay_as_they_are() -> None:
    for name in ("Ada Lovelace", "Čeněk 'Ž' Ñandú", "李小龙", "نیک‌پی", "👩‍🚒", "Gate (north), 2nd"):
        assert printable(name) == name
        assert spreadsheet_cell(name) == name


def test_what_would_steer_a_terminal_is_shown_as_its_escape() -> None:
    assert printable("Ada\x1b[2J\r\n\u202eevil\x9b1m") == r"Ada\x1b[2J\r\n\u202eevil\x9b1m"
    assert printable_lines("one\ntwo\x1b]0;title\x07") == "one\ntwo\\x1b]0;title\\x07"


@given(st.text())
def test_nothing_printable_is_a_control_character_or_more_than_one_line(text: str) -> None:
    shown = printable(text)
    assert not any(ord(each) < 32 or 127 <= ord(each) < 160 or 0xD800 <= ord(each) < 0xE000 for each in shown)
    assert len(shown.splitlines()) <= 1
    assert printable(shown) == shown


@given(st.text(alphabet=st.characters(blacklist_categories=["Cs"])))
def test_no_cell_begins_as_a_formula_and_every_name_can_be_read_back(name: str) -> None:
    cell = spreadsheet_cell(name)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"))
    assert cell in (printable(name), "'" + printable(name))
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerow(["before", cell, "after"])
    assert next(csv.reader(io.StringIO(file.getvalue(), newline=""))) == ["before", cell, "after"]
