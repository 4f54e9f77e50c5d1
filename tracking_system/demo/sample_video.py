"""The sample video: 80 s of a plaza with up to ten people at once, as OpenCV publishes it."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from shared.download import cache_folder, fetch, replacing, sha256_of
from shared.errors import DownloadError

log = logging.getLogger(__name__)

NAME = "vtest.avi"
SHA256 = "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf"
BYTES = 8_131_690
ADDRESS = "https://raw.githubusercontent.com/opencv/opencv/4.10.0/samples/data/vtest.avi"
FOLDER_VARIABLE = "TRACKING_SYSTEM_VIDEO"
DEBIAN_PACKAGE = "opencv-doc"


def sample_video(given: Path | None = None, *, address: str = ADDRESS) -> Path:
    """The video on this machine: where the user says, in the cache, or fetched.

    given: the file or a folder that holds it; TRACKING_SYSTEM_VIDEO where it is None.  It is fetched from
    OpenCV's repository or, where that does not answer, out of Debian's package opencv-doc; its hash is
    checked either way.

    Raises DownloadError where it is not to be had.
    """
    named = given or (Path(os.environ[FOLDER_VARIABLE]) if os.environ.get(FOLDER_VARIABLE) else None)
    if named is not None:
        return _users_own(named.expanduser())
    cached = cache_folder() / "video" / NAME
    if cached.is_file() and sha256_of(cached) == SHA256:
        return cached
    try:
        return fetch(address, cached, SHA256, BYTES)
    except DownloadError as error:
        log.warning("%s. Falling back to Debian's package %s: 96 MB for an 8 MB video", error, DEBIAN_PACKAGE)
        reason = str(error)
    try:
        _from_debian(cached)
    except DownloadError as error:
        raise DownloadError(
            f"the sample video is not to be had: {reason}; {error}. Name another video of a scene with "
            f"people: --video FILE, or {FOLDER_VARIABLE}"
        ) from None
    return cached


def _users_own(path: Path) -> Path:
    file = path / NAME if path.is_dir() else path
    if not file.is_file():
        raise DownloadError(f"there is no video {file}: correct --video or {FOLDER_VARIABLE}")
    return file


def _from_debian(destination: Path) -> None:
    """Take the video out of the package without installing it; raises DownloadError."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise DownloadError("this machine has no apt-get")
    with tempfile.TemporaryDirectory(prefix="tracking-system-") as folder:
        command = ["apt-get", "download", DEBIAN_PACKAGE]
        if os.geteuid() == 0:
            # As root, apt would fetch as another user, who may not write into our folder.
            command[1:1] = ["-o", "APT::Sandbox::User=root"]
        if _run(command, folder) and os.geteuid() == 0:
            log.info("apt-get knows no %s yet: updating its lists", DEBIAN_PACKAGE)
            _run(["apt-get", "update"], folder)
            _run(command, folder)
        package = next(Path(folder).glob("*.deb"), None)
        if package is None:
            raise DownloadError(
                f"apt-get cannot download {DEBIAN_PACKAGE}: run `apt-get update` as root and try again"
            )
        with replacing(destination) as unfinished:
            _extract(package, unfinished)
            if sha256_of(unfinished) != SHA256:
                raise DownloadError(
                    f"the {NAME} in {DEBIAN_PACKAGE} is not the published one: nothing of it was kept"
                )
    log.info("took %s out of %s", NAME, DEBIAN_PACKAGE)


def _extract(package: Path, part: Path) -> None:
    with subprocess.Popen(["dpkg", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                for member in archive:
                    content = archive.extractfile(member) if Path(member.name).name == NAME else None
                    if content is not None:
                        with part.open("wb") as file:
                            shutil.copyfileobj(content, file)
                        return
        except (tarfile.TarError, OSError) as error:
            raise DownloadError(f"{package.name} cannot be unpacked: {error}") from None
        finally:
            process.kill()
    raise DownloadError(f"{package.name} holds no {NAME}")


def _run(command: list[str], folder: str) -> int:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    for line in done.stderr.splitlines():
        log.debug("%s: %s", command[0], line)
    return done.returncode
