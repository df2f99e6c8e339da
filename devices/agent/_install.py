"""Runtimes from wheels, unpacked offline into a folder of the agent's own; nothing is run and nothing else is touched.

A wheel is not trusted: where its members lead, how large they get and what their hashes are is checked before
anything is put into place.
"""

import base64
import csv
import hashlib
import io
import json
import os
import platform
import re
import shutil
import stat
import struct
import zipfile
import zlib
from typing import Any, Dict, Iterable, List, Optional, Tuple

from . import _blobs

MANIFEST = "hilnas-runtime.json"
MAX_BYTES = 2 * 1024 * 1024 * 1024
MAX_FILES = 20000
_MAX_TEXT_BYTES = 8 * 1024 * 1024
_CHUNK_BYTES = 1 << 20
_HASHES = ("sha256", "sha384", "sha512")
#: Members of a wheel that have no entry in RECORD, or one without a hash.
_UNRECORDED = ("RECORD", "RECORD.jws", "RECORD.p7s")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]{0,63}")
_NUMBERED = re.compile(r"[0-9]+")

#: What the standard library raises for a damaged archive.
_UNREADABLE = (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, zlib.error, struct.error, csv.Error)


class InstallError(Exception):
    """Wheels that cannot be installed; what was there before still is."""


def install(wheel_paths: Iterable[str], folder: str) -> Dict[str, Any]:
    """Replace `folder` by the contents of the wheels and return its manifest.

    The manifest has `format` and `wheels`, each with `name`, `version`, `tags`, `sha256`, `files` and `bytes`; it is
    also written into the folder. Raises InstallError; until all is unpacked and checked the old folder stays.
    """
    part = folder + ".part"
    try:
        _recover(folder)
        _remove(part)
        manifest = {"format": 1, "wheels": _unpack_all(list(wheel_paths), part)}
        with open(os.path.join(part, MANIFEST), "w", encoding="utf-8") as file:
            json.dump(manifest, file, indent=1, sort_keys=True)
        os.sync()  # a board that loses power now has the old runtime, not half a new one
        _replace(part, folder)
    except _UNREADABLE as error:
        raise InstallError("not a wheel that can be unpacked: %s" % str(error)[:200]) from None
    except OSError as error:
        raise InstallError("%s: %s" % (error.filename or folder, error.strerror or error)) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return manifest


def remove(folder: str) -> None:
    """Remove an installed runtime and what an interrupted installation has left; raise InstallError."""
    try:
        for path in (folder, folder + ".part", folder + ".old"):
            _remove(path)
    except OSError as error:
        raise InstallError("%s: %s" % (error.filename or folder, error.strerror or error)) from None


def installed(folder: str) -> Optional[Dict[str, Any]]:
    """Return the manifest of an installed runtime, None where there is none."""
    try:
        _recover(folder)
        with open(os.path.join(folder, MANIFEST), encoding="utf-8") as file:
            manifest = json.load(file)
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) else None


def _recover(folder: str) -> None:
    """Put the old runtime back where an installation was cut off between its two renames."""
    if os.path.isdir(folder + ".old") and not os.path.exists(folder):
        os.rename(folder + ".old", folder)


def _replace(part: str, folder: str) -> None:
    _remove(folder + ".old")
    if os.path.exists(folder):
        os.rename(folder, folder + ".old")
    try:
        os.rename(part, folder)
    except OSError:
        _recover(folder)
        raise
    shutil.rmtree(folder + ".old", ignore_errors=True)


def _remove(path: str) -> None:
    if os.path.islink(path) or os.path.isfile(path):
        os.remove(path)
    elif os.path.isdir(path):
        shutil.rmtree(path)


