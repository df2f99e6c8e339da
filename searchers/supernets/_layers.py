"""What searches of layers in a row share: rewards, trained networks, records, and supernets within a memory."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np

from hilnas.errors import Infeasible, UsageError
from hilnas.records import Architecture
from profiler._metrics import static_names
from search_spaces._chain import ChainSpace
from search_spaces._sub_space import SubSpace
from searchers._chain_search import RELAXATIONS, CostTerm
from searchers._children import Candidate, Children, Memo, Trained, of_classes
from searchers._cost_models import CostModel, StaticCost
from searchers._exploitation import Exploitation, Exploited, Running, predicted_bytes
from searchers._linear_costs import chain_expectation
from searchers._nearest import keeps
from searchers._reward import weighted_reward
from searchers._supernet_training import Schedule
from searchers.image_data import VALIDATION_SHARE
from searchers.supernets._base import GradientSearcher, Outcome, Pictures, Report, Task

#: Random networks whose median cost stands for gamma where nobody names one.
_USUAL = 64
#: Networks that are proposed at most.
_PROPOSED = 3


class LayerSearcher(GradientSearcher):
    """Trains networks, or supernets of layers in a row.

    short_epochs: of a network that is compared; full_epochs: of one that may be proposed; dnas_epochs: of a supernet.
    batch, rate, augment: of all training, by SGD. alpha, beta, gamma: of the reward (RADARS, Eq. 2); its cost is that
    of the first limit, else `cost`. beta=-1: the limit, else 0; gamma=0: the limit, else the median of random networks.
    relax: softmax, gumbel or path; share_rate: of Adam in the logits; cost_loss: sum or product. common: candidates of
    a layer have weights in common; sweeps: over the layers, for single changes that improve what is derived, judged by
    the supernet. explore_images and explore_classes: what short trainings see of the pictures (0: all).
    """

    bounded = True

    def __init__(
        self,
        task: Task,
        *,
        short_epochs: int = 2,
        full_epochs: int = 8,
        dnas_epochs: int = 6,
        batch: int = 64,
        rate: float = 0.05,
        augment: str = "crop",
        alpha: float = 0.5,
        beta: float = -1.0,
        gamma: float = 0.0,
        cost: str = "aops",
        cost_loss: str = "sum",
        relax: str = "softmax",
        share_rate: float = 0.1,
        common: bool = True,
        sweeps: int = 2,
        explore_images: int = 0,
        explore_classes: int = 0,
    ) -> None:
        super().__init__(task)
        if not isinstance(task.space, ChainSpace):
            raise UsageError(
                f"{task.space.name} has no layers in a row", "", "Search quantised_cnn or mobilenet, or with dca_nas"
            )
        if min(short_epochs, full_epochs, dnas_epochs) < 1 or min(gamma, sweeps, explore_images, explore_classes) < 0:
            raise UsageError("a search of layers needs at least an epoch each, and no negative options")
        if not 0 <= alpha <= 1 or relax not in RELAXATIONS or cost_loss not in ("sum", "product"):
            raise UsageError(
                "a search of layers needs alpha from 0 to 1, a relaxation and a loss that are known",
                f"relax: {', '.join(RELAXATIONS)}; cost_loss: sum, product.",
            )
        if not task.models and cost not in static_names():
            raise UsageError(
                f"{cost!r} is not counted", f"Known: {', '.join(static_names())}.", "Or name a limit: --max"
            )
        self._space = task.space
        if not task.pictures.images >= explore_images != 1 != explore_classes:
            raise UsageError(
                f"short trainings cannot see {explore_images} images of {explore_classes} classes",
                f"A search sees {task.pictures.images} images (--set images=N), and tells two classes apart at least.",
                "0 stands for all of them.",
            )
        self._short, self._full, self._alpha = short_epochs, full_epochs, alpha
        self._schedule = Schedule(dnas_epochs, batch, rate, 0.1 * rate, augment=augment, seed=task.seed)
        self._schedule.steps(round(VALIDATION_SHARE * task.pictures.images))  # of the smaller part
        if explore_images:
            self._schedule.steps(explore_images - round(VALIDATION_SHARE * explore_images))
        self._relax, self._share_rate, self._cost_loss = relax, share_rate, cost_loss
        self._common, self._sweeps = common, sweeps
        self._explore_images, self._explore_classes = explore_images, explore_classes
        self._model: CostModel = task.models[0] if task.models else StaticCost(cost, task.space)
        limit = task.bounds.get(self._model.metric)
        self._gamma = gamma or limit or self._usual_cost()
        self._beta = (limit or 0.0) if beta < 0 else beta

    def _usual_cost(self) -> float:
        rng = np.random.default_rng(0)
        found = [cost.value for cost in self._model.costs([self._space.sample(rng) for _ in range(_USUAL)])]
        known = [value for value in found if value]
        if not known:
            raise UsageError(f"no {self._model.metric} of {_USUAL} random networks of {self._space.name} is known")
        return median(known)

    def run(self, folder: Path, report: Report) -> Outcome:
        """Search, from the beginning or from what is in the folder."""
        bench = Bench(self, folder, report)
        try:
            self._search(bench)
        finally:
            bench.close()
        bench.note("ended", 1.0, {"networks": len(bench.good)})
        return bench.outcome()

    def _search(self, bench: Bench) -> None:
        """Search on a bench, which records everything."""
        raise NotImplementedError


class Bench:
    """Where one search trains its networks and supernets, and notes what comes of it."""

    def __init__(self, searcher: LayerSearcher, folder: Path, report: Report) -> None:
        self._searcher, self._folder, self._report = searcher, folder, report
        task = searcher.task
        trained = task.trained_space()
        if not isinstance(trained, ChainSpace):
            raise TypeError(f"{trained.name} has no layers in a row")
        self.trained_space: ChainSpace = trained
        self._memo = Memo(folder / "memo.jsonl")
        data = task.pictures.at(trained.input_shape)
        images = searcher._explore_images or task.pictures.images
        proxy = Pictures(task.pictures.folder, images).at(trained.input_shape)
        schedule = searcher._schedule
        usual: dict[str, Any] = {"batch": schedule.batch, "rate": schedule.rate, "augment": schedule.augment}
        self._short = Children(
            trained, of_classes(proxy, searcher._explore_classes), self._memo, **usual, seed=task.seed
        )
        self._full = Children(trained, data, self._memo, **usual, seed=task.seed)
        self._events: list[dict[str, Any]] = []
        self._began, self._before_s = time.monotonic(), 0.0
        self._predicted: dict[SubSpace, int] = {}
        self._running: Running | None = None
        self._started_s = self._share = 0.0
        self._searches: list[Exploited] = []
        self._failure: str | None = None
        self.full: dict[Architecture, Candidate] = {}

    @property
    def good(self) -> list[Candidate]:
        """Return the networks that were trained fully, those left out that could not be."""
        return [item for item in self.full.values() if item.cause is None]

    @property
    def elapsed_s(self) -> float:
        """Return how long the search has taken so far, what was before a stop included."""
        return self._before_s + time.monotonic() - self._began

    def note(self, name: str, share: float, values: Mapping[str, Any]) -> None:
        """Record an event once: a search that goes on keeps when it happened first."""
        known = self._memo.get(f"event {name}")
        if known is None:
            known = {"event": name, **values, "elapsed_s": self.elapsed_s}
            self._memo.put(f"event {name}", known)
        else:
            self._began, self._before_s = time.monotonic(), float(known["elapsed_s"])
        self._events.append(known)
        self._share = max(self._share, share)  # what ran beside something may be told of later
        self._report(known, self._share)

    def shortly(self, architecture: Architecture) -> Candidate:
        """Return a network after a short training."""
        return self._judged(architecture, self._short.shortly(architecture, self._searcher._short))

    def fully(self, architecture: Architecture) -> Candidate:
        """Return a network after a training that is worth something; it may be proposed then."""
        found = self._judged(architecture, self._full.fully(architecture, self._searcher._full))
        self.full[architecture] = found
        return found

    def _judged(self, architecture: Architecture, trained: Trained) -> Candidate:
        found, own = self._searcher._model.costs([architecture])[0], self._searcher
        cause = trained.cause or (None if found.value is not None else found.cause or "its cost is not known")
        if found.value is None or cause is not None:
            self._failure = self._failure or cause
            return Candidate(architecture, 0.0, found.value or 0.0, 0.0, cause)
        reward = weighted_reward(trained.accuracy, found.value, own._alpha, own._beta, own._gamma)
        return Candidate(architecture, trained.accuracy, found.value, reward)

    @property
    def predictable(self) -> bool:
        """Return whether what a supernet takes can be told beforehand.

        Along paths, candidates with weights of their own take more and more as they are drawn.
        """
        return self._searcher._relax != "path" or self._searcher._common

    def predicted(self, sub: SubSpace) -> int:
        """Return the bytes that the training of a sub-space's supernet is predicted to take."""
        if sub not in self._predicted:
            own = self._searcher
            path = own._relax == "path" and own._common
            self._predicted[sub] = predicted_bytes(self.trained_space, sub, own._schedule.batch, own._common, path)
        return self._predicted[sub]

    def fits(self, sub: SubSpace) -> bool:
        """Return whether a supernet is predicted to stay below the bound."""
        bound = self._searcher.task.memory_bytes
        return not bound or self.predicted(sub) <= bound

    def require(self, sub: SubSpace) -> None:
        """Raise Infeasible for a supernet that would need more memory than there may be."""
        if not self.fits(sub):
            raise self._too_large(
                f"a supernet of {sub.candidates} candidates needs more memory than --memory allows",
                sub,
                "Search with radars, raise --memory, or train less at once: --set batch=32, --set width=8",
            )

    def require_one(self) -> None:
        """Raise Infeasible where not even one network fits, whose candidates are the first of their layers."""
        sub = SubSpace(tuple(candidates[:1] for candidates in self.trained_space.whole().layers))
        if not self.fits(sub):
            raise self.too_small(sub)

    def too_small(self, sub: SubSpace) -> Infeasible:
        """Return the error for a network that does not fit alone."""
        remedy = "Raise --memory, or train less at once: --set batch=32, --set width=8"
        return self._too_large("--memory does not suffice to train a single network", sub, remedy)

    def _too_large(self, what: str, sub: SubSpace, remedy: str) -> Infeasible:
        predicted, allowed = (item / 2**20 for item in (self.predicted(sub), self._searcher.task.memory_bytes))
        return Infeasible(what, f"Predicted are {predicted:.0f} MiB, allowed {allowed:.0f} MiB.", remedy)

    def start(self, sub: SubSpace, name: str, fault_bytes: int = 0) -> Running:
        """Start a differentiable search in a sub-space, in a process of its own."""
        own = self._searcher
        task = Exploitation(
            self.trained_space,
            sub,
            own.task.pictures,
            self._term(sub),
            own._schedule,
            own._relax,
            own._share_rate,
            own.task.memory_bytes,
            self._folder / name,
            own._common,
            own._sweeps,
            self.predicted(sub) if own.task.memory_bytes else 0,
            fault_bytes,
        )
        self._started_s = self.elapsed_s
        self._running = Running(task)
        return self._running

    def finish(self, running: Running, name: str, share: float, sub: SubSpace) -> Exploited:
        """Wait for a differentiable search, and record what came of it."""
        predicted = self.predicted(sub) if self.predictable else None  # beside the process
        found = running.result()
        self._running = None
        self._searches.append(found)
        # What it took before a stop counts, even where nothing was noted in between.
        self._before_s += max(0.0, self._started_s + found.elapsed_s - self.elapsed_s)
        values = {
            "kind": "searched",
            "candidates": sub.candidates,
            "predicted_bytes": predicted,
            "peak_bytes": found.peak_bytes,
            "search_s": found.elapsed_s,
            "architecture": None if found.architecture is None else found.architecture.text,
            "cause": found.cause,
            "out_of_memory": found.out_of_memory,
        }
        self.note(name, share, values)
        return found

    def _term(self, sub: SubSpace) -> CostTerm:
        own = self._searcher
        kind: Literal["product", "sum"] = "product" if own._cost_loss == "product" else "sum"
        return CostTerm(chain_expectation(own._space, sub, own._model), own._gamma, kind, own._alpha, own._beta)

    def close(self) -> None:
        """End what is still running."""
        if self._running is not None:
            self._running.stop()

    def outcome(self) -> Outcome:
        """Return the best networks, those that keep the limits first, and all events."""
        task = self._searcher.task
        ranked = sorted(
            self.good,
            key=lambda item: (not keeps(item.architecture, task.models, task.limits), -item.reward),
        )
        cause = None if ranked else f"no network could be trained: {self._failure}"
        if self._searches and all(item.architecture is None for item in self._searches):
            cause = f"no supernet could be searched: {self._searches[-1].cause}"
        return Outcome(tuple(item.architecture for item in ranked[:_PROPOSED]), (), tuple(self._events), cause)
