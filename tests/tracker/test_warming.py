from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SAID = """
import logging
logging.basicConfig(format="%(message)s", level=logging.INFO)
from services.tracker.warming import warm
warm()
"""

LEFT = """
import sys
from numba.core.dispatcher import Dispatcher
from benchmarks.simulation import Simulation
from services.tracker.core import TrackerCore
from services.tracker.warming import warm
from shared.config import Config

def made():
    modules = [module for name, module in sys.modules.items() if name.startswith("services.tracker.")]
    functions = [each for module in modules for each in vars(module).values() if isinstance(each, Dispatcher)]
    return {f"{each.py_func.__name__}{signature}" for each in functions for signature in each.signatures}

warm()
before = made()
core, world = TrackerCore(Config()), Simulation(4, 8, 10.0)
for _ in range(200):
    for people, _ in world.step():
        core.process(people)
print(len(before), *sorted(made() - before), sep="\\n")
"""


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, in which nothing has been compiled or loaded yet."""
    return subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | environment,
        check=True,
        capture_output=True,
        text=True,
    )


def test_compiling_is_said_and_its_result_kept_for_the_next_process(tmp_path: Path) -> None:
    assert "compiling the tracker's loops" in run(SAID, TRACKING_SYSTEM_CACHE=str(tmp_path)).stderr
    assert run(SAID, TRACKING_SYSTEM_CACHE=str(tmp_path)).stderr == ""


def test_nothing_is_left_to_compile_when_people_come() -> None:
    count, *late = run(LEFT).stdout.split("\n")[:-1]
    assert int(count) > 20 and not late
