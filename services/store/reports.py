"""The newest report of every process."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from services.store.losses import carried_over, with_losses_of
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
    """Keep a process's report, unless a newer one is stored, and drop those of processes that are gone.

    What they had dropped goes on counting: it is added to the readings of their successor.
    """
    earlier = connection.execute(
        "SELECT pid, t_ns, readings FROM reports WHERE service = ? AND instance = ? AND host = ?",
        (report.service, report.instance, report.host),
    ).fetchone()
    readings: Mapping[str, float] = report.readings
    if earlier is not None:
        pid, t_ns, stored = earlier
        if t_ns - _CLOCK_SET_NS <= report.t_ns < t_ns:
            return
        readings = carried_over(json.loads(stored), readings, same_pid=pid == report.pid)
    for gone in _drop_earlier_hosts(connection, report):
        readings = with_losses_of(gone, readings)
    connection.execute(
        "INSERT INTO reports (service, instance, host, pid, t_ns, state, readings, heard) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, (SELECT coalesce(max(heard), 0) + 1 FROM reports)) "
        "ON CONFLICT DO UPDATE SET pid = excluded.pid, t_ns = excluded.t_ns, state = excluded.state, "
        "readings = excluded.readings, heard = excluded.heard",
        (
            report.service,
            report.instance,
            report.host,
            report.pid,
            report.t_ns,
            report.state,
            json.dumps(readings, sort_keys=True),
        ),
    )
    connection.execute(
        "DELETE FROM reports WHERE heard <= (SELECT heard FROM reports ORDER BY heard DESC LIMIT 1 OFFSET ?)",
        (_PROCESSES_KEPT,),
    )


def _drop_earlier_hosts(connection: sqlite3.Connection, report: Report) -> list[dict[str, float]]:
    """Delete the reports of hosts before the newest `HOSTS_KEPT`, and return their readings."""
    rows = connection.execute(
        "SELECT host, readings FROM reports WHERE service = ? AND instance = ? AND host != ? "
        "ORDER BY heard DESC LIMIT -1 OFFSET ?",
        (report.service, report.instance, report.host, HOSTS_KEPT - 1),
    ).fetchall()
    connection.executemany(
        "DELETE FROM reports WHERE service = ? AND instance = ? AND host = ?",
        [(report.service, report.instance, host) for host, _ in rows],
    )
    return [json.loads(readings) for _, readings in rows]
