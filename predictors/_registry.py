"""Fitted predictors in the workspace: JSON files with what they were fitted on, fitted again when they are loaded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

import numpy as np
import sklearn
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hilnas import __version__, plugins
from hilnas.errors import BadFile, UnknownName
from hilnas.records import Architecture, content_hash
from predictors._base import Array, Predictions, Predictor
from predictors._errors import NotFitted
from profiler._workspace import Workspace
from search_spaces._base import SearchSpace

_MAX_BYTES = 32 * 2**20
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SavedPredictor(BaseModel):
    """What a file holds: enough to fit the predictor again, and how good it was on what it had not seen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    predictor: str
    device: str
    space: str
    options: dict[str, Any]
    parameters: dict[str, Any]
    choices: dict[str, Any]
    architectures: list[str]
    latency_s: list[_Seconds]
    networks: str = ""
    evaluation: dict[str, Any]
    versions: dict[str, str]
    created_at: str


@dataclass(frozen=True)
class FittedPredictor:
    """A predictor as it was saved, ready to predict."""

    saved: SavedPredictor
    predictor: Predictor
    architectures: tuple[Architecture, ...]
    latency_s: Array

    @property
    def name(self) -> str:
        """Return the name of the plug-in."""
        return self.saved.predictor

    def predict(self, X: Sequence[Architecture], coverage: float | None = None) -> Predictions:
        """Return what the predictor predicts."""
        return self.predictor.predict(X, coverage)

    def predict_codes(self, codes: ArrayLike) -> Array:
        """Return the seconds of architectures given as decisions, as `Predictor.predict_codes` does."""
        return self.predictor.predict_codes(codes)

    def expected_cost(self, probabilities: Any) -> Any:
        """Return the expected seconds of independently drawn decisions, as `Predictor.expected_cost` does."""
        return self.predictor.expected_cost(probabilities)


def save(
    workspace: Workspace,
    device: str,
    name: str,
    predictor: Predictor,
    architectures: Sequence[Architecture],
    latency_s: Array,
    evaluation: dict[str, Any],
) -> Path:
    """Write a fitted predictor and what it was fitted on; return the file. One of the same name is replaced."""
    space = predictor.space
    saved = SavedPredictor(
        predictor=name,
        device=device,
        space=space.name,
        options=dict(space.options),
        parameters={key: value for key, value in predictor.get_params(deep=False).items() if key != "space"},
        choices=predictor.choices_,
        architectures=[item.text for item in architectures],
        latency_s=[float(value) for value in latency_s],
        networks=_networks(space, architectures),
        evaluation=evaluation,
        versions={"hilnas": __version__, "numpy": np.__version__, "scikit-learn": sklearn.__version__},
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    path = _folder(workspace, device, space) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(saved.model_dump_json(indent=1), encoding="utf-8")
    partial.replace(path)
    return path


def saved_names(workspace: Workspace, device: str, space: SearchSpace) -> list[str]:
    """Return the names of the predictors saved for a device and a space, sorted."""
    return sorted(path.stem for path in _folder(workspace, device, space).glob("*.json"))


def load_fitted(workspace: Workspace, device: str, space: SearchSpace, name: str | None = None) -> FittedPredictor:
    """Return the saved predictor of a name, or the one with the smallest held-out MAPE.

    Raises NotFitted when there is none, UnknownName for a name that is no predictor, BadFile for a damaged file.
    """
    names = saved_names(workspace, device, space)
    if name is not None and name not in names:
        known = plugins.names("predictors")
        if name not in known:
            raise UnknownName("predictor", name, known)
        raise _not_fitted(device, space, name, names)
    if not names:
        raise _not_fitted(device, space, "gradient_boosting", names)
    folder = _folder(workspace, device, space)
    found = [read(folder / f"{item}.json") for item in ([name] if name else names)]
    return restore(min(found, key=_held_out_error), space)


def read(path: Path) -> SavedPredictor:
    """Return the validated content of a file; raise BadFile where it cannot be used."""
    again = f"Fit it again: hilnas fit DEVICE --predictor {path.stem}"
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise BadFile(f"{path} is larger than {_MAX_BYTES} bytes", "This is no saved predictor.", again)
        saved = SavedPredictor.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror}", "", again) from error
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise BadFile(f"{path} is no saved predictor: {place} {problem['msg']}", "", again) from error
    if len(saved.architectures) != len(saved.latency_s):
        raise BadFile(f"{path} is no saved predictor: architectures and times differ in number", "", again)
    return saved


def restore(saved: SavedPredictor, space: SearchSpace) -> FittedPredictor:
    """Return the predictor fitted again on what it was fitted on; raise BadFile where that is impossible."""
    if saved.space != space.name or saved.options != dict(space.options):
        raise BadFile(
            f"the saved {saved.predictor} belongs to {saved.space} with options {saved.options}",
            f"It was asked for {space.name} with {dict(space.options)}.",
        )
    kind = plugins.load("predictors", saved.predictor, Predictor)
    architectures = tuple(space.parse(text) for text in saved.architectures)
    latency_s = np.array(saved.latency_s)
    if saved.networks != _networks(space, architectures):
        raise BadFile(
            f"the {saved.predictor} of {saved.device} was fitted to other networks than {space.reference} has now",
            "What builds them has changed, or torch has.",
            f"Fit it again: hilnas fit {saved.device} --predictor {saved.predictor} --space {space.reference}",
        )
    try:
        predictor = kind(space, **saved.parameters).fit(architectures, latency_s, choices=saved.choices)
    except (TypeError, KeyError, ValueError) as error:
        again = f"Fit it again: hilnas fit {saved.device} --predictor {saved.predictor}"
        raise BadFile(f"the saved {saved.predictor} cannot be restored: {error}", "", again) from error
    return FittedPredictor(saved, predictor, architectures, latency_s)


def _networks(space: SearchSpace, architectures: Sequence[Architecture]) -> str:
    """Return the hash of what the texts stand for, nothing where they say it themselves."""
    fingerprints = [space.fingerprint(item) for item in architectures]
    return content_hash(fingerprints) if any(fingerprints) else ""


def _folder(workspace: Workspace, device: str, space: SearchSpace) -> Path:
    """Return where the predictors of a device and space lie; other options of a space have a folder of their own."""
    usual = dict(type(space)().options) == dict(space.options)
    name = space.name if usual else f"{space.name}-{content_hash(dict(space.options))[:8]}"
    return workspace.predictors / quote(device, safe="") / name


def _held_out_error(saved: SavedPredictor) -> float:
    mape = (saved.evaluation.get("scores") or {}).get("mape")
    return float("inf") if mape is None else float(mape)


def _not_fitted(device: str, space: SearchSpace, name: str, names: Sequence[str]) -> NotFitted:
    there = f"Fitted are: {', '.join(names)}." if names else "Nothing is fitted for it yet."
    return NotFitted(
        f"no predictor {name} is fitted for {device} on {space.name}"
        if names
        else f"no predictor is fitted for {device} on {space.name}",
        there,
        f"Fit one: hilnas fit {device} --predictor {name} --space {space.reference}",
    )
