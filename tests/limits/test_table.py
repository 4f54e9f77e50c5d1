"""docs/limits.md says what the code does."""

from __future__ import annotations

import pkgutil
from datetime import datetime, timedelta, timezone
from importlib import import_module
from typing import Any

import pytest

import tests.limits
from shared import limits
from tests.limits.table import Row, covered, rows

ROWS = rows()
SECOND_NS = 10**9
YEAR_S = 365.25 * 86_400
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def written(constant: str, figure: Any) -> set[str]:
    """The ways in which the value of a constant may be written."""
    ways = {f"{figure:,}", f"{figure:,g}"} if isinstance(figure, float) else {f"{figure:,}"}
    if constant.endswith("_NS"):
        date = EPOCH + timedelta(seconds=figure // SECOND_NS)
        ways = {f"{figure / SECOND_NS:,g} s", f"{figure / SECOND_NS / YEAR_S:.0f} years"}
        return ways | {date.strftime("%Y-%m-%d")}
    if constant.endswith("_S"):
        return {f"{figure:g} s"}
    if isinstance(figure, int) and figure % (1 << 20) == 0:
        ways.add(f"{figure >> 20} MiB")
    if isinstance(figure, float):
        ways.add(f"{figure * 100:g} %")
    return ways


def test_there_are_rows() -> None:
    assert len(ROWS) > 60


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.constants[0])
def test_the_value_of_a_row_is_that_of_its_constants(row: Row) -> None:
    figures = row.figures
    constants = row.constants * (len(figures) // len(row.constants))
    values = row.value.split(" to ")
    assert len(values) == len(figures)
    for value, constant, figure in zip(values, constants, figures, strict=True):
        assert value in written(constant, figure), f"{constant} is {figure}"


def test_every_row_has_a_test_that_goes_to_its_limit_and_every_such_test_a_row() -> None:
    for module in pkgutil.iter_modules(tests.limits.__path__, "tests.limits."):
        import_module(module.name)
    assert covered == {constant for row in ROWS for constant in row.constants}


def test_every_limit_between_services_has_a_row() -> None:
    named = {constant for row in ROWS for constant in row.constants}
    missing = {f"shared.limits.{name}" for name in vars(limits) if name.isupper()} - named
    assert missing == set()
