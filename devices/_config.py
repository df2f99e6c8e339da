"""Device configs: TOML files, one a device, validated; `local_cpu` and `fake` need none."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from hilnas.errors import BadFile, UnknownName, UsageError

_WORD = re.compile(r"[A-Za-z0-9_./~\[:%][A-Za-z0-9_.:/@%+~\]-]*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_MAX_BYTES = 64 * 1024


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BackendOptions(_Strict):
    """How the runtime runs a model; part of what identifies a measurement."""

    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    optimization: Annotated[str, Field(pattern="^(all|extended|basic|none)$")] = "all"
    spinning: bool = True
    affinity: tuple[Annotated[int, Field(ge=0)], ...] = ()
    provider: Literal["cpu", "xnnpack", "cuda", "tensorrt"] = "cpu"
    strict: bool = False
    profile_nodes: bool = False
    precision: Literal["fp32", "tf32", "fp16", "bf16", "int8"] = "fp32"
    workspace_mib: Annotated[int, Field(ge=16, le=65536)] = 1024
    #: The GPU that is measured: its number as in nvidia-smi, or its UUID.
    device: Annotated[str, Field(pattern=r"^(|cuda:\d{1,2}|(GPU|MIG)-[0-9A-Za-z/-]{1,80})$")] = ""
    #: Whether a call on a GPU includes bringing its input there and its output back.
    copies: bool = True


class SshOptions(_Strict):
    """How a board is reached; whatever is not said here comes from the user's own SSH configuration.

    There is no place for a password: keys and agents only.
    """

    host: Annotated[str, Field(max_length=255)] = ""
    port: Annotated[int | None, Field(ge=1, le=65535)] = None
    user: Annotated[str | None, Field(max_length=64)] = None
    identity: str | None = None
    config: str = "~/.ssh/config"
    container: Annotated[str | None, Field(max_length=128)] = None
    python: Annotated[str, Field(max_length=255)] = "python3"
    connect_timeout_s: Annotated[float, Field(gt=0, le=300)] = 15.0
    peer_timeout_s: Annotated[float, Field(ge=1, le=300)] = 15.0
    patience_s: Annotated[float, Field(ge=0, le=86400)] = 300.0
    lease_s: Annotated[float, Field(ge=10, le=86400)] = 300.0
    ahead: Annotated[int, Field(ge=0, le=8)] = 1

    @field_validator("host", "user", "container", "python")
    @classmethod
    def _plain_word(cls, value: str | None) -> str | None:
        if value and not _WORD.fullmatch(value):
            raise ValueError("letters, digits and . _ : / @ % + - only, and no '-' in front")
        return value


class PowerOptions(_Strict):
    """The power state a board is put into while it is measured, and out of afterwards."""

    governor: Annotated[str | None, Field(pattern="^[a-z_]{1,32}$")] = None
    clocks: bool = False
    power_mode: Annotated[int | None, Field(ge=0, le=31)] = None
    allow_reboot: bool = False

    def wanted(self) -> dict[str, dict[str, object]]:
        """Return the changes by the name of the agent's module that makes them, with its options."""
        found: dict[str, dict[str, object]] = {}
        if self.governor is not None:
            found["governor"] = {"governor": self.governor}
        if self.power_mode is not None:
            found["power_mode"] = {"mode": self.power_mode, "allow_reboot": self.allow_reboot}
        if self.clocks:
            found["clocks"] = {}
        return found


class MeterOptions(_Strict):
    """An external power meter: a command on the device that prints watts."""

    argv: Annotated[tuple[Annotated[str, Field(max_length=1000)], ...], Field(max_length=32)] = ()
    timeout_s: Annotated[float, Field(gt=0, le=10)] = 2.0


class EnergyOptions(_Strict):
    """Which sensor tells what an inference takes, and for how long it is read at least."""

    sensor: Annotated[str, Field(pattern="^(auto|command|ina3221|pi_pmic|rapl|nvml)$")] = "auto"
    idle_s: Annotated[float, Field(ge=0.1, le=600)] = 15.0
    active_s: Annotated[float, Field(ge=0.1, le=3600)] = 10.0
    active_calls: Annotated[int, Field(ge=1, le=10**6)] = 10
    sensor_updates: Annotated[int, Field(ge=2, le=1000)] = 50


class MeasuringOptions(_Strict):
    """What this device's machine asks of a measurement."""

    #: How long an invocation waits for the processor's full pace, which others take away unseen; 0: it is not watched;
    #: None: what is usual for the kind of device.
    pace_wait_s: Annotated[float, Field(ge=0, le=600)] | None = None