def _unpack_all(paths: List[str], part: str) -> List[Dict[str, Any]]:
    """Unpack every wheel into `part` and return what they are."""
    if not paths:
        raise InstallError("no wheel to install")
    os.makedirs(part)
    found: List[Dict[str, Any]] = []
    owners: Dict[str, str] = {}
    for path in paths:
        with zipfile.ZipFile(path) as archive:
            wheel = _Wheel(archive, os.path.basename(path))
            if any(_plain(item["name"]) == _plain(wheel.name) for item in found):
                raise InstallError("%s is there twice" % wheel.name)
            files, size = _count(wheel)
            if sum(item["files"] for item in found) + files > MAX_FILES:
                raise InstallError("the wheels have more than %d files" % MAX_FILES)
            if sum(item["bytes"] for item in found) + size > MAX_BYTES:
                raise InstallError("the wheels unpack to more than %d MiB" % (MAX_BYTES >> 20))
            if size + _blobs.FLOOR_BYTES > _blobs.free_bytes(part):
                raise InstallError("disk full: %s needs %d MiB" % (wheel.name, (size + _blobs.FLOOR_BYTES) >> 20))
            for member, target in wheel.members:
                if owners.setdefault(target, wheel.name) != wheel.name:
                    raise InstallError("%s and %s both have %s" % (owners[target], wheel.name, _shown(target)))
                wheel.unpack(member, os.path.join(part, *target.split("/")))
        facts = {"name": wheel.name, "version": wheel.version, "tags": wheel.tags, "files": files, "bytes": size}
        found.append(dict(facts, sha256=_digest(path)))
    return found


