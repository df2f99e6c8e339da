"""A real aarch64 userland, made once from Debian's packages, run by QEMU's user-mode emulation."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

from farm._errors import FarmUnavailable
from farm._host import CACHE, attempt, plain_environment
from farm._needs import missing_packages

_FOLDER = CACHE / "arm64"
_TOOLS = {"mmdebstrap": "mmdebstrap", "qemu-aarch64-static": "qemu-user-static", "update-binfmts": "binfmt-support"}
_PACKAGES = (
    "python3-minimal,python3,openssh-server,openssh-sftp-server,libgomp1,libstdc++6,bash,dash,coreutils,procps,"
    "util-linux,grep,sed,findutils,tar,gzip,passwd,login"
)
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
#: Every tag has to be named: pip does not know that one implies the older ones.
_PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")


def why_no_arm64() -> str | None:
    """Return why there can be no emulated boards here and what would help; None when there can."""
    packages = missing_packages(_TOOLS)
    if packages:
        return f"commands are missing; run: apt-get install {' '.join(packages)}"
    if not _emulation():
        return "aarch64 programs are not emulated; run: update-binfmts --enable qemu-aarch64"
    return None


def is_built() -> bool:
    """Say whether the root is in the cache."""
    return (_FOLDER / "root").is_dir() and (_FOLDER / "runtime").is_dir()


def arm64_root() -> Path:
    """Return the root file system, made when it is not there yet; raise FarmUnavailable where it cannot be."""
    problem = why_no_arm64()
    if problem is not None:
        raise FarmUnavailable("there are no aarch64 boards here", problem)
    if not is_built():
        _FOLDER.mkdir(parents=True, exist_ok=True)
        with (_FOLDER / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not is_built():
                _build()
    return _FOLDER / "root"


def arm64_runtime() -> Path:
    """Return the folder with ONNX Runtime and numpy for it."""
    return _FOLDER / "runtime"


def _emulation() -> bool:
    """Switch emulation on where it is not; the package's own script is often kept from doing so."""
    if not (_BINFMT / "register").exists():
        attempt("mount", "-t", "binfmt_misc", "binfmt_misc", str(_BINFMT))
    if not (_BINFMT / "qemu-aarch64").exists():
        attempt("update-binfmts", "--enable", "qemu-aarch64")
    return (_BINFMT / "qemu-aarch64").exists()


def _build() -> None:
    parts = [_FOLDER / "root.part", _FOLDER / "runtime.part"]
    for part in parts:
        shutil.rmtree(part, ignore_errors=True)
    root, runtime = parts
    _run("mmdebstrap", "--quiet", "--mode=root", "--architectures=arm64", "--variant=extract", f"--include={_PACKAGES}",
         _suite(), str(root), *_sources())  # fmt: skip
    for folder in ("usr/share/doc", "usr/share/locale", "usr/share/man"):
        shutil.rmtree(root / folder, ignore_errors=True)
    for folder in ("proc", "sys", "dev", "run", "tmp", "opt"):
        (root / folder).mkdir(exist_ok=True)
    tags = [word for tag in _PLATFORMS for word in ("--platform", f"{tag}_aarch64")]
    version = _python_version(root)
    _run(sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-compile", "--target",
         str(runtime), *tags, "--python-version", version, "--implementation", "cp", "--abi",
         f"cp{version.replace('.', '')}", "--only-binary=:all:", "onnxruntime", "numpy")  # fmt: skip
    subprocess.run(["chmod", "-R", "a+rX", str(runtime)], check=True)
    for part in parts:
        target = part.with_suffix("")
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)


def _sources() -> list[str]:
    """Return the lists of Debian's packages that apt is configured with."""
    folder = Path("/etc/apt")
    found = [folder / "sources.list", *(folder / "sources.list.d").glob("*.sources")]
    found += (folder / "sources.list.d").glob("*.list")
    return [str(path) for path in found if path.exists() and "debian" in path.read_text().lower()]


def _suite() -> str:
    values = dict(line.partition("=")[::2] for line in Path("/etc/os-release").read_text().splitlines())
    return values.get("VERSION_CODENAME", "stable").strip('"')


def _python_version(root: Path) -> str:
    return (root / "usr/bin/python3").readlink().name.removeprefix("python")


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=plain_environment())
    if done.returncode:
        raise FarmUnavailable(f"the aarch64 root cannot be made: {argv[0]} failed", done.stderr.strip()[-800:])
