from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from services.store.database import DatabaseManager
from services.store.history import History

WRITER = """
import sys
from pathlib import Path
from services.store.database import DatabaseManager
from tests.store.scene import stamp, tracks

with DatabaseManager(Path(sys.argv[1])) as database:
    first = database.position(1, 1) + 1
    while True:
        numbers = range(max(first - 3, 0), first + 10)  # a few of them again, as a link does
        database.commit([(1, 1, n, tracks(stamp(1, n), [(1 + n // 20, 7), (1000, 8)])) for n in numbers])
        first += 10
        print(first - 1, flush=True)
"""


@pytest.mark.parametrize("seed", range(3))
def test_a_writer_killed_at_any_moment_leaves_every_acknowledged_frame_exactly_once(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    acknowledged = -1
    for _ in range(3):
        command = [sys.executable, "-c", WRITER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(chance.randint(1, 15)):
                acknowledged = int(writer.stdout.readline())
            writer.kill()
        with DatabaseManager(tmp_path) as database, History(tmp_path) as history:
            position = database.position(1, 1)
            assert position >= acknowledged
            rows = history.select("SELECT frame_index FROM frames ORDER BY frame_index")
            assert [index for (index,) in rows] == list(range(position + 1))
            ((observations,),) = history.select("SELECT count(*) FROM observations")
            assert observations == 2 * (position + 1)
            assert history.select("SELECT sum(frames) FROM tracks") == [(observations,)]
            assert history.select("PRAGMA integrity_check") == [("ok",)]
