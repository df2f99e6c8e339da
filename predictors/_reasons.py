"""Why a prediction may be off: a shaky measurement, another state of the device, blocks or sizes never trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from statistics import median

import numpy as np

from devices.agent._stopping import median_interval
from hilnas.records import Architecture
from predictors._graph_choice import GRAPHS
from predictors._kernels import KERNEL_FEATURES
from predictors._registry import FittedPredictor
from predictors._samples import Samples
from predictors._views import views_of
from profiler._conditions import Conditions, differences
from profiler._judgement import MIN_CONFIDENCE
from profiler._plan import architecture_workload
from profiler._workspace import Workspace
from search_spaces._base import SearchSpace
from search_spaces._features import FEATURES

#: A measurement known no better than this may be off itself.
_WIDE = 0.03
#: A block is rare when fewer training networks have it, by number and by share.
_RARE, _RARE_SHARE = 3, 0.1
_SHOWN = 3


def half_widths(samples: Samples) -> list[float | None]:
    """Return the relative half width of each measurement's interval, None where it is not known."""
    return [_half_width(medians) for medians in samples.medians]


def unseen_features(space: SearchSpace, trained: Sequence[Architecture], test: Samples) -> list[tuple[str, ...]]:
    """Return for each test architecture the features that lie outside everything that was trained on."""
    views = views_of(space)
    names = (*FEATURES, *KERNEL_FEATURES)
    train = views.matrix("runtime", trained)
    rows = views.matrix("runtime", test.architectures)
    outside = (rows < train.min(axis=0)) | (rows > train.max(axis=0))
    return [tuple(names[i] for i in np.flatnonzero(row)) for row in outside]


def rare_blocks(space: SearchSpace, trained: Sequence[Architecture], test: Samples) -> list[tuple[str, ...]]:
    """Return for each test architecture the blocks that hardly any network had that was trained on, with how many."""
    if space.traced:
        return [()] * len(test)
    keys = [block.key for block in space.blocks()]
    live = slice(GRAPHS.index("live") * len(keys), (GRAPHS.index("live") + 1) * len(keys))
    views = views_of(space)
    seen = (views.matrix("costed", trained)[:, live] > 0).sum(axis=0)
    rare = (seen < _RARE) & (seen < _RARE_SHARE * len(trained))
    used = views.matrix("costed", test.architectures)[:, live] > 0
    return [tuple(f"{keys[i]} (in {seen[i]} of {len(trained)})" for i in np.flatnonzero(row & rare)) for row in used]


def fitting_runs(workspace: Workspace, space: SearchSpace, device: str, fitted: FittedPredictor) -> list[str]:
    """Return the campaigns that measured what a predictor was fitted on, before it was saved."""
    trained = {architecture_workload(space, item).key for item in fitted.architectures}
    saved = datetime.fromisoformat(fitted.saved.created_at)
    return [
        row.run_id
        for row in workspace.store.campaigns()
        if row.device == device
        and datetime.fromisoformat(row.created_at).replace(microsecond=0) <= saved
        and any(workload.key in trained for workload in workspace.store.plan(row.run_id))
    ]


def tested_runs(workspace: Workspace, space: SearchSpace, device: str, test: Samples) -> dict[str, str]:
    """Return architecture -> the campaign that its measurement comes from."""
    sourced = workspace.store.sourced(device, space=space.name)
    runs = {measurement.workload.key: campaign.run_id for measurement, campaign in sourced}
    keys = {item.text: architecture_workload(space, item).key for item in test.architectures}
    return {text: runs[key] for text, key in keys.items() if key in runs}


def row_differences(
    workspace: Workspace, space: SearchSpace, test: Samples, runs: Mapping[str, str], before: Conditions
) -> list[tuple[str, ...]]:
    """Return for each test architecture what its own measurement saw otherwise: clocks and temperatures."""
    found: list[tuple[str, ...]] = []
    for item in test.architectures:
        if item.text not in runs:
            found.append(())
            continue
        own = workspace.store.conditions([runs[item.text]], architecture_workload(space, item).key)
        found.append(tuple(differences(replace(before, facts={}), replace(own, facts={}))))
    return found


def reasons(
    half_width: float | None, different: Sequence[str], rare: Sequence[str], unseen: Sequence[str]
) -> tuple[str, ...]:
    """Return what may explain an error, as texts; none where nothing is unusual."""
    found = []
    if half_width is not None and half_width > _WIDE:
        found.append(f"measured to ± {half_width:.1%} only")
    if different:
        found.append(f"the device was different: {'; '.join(different[:_SHOWN])}")
    if rare:
        found.append(f"rare blocks: {', '.join(rare[:_SHOWN])}")
    if unseen:
        found.append(f"beyond anything trained on: {', '.join(unseen[:_SHOWN])}")
    return tuple(found)


def _half_width(medians: Sequence[float]) -> float | None:
    bounds = median_interval(list(medians), MIN_CONFIDENCE) if len(medians) > 1 else None
    if bounds is None:
        return None
    return (bounds[1] - bounds[0]) / 2 / median(medians)