class _Wheel:
    """One opened wheel whose texts have been read and checked."""

    def __init__(self, archive: zipfile.ZipFile, label: str) -> None:
        self._archive = archive
        self._label = _shown(label)
        infos = archive.infolist()
        if len(infos) > MAX_FILES:
            raise InstallError("%s has more than %d files" % (self._label, MAX_FILES))
        for info in infos:
            self._check(info)
        files = {info.filename: info for info in infos if not info.filename.endswith("/")}
        if len(files) != sum(not info.filename.endswith("/") for info in infos):
            raise InstallError("%s has two files of one name" % self._label)
        self._info = self._info_folder(files)
        metadata, wheel = self._fields("METADATA"), self._fields("WHEEL")
        self.name = self._field(metadata, "name", _NAME)
        self.version = self._field(metadata, "version", _VERSION)
        if _plain(self._info.split("-")[0]) != _plain(self.name):
            raise InstallError("%s says that it is %s" % (self._label, self.name))
        if wheel.get("wheel-version", [""])[0].split(".")[0] != "1":
            raise InstallError("%s has an unknown wheel version" % self._label)
        self.tags = [_shown(tag) for tag in wheel.get("tag", [])]
        if not any(_fits_machine(tag) for tag in self.tags):
            raise InstallError("%s is for %s, not for %s" % (self._label, ", ".join(self.tags[:4]) or "?", machine()))
        self._hashes = self._record()
        #: Members and the path each is unpacked to.
        self.members = [(info, target) for info, target in map(self._placed, files.values()) if target]

    def unpack(self, member: zipfile.ZipInfo, path: str) -> None:
        """Write a member to a path; raise InstallError where its hash is not the recorded one."""
        algorithm, expected, size = self._hashes.get(member.filename, ("sha256", "", -1))
        digest, written = hashlib.new(algorithm), 0
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with self._archive.open(member) as source, open(path, "xb") as target:
            for chunk in iter(lambda: source.read(_CHUNK_BYTES), b""):
                digest.update(chunk)
                target.write(chunk)
                written += len(chunk)
        if self._is_unrecorded(member.filename):
            return
        found = base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
        if found != expected or size not in (-1, written):
            raise InstallError("%s: %s is not what RECORD says" % (self._label, _shown(member.filename)))

    def _check(self, info: zipfile.ZipInfo) -> None:
        """Raise InstallError for a member that leads elsewhere, is no plain file or is encrypted."""
        name = info.filename
        parts = name[:-1].split("/") if name.endswith("/") else name.split("/")
        hostile = any(part in ("", ".", "..") or len(part) > 255 for part in parts)
        if hostile or len(name) > 1000 or any(char in '\\:"' or not char.isprintable() for char in name):
            raise InstallError("%s: %s leads out of the folder or is no name of a file" % (self._label, _shown(name)))
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InstallError("%s: %s is a link or no file" % (self._label, _shown(name)))
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InstallError("%s: %s is encrypted or compressed in an unusual way" % (self._label, _shown(name)))

    def _info_folder(self, files: Dict[str, zipfile.ZipInfo]) -> str:
        found = [name.split("/")[0] for name in files if re.fullmatch(r"[^/]+\.dist-info/WHEEL", name)]
        if len(found) != 1:
            raise InstallError("%s is no wheel: it needs one .dist-info/WHEEL" % self._label)
        return found[0]

    def _text(self, name: str) -> str:
        try:
            info = self._archive.getinfo("%s/%s" % (self._info, name))
        except KeyError:
            raise InstallError("%s is no wheel: %s is missing" % (self._label, name)) from None
        if info.file_size > _MAX_TEXT_BYTES:
            raise InstallError("%s: %s is too large" % (self._label, name))
        return self._archive.read(info).decode("utf-8", "replace")

    def _fields(self, name: str) -> Dict[str, List[str]]:
        """Return the header fields of a text, names in lower case."""
        found: Dict[str, List[str]] = {}
        for line in self._text(name).splitlines():
            if not line:
                break
            key, colon, value = line.partition(":")
            if colon and not line[0].isspace():
                found.setdefault(key.lower(), []).append(value.strip())
        return found

    def _field(self, fields: Dict[str, List[str]], key: str, pattern: Any) -> str:
        value = fields.get(key, [""])[0]
        if not pattern.fullmatch(value):
            raise InstallError("%s: no %s in METADATA" % (self._label, key))
        return value

    def _record(self) -> Dict[str, Tuple[str, str, int]]:
        """Return file -> algorithm, hash, size (-1 where it is not said)."""
        found = {}
        for row in csv.reader(io.StringIO(self._text("RECORD"))):
            if len(row) < 3 or self._is_unrecorded(row[0]):
                continue
            algorithm, _, digest = row[1].partition("=")
            if algorithm not in _HASHES or not digest:
                raise InstallError("%s: RECORD has no good hash of %s" % (self._label, _shown(row[0])))
            found[row[0]] = (algorithm, digest, int(row[2]) if _NUMBERED.fullmatch(row[2][:20]) else -1)
        missing = [name for name in found if name not in self._archive.NameToInfo]
        if missing:
            raise InstallError("%s: %s is in RECORD but not in the wheel" % (self._label, _shown(missing[0])))
        return found

    def _placed(self, info: zipfile.ZipInfo) -> Tuple[zipfile.ZipInfo, str]:
        """Return a member and its path below the folder, no path for scripts, headers and data."""
        name = info.filename
        if name not in self._hashes and not self._is_unrecorded(name):
            raise InstallError("%s: %s is not in RECORD" % (self._label, _shown(name)))
        top, _, rest = name.partition("/")
        if not top.endswith(".data"):
            return info, name
        scheme, _, inner = rest.partition("/")
        return info, inner if scheme in ("purelib", "platlib") else ""

    def _is_unrecorded(self, name: str) -> bool:
        return name in ["%s/%s" % (self._info, item) for item in _UNRECORDED]


def machine() -> str:
    """Return the machine this Python runs on, as wheels name it: a 32-bit Python can run on a 64-bit processor."""
    name = platform.machine().lower()
    if struct.calcsize("P") == 4:
        name = {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}.get(name, name)
    return {"arm64": "aarch64", "amd64": "x86_64"}.get(name, name)


def _fits_machine(tag: str) -> bool:
    platform_tag = tag.split("-")[-1]
    return platform_tag == "any" or platform_tag.endswith("_" + machine())


def _count(wheel: _Wheel) -> Tuple[int, int]:
    return len(wheel.members), sum(info.file_size for info, _ in wheel.members)


def _plain(name: str) -> str:
    """Return a distribution's name as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _shown(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:120])


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""):
            digest.update(chunk)
    return digest.hexdigest()
