"""The documentation is true: what it shows runs, what it lists exists, and nothing is left out."""

from __future__ import annotations

import argparse
import io
import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, fields
from importlib.metadata import metadata
from pathlib import Path

import cv2
import pytest

from services.detector.weights import manifest
from services.viewer.controls import KEYS
from shared.config import Config, about, default_of, setting_names
from shared.config_file import CAMERA_KEYS, load
from shared.endpoints import TCP_PORTS
from tracking_system import MultiCameraTracker
from tracking_system.__main__ import COMMANDS, _parser, main

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
EXECUTED = {"last-seen", "stats", "export", "replay"}
"""Run as they are shown, on a run that is over; the others need cameras, a GPU or a running system."""


@dataclass(frozen=True)
class Block:
    """One fenced block of a page: what follows the fence, and the lines in it."""

    page: str
    line: int
    info: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def _blocks(language: str) -> list[Block]:
    found = []
    for page, name in zip(PAGES, NAMES, strict=True):
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^```(.*)\n((?:.*\n)*?)^```$", text, re.MULTILINE):
            if match[1].split()[:1] == [language]:
                line = text.count("\n", 0, match.start()) + 2
                found.append(Block(name, line, match[1], match[2]))
    return found


def _shell_commands() -> Iterator[tuple[str, list[str]]]:
    """Every command of every shell block, as words, without variables set before it."""
    for block in _blocks("sh"):
        for number, line in enumerate(block.text.splitlines()):
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            if words:
                yield f"{block.page}:{block.line + number}", words


def _our_commands() -> list[tuple[str, list[str]]]:
    """The arguments of every `tracking-system` that is shown, inside containers too."""
    found = []
    for place, words in _shell_commands():
        if words[0] == "tracking-system":
            found.append((place, words[1:]))
        elif words[:3] == ["docker-compose", "run", "--rm"]:
            found.append((place, words[4:]))
    return found


def _page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _rows(text: str) -> list[list[str]]:
    """The cells of the tables in a text, headings and rules left out."""
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    rules = [index for index, row in enumerate(rows) if all(re.fullmatch(r":?-+:?", cell) for cell in row)]
    headings = {index - 1 for index in rules}
    return [row for index, row in enumerate(rows) if index not in headings | set(rules)]