class FakeOptions(_Strict):
    """The script of a fake device: times in seconds, faults as probabilities of an invocation; 0 W: no sensor."""

    latency_s: Annotated[float, Field(gt=0)] = 1e-3
    power_w: Annotated[float, Field(ge=0, le=1e4)] = 0.0
    idle_power_w: Annotated[float, Field(ge=0, le=1e4)] = 0.0
    noise: Annotated[float, Field(ge=0, le=1)] = 0.01
    between: Annotated[float, Field(ge=0, le=1)] = 0.003
    drift_per_invocation: Annotated[float, Field(ge=-0.1, le=0.1)] = 0.0
    sleep_s: Annotated[float, Field(ge=0, le=10)] = 0.0
    contended: Annotated[float, Field(ge=0, le=1)] = 0.0
    crash: Annotated[float, Field(ge=0, le=1)] = 0.0
    rejects: tuple[str, ...] = ()
    latencies: dict[str, Annotated[float, Field(gt=0)]] = {}
    seed: int = 0


class DeviceConfig(_Strict):
    """What a device config may say."""

    name: str
    kind: str
    description: str = ""
    backend: str | None = None
    options: BackendOptions = BackendOptions()
    ssh: SshOptions = SshOptions()
    power: PowerOptions = PowerOptions()
    meter: MeterOptions = MeterOptions()
    energy: EnergyOptions = EnergyOptions()
    measuring: MeasuringOptions = MeasuringOptions()
    fake: FakeOptions = FakeOptions()

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value) and not value.startswith(("table:", "run:")):
            raise ValueError("letters, digits, '_', '-' and '.' only, at most 64")
        return value


#: Devices that are there without a file.
BUILT_IN = {
    "local_cpu": DeviceConfig(name="local_cpu", kind="local_cpu", description="this machine's CPU, ONNX Runtime"),
    "fake": DeviceConfig(name="fake", kind="fake", description="scripted latencies and faults, for tests and trials"),
}


def config_folders(configs: Path | None) -> list[Path]:
    """Return the folders that are searched, first found wins: --configs, ./device_configs, the user's own."""
    if configs is not None:
        return [configs]
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return [Path("device_configs"), home / "hilnas" / "device_configs"]


def known_devices(configs: Path | None) -> dict[str, Path | None]:
    """Return the names of all devices and the files that describe them (None: built in)."""
    found: dict[str, Path | None] = {}
    for folder in config_folders(configs):
        for path in sorted(folder.glob("*.toml")):
            if not path.name.endswith(".example.toml"):
                found.setdefault(path.stem, path)
    for name in BUILT_IN:
        found.setdefault(name, None)
    return found


def find_device(name: str, configs: Path | None = None) -> DeviceConfig:
    """Return the config of a device; `table:NAME/COLUMN` and `run:RUN` are replay devices.

    Raises UnknownName for a device that is not there and BadFile for a config that does not validate.
    """
    if name.startswith(("table:", "run:")):
        return DeviceConfig(name=name, kind="replay")
    known = known_devices(configs)
    if name not in known:
        raise UnknownName("device", name, known, "List them with: hilnas devices list")
    path = known[name]
    return BUILT_IN[name] if path is None else read_config(path)


def read_config(path: Path) -> DeviceConfig:
    """Return the validated config of a TOML file; its name is the file's."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise BadFile(f"{path} is larger than {_MAX_BYTES} bytes", "This is no device config.")
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadFile(f"{path} is not valid TOML: {error}", remedy=_EXAMPLES) from error
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror}") from error
    return parse_config({"name": path.stem, **values}, str(path))


def parse_config(values: dict[str, Any], source: str) -> DeviceConfig:
    """Return the validated config of a mapping; an unknown key is an error that names the nearest one."""
    try:
        return DeviceConfig.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"{source} is not a device config", _explain(error), _EXAMPLES) from error


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        place = ".".join(map(str, problem["loc"]))
        if str(problem["loc"][-1]).lower() in _SECRETS:
            lines.append(f"{place}: no secret ever stands in a config; use an SSH key or agent")
        elif problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(problem["loc"][-1]), _keys(problem["loc"][:-1]), n=1)
            lines.append(f"unknown key {place!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        else:
            lines.append(f"{place}: {problem['msg']}")
    return "; ".join(lines)


def _keys(place: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = DeviceConfig
    for part in place:
        annotation = model.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)


_SECRETS = {"password", "passphrase", "passwd", "secret", "token", "sudo_password"}
_EXAMPLES = "Commented examples: device_configs/*.example.toml"
