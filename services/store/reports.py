"""The newest report of every process."""

from __future__ import annotations

import json
import sqlite3

from shared.messages import Report

HOSTS_KEPT = 2
"""Hosts remembered of one service and instance: where it runs, and where it ran before.

A recreated container has a new host name, so without a limit every one of them would stay.
"""

_PROCESSES_KEPT = 10_000
"""Reports remembered in all, the latest heard ones; more than any installation has processes."""

_CLOCK_SET_NS = 60_000_000_000
"""An older report than the stored one was overtaken on its way, or the clock was set back: then by more."""


def store_report(connection: sqlite3.Connection, report: Report) -> None:
    """Keep a process's report, unless a newer one is stored, and drop those of processes that are gone."""
    stored = connection.execute(
        "INSERT INTO reports (service, instance, host, pid, t_ns, state, readings, heard) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, (SELECT coalesce(max(heard), 0) + 1 FROM reports)) "
        "ON CONFLICT DO UPDATE SET pid = excluded.pid, t_ns = excluded.t_ns, state = excluded.state, "
        "readings = excluded.readings, heard = excluded.heard "
        "WHERE excluded.t_ns >= t_ns OR excluded.t_ns < t_ns - ?",
        (
            report.service,
            report.instance,
            report.host,
            report.pid,
            report.t_ns,
            report.state,
            json.dumps(report.readings, sort_keys=True),
            _CLOCK_SET_NS,
        ),
    )
    if stored.rowcount:
        _drop_old(connection, report)


def _drop_old(connection: sqlite3.Connection, report: Report) -> None:
    connection.execute(
        "DELETE FROM reports WHERE service = :service AND instance = :instance AND heard <= "
        "(SELECT heard FROM reports WHERE service = :service AND instance = :instance "
        "ORDER BY heard DESC LIMIT 1 OFFSET :kept)",
        {"service": report.service, "instance": report.instance, "kept": HOSTS_KEPT},
    )
    connection.execute(
        "DELETE FROM reports WHERE heard <= (SELECT heard FROM reports ORDER BY heard DESC LIMIT 1 OFFSET ?)",
        (_PROCESSES_KEPT,),
    )