def _section(text: str, heading: str) -> str:
    match = re.search(rf"^(#+) {re.escape(heading)}$", text, re.MULTILINE)
    assert match, f"there is no section {heading!r}"
    rest = text[match.end() :]
    end = re.search(rf"^#{{1,{len(match[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _parse(words: list[str]) -> argparse.Namespace:
    return _parser(words).parse_args(words)


def _parser_of(command: str) -> argparse.ArgumentParser:
    subparsers = _subparsers(_parser([command]))
    return subparsers[command]


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _options(parser: argparse.ArgumentParser) -> set[str]:
    """The long options that --help shows, of subcommands too."""
    own = {
        option
        for action in parser._actions
        if action.help != argparse.SUPPRESS
        for option in action.option_strings
        if option.startswith("--") and option != "--help"
    }
    return own.union(*(_options(each) for each in _subparsers(parser).values()))


# -- links and names --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_to_a_file_and_a_heading_that_exist(name: str) -> None:
    page = ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+://", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{name} links to {target}"
        assert not anchor or anchor in _anchors(linked), f"{name} links to {target}"


@pytest.mark.parametrize("name", NAMES)
def test_every_path_of_the_source_that_is_named_exists(name: str) -> None:
    named = re.findall(r"`((?:services|shared|tracking_system|tests|benchmarks|docs)/[\w/.]*)`", _page(name))
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_page_is_linked_from_the_readme() -> None:
    readme = _page("README.md")
    assert [p.name for p in (ROOT / "docs").glob("*.md") if f"(docs/{p.name})" not in readme] == []


# -- commands ---------------------------------------------------------------------------------------


def test_every_command_that_is_shown_is_accepted_by_the_command_line() -> None:
    refused = []
    for place, words in _our_commands():
        if words == ["--version"]:
            continue
        try:
            assert _parse(words).command
        except SystemExit:
            refused.append(f"{place}: {words}")
            continue
        # The parser takes beginnings of options as well; a page is to show whole ones.
        known = _options(_parser_of(words[0]))
        refused += [f"{place}: {word}" for word in words if word.startswith("--") and word not in known]
    assert refused == []


def test_every_setting_in_a_command_that_is_shown_exists() -> None:
    named = [
        flag.partition("=")[0] for _, words in _our_commands() for flag in getattr(_parse(words), "flags", [])
    ]
    assert named
    assert set(named) <= set(setting_names())


def test_every_command_has_a_section_and_every_section_a_command() -> None:
    headings = re.findall(r"^## (.*)$", _page("docs/command-line.md"), re.MULTILINE)
    assert headings == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_is_in_its_section_and_no_other(command: str) -> None:
    section = _section(_page("docs/command-line.md"), command)
    lists = "\n".join(line for line in section.splitlines() if line.startswith(("- ", "  ")))
    documented = set(re.findall(r"`(--[\w-]+)", lists))
    assert documented == _options(_parser_of(command))
    assert set(_subparsers(_parser_of(command))) <= set(re.findall(r"`(\w+)`", section))
    assert f"tracking-system {command}" in section


def test_every_target_of_make_that_is_shown_exists() -> None:
    targets = set(re.findall(r"^([\w-]+):", _page("Makefile"), re.MULTILINE))
    shown = {words[1] for _, words in _shell_commands() if words[0] == "make"}
    assert {"demo", "test"} <= shown <= targets


def test_every_extra_that_is_shown_can_be_installed() -> None:
    shown = {
        extra
        for _, words in _shell_commands()
        if words[:2] == ["pip", "install"]
        for extra in re.findall(r"\[(\w+)\]", words[2])
    }
    assert shown
    assert shown <= set(metadata("tracking-system").get_all("Provides-Extra") or [])


def test_every_module_that_is_started_with_python_exists() -> None:
    started = {words[2] for _, words in _shell_commands() if words[:2] == ["python", "-m"]}
    assert started
    assert [name for name in started if not (ROOT / f"{name.replace('.', '/')}.py").exists()] == []


def test_no_other_program_is_shown_than_those_checked_here() -> None:
    programs = {words[0] for _, words in _shell_commands()}
    # docker and sqlite3 are not ours; tests/test_compose.py runs what they run.
    assert programs <= {"tracking-system", "make", "pip", "python", "docker", "docker-compose", "sqlite3"}


# -- settings ---------------------------------------------------------------------------------------


def test_the_table_of_settings_is_the_table_in_the_code() -> None:
    table = "\n".join(
        f"| {' | '.join(row)} |" for row in _rows(_section(_page("docs/configuration.md"), "Settings"))
    )
    wanted = "\n".join(_setting_row(name) for name in setting_names())
    assert table == wanted, f"docs/configuration.md should say:\n{wanted}"


def _setting_row(name: str) -> str:
    metadata = next(each.metadata for each in fields(Config) if each.name == name)
    low, high = metadata.get("low"), metadata.get("high")
    if metadata.get("choices"):
        allowed = ", ".join(f"`{choice}`" for choice in metadata["choices"])
    elif low is not None and high is not None:
        allowed = f"{low:,} to {high:,}"
    elif low is not None:
        allowed = f"from {low:,}"
    else:
        allowed = ""
    default = default_of(name)
    return f"| `{name}` | {f'`{default}`' if default != '' else ''} | {allowed} | {about(name)} |"


def test_every_key_of_a_camera_is_documented() -> None:
    rows = _rows(_section(_page("docs/configuration.md"), "Cameras"))
    assert [row[0].strip("`") for row in rows] == list(CAMERA_KEYS)


def test_every_configuration_that_is_shown_can_be_read(tmp_path: Path) -> None:
    shown = [block for block in _blocks("yaml") if not block.text.startswith("# docker-compose")]
    assert shown
    for block in shown:
        text = block.text if "cameras:" in block.text else f"cameras: {{1: {{source: a.mp4}}}}\n{block.text}"
        path = tmp_path / "cameras.yaml"
        path.write_text(text, encoding="utf-8")
        assert load(path, environment={}).cameras, block.place


def test_every_variable_of_the_environment_that_is_documented_is_read() -> None:
    sources = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("services", "shared", "tracking_system")
        for path in (ROOT / folder).rglob("*.py")
    )
    for name in PAGES:
        for variable in re.findall(r"TRACKING_SYSTEM_[A-Z_]*[A-Z]", name.read_text(encoding="utf-8")):
            setting = variable.removeprefix("TRACKING_SYSTEM_").lower()
            assert setting in setting_names() or f'"{variable}"' in sources, f"{name}: {variable}"


def test_every_port_is_documented() -> None:
    table = _section(_page("docs/deployment.md"), "Ports")
    assert {name: int(port) for name, port in re.findall(r"`(\w+)` (\d+)", table)} == TCP_PORTS


def test_every_network_is_documented() -> None:
    rows = _rows(_section(_page("docs/models.md"), "Networks"))
    assert {row[0].strip("`"): (row[1], row[2]) for row in rows} == {
        name: (model.kind, model.family) for name, model in manifest().items()
    }


