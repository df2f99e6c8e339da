"""What `hilnas search --data` asks for, and the objects it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hilnas import plugins
from hilnas.errors import UsageError
from hilnas.units import parse_quantity
from search_spaces._base import SearchSpace
from search_spaces._supergraph import SupernetSpace
from searchers._columns import column_of
from searchers._expected_cost import expected_cost
from searchers._options import option_defaults, read_options, split_pairs
from searchers._request import (
    PictureSetup,
    SearchRequest,
    Setup,
    constraints_of,
    cost_models_of,
    real_device,
)
from searchers._supernet_jobs import PACKAGE
from searchers.evaluators.trained import Trained
from searchers.image_data import count_images
from searchers.supernets._base import SPLIT_SEED, GradientSearcher, Pictures, Task

if TYPE_CHECKING:
    from profiler._workspace import Workspace

#: The name of the pictures that need no folder.
DIGITS = "digits"
#: Options of every search on pictures. images: to search with (0: three quarters, at most 2000). judge_epochs: how long
#: a proposed network is trained before it is judged by pictures it has not seen.
_SHARED = {"images": 0, "judge_epochs": 4}
_MOST_IMAGES = 2000
_JUDGE_BATCH = 64


def set_up_pictures(workspace: Workspace, request: SearchRequest, space: SearchSpace, configs: Path | None) -> Setup:
    """Return what a request with pictures stands for; raise UsageError, UnknownName or NotFitted."""
    kind = plugins.load(PACKAGE, request.searcher, GradientSearcher, "search on pictures")
    own = option_defaults(kind)
    given = read_options(split_pairs(request.options), {**space.options, **own, **_SHARED}, request.searcher)
    chosen = {**_SHARED, **given}
    if chosen["images"] < 0 or chosen["judge_epochs"] < 1:
        raise UsageError("a search on pictures needs a number of images (0: its own choice) and an epoch to judge by")
    if request.memory is not None and not kind.bounded:
        raise UsageError(
            f"{request.searcher} keeps no bound of memory",
            "radars and dnas do.",
            "Leave --memory out, or shrink: --set batch=32",
        )
    pictures = _pictures(request, chosen["images"])
    asked = {name: value for name, value in given.items() if name not in own and name not in _SHARED}
    constraints = constraints_of(request.limits)
    models, predictor = cost_models_of(workspace, request, space, constraints)
    skeleton = _skeleton(space, kind, pictures, asked)
    relaxed = {m.metric: expected_cost(space, m) for m in models} if isinstance(space, SupernetSpace) else {}
    options = {name: value for name, value in given.items() if name in own}
    limits = {item.metric: item.limit for item in constraints}
    kind(Task(space, skeleton, pictures, limits, relaxed, models), **options)  # refuses now what it would later
    judge = Trained(
        space,
        data="" if pictures.folder is None else str(pictures.folder),
        images=pictures.images,
        epochs=chosen["judge_epochs"],
        batch=min(_JUDGE_BATCH, pictures.images // 2),
        stop=False,
        seed=SPLIT_SEED,
        proxy=skeleton,
        cache=workspace.path / "scores",
    )
    accuracy = None if request.accuracy is None else column_of(workspace, request.accuracy, space, "--accuracy")
    return Setup(
        request=request,
        space=space,
        constraints=constraints,
        evaluations=1,
        searcher=kind,
        options=options,
        evaluator=judge,
        cost_models=models,
        predictor=predictor,
        accuracy=None if accuracy is None else accuracy.values,
        device=real_device(request, configs),
        pictures=PictureSetup(pictures, skeleton, relaxed, _bytes(request.memory)),
    )


def _bytes(memory: str | None) -> int:
    return 0 if memory is None else int(parse_quantity(memory, "bytes"))


def _pictures(request: SearchRequest, images: int) -> Pictures:
    folder = None if request.data in (None, DIGITS) else Path(str(request.data)).expanduser().resolve()
    there = count_images(folder)
    if images > there:
        raise UsageError(f"{images} images were asked for; there are {there}", "", f"Take fewer: --set images={there}")
    found = Pictures(folder, images or min(_MOST_IMAGES, 3 * there // 4))
    if request.train_winner and found.images == there:
        raise UsageError(
            f"no image is left to test with: all {there} are searched with",
            "What a winner is worth is told by pictures that chose nothing.",
            f"Search with fewer: --set images={3 * there // 4}",
        )
    return found


def _skeleton(
    space: SearchSpace, kind: type[GradientSearcher], pictures: Pictures, asked: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options of the networks that are trained while searching, those that were asked for before others."""
    usual = dict(space.small)
    if space.options.get("imagenet"):
        usual.pop("resolution", None)  # its stem needs large pictures
    found = {**usual, **asked}
    if "classes" in space.options:
        found["classes"] = pictures.at(type(space)(**{**space.options, **found}).input_shape).classes
    return found
