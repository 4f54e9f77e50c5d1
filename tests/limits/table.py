"""The rows of docs/limits.md, and which of them a test goes to and beyond."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from shared.config import Config

PAGE = Path(__file__).resolve().parents[2] / "docs" / "limits.md"
NAMES = re.compile(r"`([\w.]+)`")
Test = TypeVar("Test", bound=Callable[..., Any])

covered: set[str] = set()


def covers(*constants: str) -> Callable[[Test], Test]:
    """Mark a test that goes to the limits that these constants hold, and beyond."""
    covered.update(constants)
    return lambda test: test


@dataclass(frozen=True)
class Row:
    """One row: its value as it is written, and the full names of the constants that hold it."""

    limit: str
    value: str
    constants: tuple[str, ...]

    @property
    def figures(self) -> list[Any]:
        """The values of the constants, in their order; a setting has a lowest and a highest one."""
        return [figure for constant in self.constants for figure in _figures(constant)]


def rows() -> list[Row]:
    """All rows of the page."""
    found = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 5 and NAMES.search(cells[2]):
            found.append(Row(cells[0], cells[1], tuple(NAMES.findall(cells[2]))))
    return found


def _figures(constant: str) -> tuple[Any, ...]:
    module, name = constant.rsplit(".", 1)
    if module == "shared.config.Config":
        metadata = Config.__dataclass_fields__[name].metadata
        return metadata["low"], metadata["high"]
    return (getattr(import_module(module), name),)