def test_every_key_of_the_window_is_documented() -> None:
    viewer = _section(_page("docs/command-line.md"), "viewer")
    for key in ", ".join(keys for keys, _ in KEYS).split(", "):
        assert f"`{key}`" in viewer or f" {key}\n" in viewer or f" {key} " in viewer, key


def test_every_message_that_is_explained_is_one_that_is_given() -> None:
    sources = ""
    for folder in ("services", "shared", "tracking_system"):
        for path in (ROOT / folder).rglob("*.py"):
            sources += re.sub(r'"\s*\n\s*f?"', "", path.read_text(encoding="utf-8"))
    messages = [row[0].strip("`") for row in _rows(_page("docs/troubleshooting.md"))]
    assert messages
    assert [message for message in messages if message not in sources] == []


def test_every_method_of_the_library_is_documented_and_every_one_documented_exists() -> None:
    table = _section(_page("docs/library.md"), "Methods")
    documented = set(re.findall(r"`(\w+)[(`]", "\n".join(row[0] for row in _rows(table))))
    public = {name for name in vars(MultiCameraTracker) if not name.startswith("_")}
    assert documented - {"MultiCameraTracker"} == public - {"selecting"}
    assert "`selecting`" in table


# -- run for real -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the documentation's examples name: two short recordings, weights, a configuration."""
    folder = tmp_path_factory.mktemp("docs")
    source = shared_data / "data" / "video" / "one-by-one-person-detection.mp4"
    for name, first in (("entrance.mp4", 240), ("corridor.mp4", 1000)):
        _cut(source, folder / name, first, 24)
    (folder / "weights").symlink_to(shared_data / "models")
    (folder / "cameras.yaml").write_text(_blocks("yaml")[_first_of("README.md")].text, encoding="utf-8")
    return folder


def _first_of(page: str) -> int:
    return next(index for index, block in enumerate(_blocks("yaml")) if block.page == page)


def _cut(source: Path, target: Path, first: int, frames: int) -> None:
    capture = cv2.VideoCapture(str(source))
    capture.set(cv2.CAP_PROP_POS_FRAMES, first)
    writer: cv2.VideoWriter | None = None
    for _ in range(frames):
        read, frame = capture.read()
        assert read
        if writer is None:
            size = (frame.shape[1], frame.shape[0])
            writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, size)
        writer.write(frame)
    capture.release()
    assert writer is not None
    writer.release()


@pytest.fixture
def there(folder: Path, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working in the examples' folder, with small weights at hand and an empty cache."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TRACKING_SYSTEM_MODELS", str(shared_data / "models"))
    monkeypatch.setenv("TRACKING_SYSTEM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TRACKING_SYSTEM_DETECTOR", "person-detection-0200")
    return folder


@pytest.fixture
def run_done(there: Path) -> Path:
    """The run of the README, done once."""
    if not (there / "out").exists():
        words = next(
            words for place, words in _our_commands() if place.startswith("README") and "--headless" in words
        )
        assert words[0] == "run"
        assert main(words) == 0
    return there


@pytest.mark.data
def test_every_question_to_a_run_that_is_shown_is_answered(run_done: Path) -> None:
    asked: set[tuple[str, ...]] = set()
    for place, words in _our_commands():
        at = [word.replace("/data", "out") for word in words]
        needs_window = words[0] == "replay" and "--record" not in words
        if words[0] not in EXECUTED or tuple(at) in asked or needs_window or "out" not in at:
            continue
        asked.add(tuple(at))
        with redirect_stdout(io.StringIO()) as output:
            assert main(at) == 0, place
        assert output.getvalue().strip(), place
    assert {words[0] for words in asked} >= {"last-seen", "stats", "export", "replay"}


@pytest.mark.data
def test_the_commands_about_models_that_need_no_download_work(there: Path) -> None:
    with redirect_stdout(io.StringIO()) as output:
        assert main(["models", "list"]) == 0
        assert main(["models", "pull", "person-detection-0200"]) == 0
    assert "person-detection-0200" in output.getvalue()
    assert main(["models", "check", "--set", "detector=person-detection-0200"]) == 0


@pytest.mark.data
@pytest.mark.parametrize(
    "block",
    [block for block in _blocks("python") if "no-run" not in block.info],
    ids=lambda block: block.place,
)
def test_every_python_example_runs(block: Block, there: Path) -> None:
    exec(compile(block.text, block.place, "exec"), {"__name__": "example"})


@pytest.mark.parametrize("block", _blocks("python"), ids=lambda block: block.place)
def test_every_python_example_is_python(block: Block) -> None:
    compile(block.text, block.place, "exec")
