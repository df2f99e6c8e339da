"""The page of a search that prunes its space: what is left, what was trained, what memory it took."""

import copy
import json
import re
import shutil
import subprocess
from xml.etree import ElementTree

import pytest

from hilnas.records import canonical_json
from profiler._workspace import Workspace
from reports._lines import COLOURS
from reports._pruned import front, pruned_charts
from reports._subjects import report_page
from search_spaces._chain import merge
from search_spaces.quantised_cnn import QuantisedCnn
from searchers._records import StudyLog

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SPACE = QuantisedCnn()
TEXTS = ["+".join([layer] * 6) for layer in ("k1a1.1w1.1", "k7a3.6w3.6", "k3a1.3w1.6")]
NETWORKS = [SPACE.parse(text) for text in TEXTS]
MIB = 2**20


def network(kind, number, accuracy, cost, elapsed_s, cause=None):
    text = NETWORKS[number].text
    return {"event": f"{kind} {number}", "kind": kind, "architecture": text, "accuracy": accuracy, "cost": cost,
            "reward": 0.5, "cause": cause, "elapsed_s": elapsed_s}  # fmt: skip


def searched(event, predicted, peak, elapsed_s, cause=None):
    return {"event": event, "kind": "searched", "predicted_bytes": predicted, "peak_bytes": peak,
            "elapsed_s": elapsed_s, "cause": cause, "architecture": None}  # fmt: skip


def merged(event, *numbers):
    sub = merge(SPACE, [NETWORKS[i] for i in numbers], "tuple")
    return {"event": event, "kind": "merged", "candidates": sub.candidates, "elapsed_s": 4.0, **sub.to_json()}


ANSWER = {
    "space": "quantised_cnn",
    "space_options": dict(SPACE.options),
    "seed": 0,
    "options": {},
    "constraints": [],
    "request": {"memory": "200MiB"},
    "searches": [
        {
            "seed": 0,
            "factor": 1.0,
            "bounds": {},
            "expected": {},
            "derived": [],
            "history": [
                network("episode", 0, 20.0, 1e9, 1.0),
                network("episode", 1, 0.0, 9e9, 2.0, cause="the loss is nan"),
                network("retrained", 0, 60.0, 1e9, 3.0),
                network("retrained", 2, 55.0, 2e9, 3.0),
                merged("round 1, merged", 0, 2),
                searched("round 1, searched", 150 * MIB, 0, 5.0, cause="MemoryError"),
                merged("round 2, merged", 1, 2),
                searched("round 2, searched", 180 * MIB, 90 * MIB, 7.0),
                network("derived", 1, 80.0, 4e9, 8.0),
                {"event": "ended", "networks": 3, "elapsed_s": 8.0},
            ],
        }
    ],
}


def charts(answer=ANSWER):
    return [ElementTree.fromstring(item) for item in pruned_charts(answer)]


def points(chart):
    """Return name -> values of the points of a chart."""
    found = {}
    for circle in chart.findall("circle"):
        name, _, values = circle.find("title").text.partition(": ")
        found.setdefault(name, []).append(tuple(map(float, values.split(", "))))
    return found


def test_the_last_merge_stands_layer_by_layer_before_the_whole():
    grid = charts()[0]
    kept = [item for item in grid.findall("rect") if item.get("class") == "kept"]
    assert len(kept) == 12 and "round 2, merged" in grid.find("title").text
    texts = [item.text for item in grid.findall("text")]
    assert [f"layer {i + 1}" in texts for i in range(6)] == [True] * 6 and texts.count("2 of 144") == 6
    assert [item.get("fill") for item in kept] == [COLOURS[1], COLOURS[0]] * 6, "the derived one stands out"
    first, second = (SPACE.split(NETWORKS[i])[0] for i in (1, 2))
    assert kept[0].find("title").text == f"derived: {', '.join(map(str, first))}"
    assert kept[1].find("title").text == f"kept: {', '.join(map(str, second))}"
    behind = next(item for item in grid.findall("rect") if item.get("class") is None)
    start, width = float(behind.get("x")), float(behind.get("width"))
    for item, candidate in zip(kept[:2], (first, second), strict=True):
        place = SPACE.whole().layers[0].index(candidate) / 144
        assert float(item.get("x")) == pytest.approx(start + place * width, abs=0.1)
        assert float(item.get("x")) + float(item.get("width")) <= start + width + 0.1


def test_networks_are_points_of_error_and_cost_and_the_best_of_them_a_front():
    assert points(charts()[1]) == {
        "short trainings": [(1e9, 80.0)],
        "trained fully": [(2e9, 45.0)],
        "Pareto front": [(1e9, 40.0), (4e9, 20.0)],
    }
    assert "aops" in pruned_charts(ANSWER)[1] and "dasharray" not in pruned_charts(ANSWER)[1]
    limited = {**ANSWER, "constraints": [{"metric": "latency", "limit": 0.01}]}
    assert "latency_s" in pruned_charts(limited)[1]


def test_a_front_holds_what_nothing_beats():
    assert front([(3, 1), (1, 3), (2, 2), (2, 4), (3, 3), (4, 1)]) == [(1, 3), (2, 2), (3, 1)]
    assert front([]) == [] and front([(1, 1)]) == [(1, 1)]


def test_memory_is_drawn_over_time_against_the_bound():
    memory = charts()[2]
    assert points(memory) == {"predicted": [(5.0, 150.0), (7.0, 180.0)], "measured": [(7.0, 90.0)]}
    (line,) = [item for item in memory.findall("path") if item.get("stroke-dasharray")]
    top = min(float(item.get("cy")) for item in memory.findall("circle"))
    assert float(re.search(r"M\d+ ([0-9.]+)H", line.get("d"))[1]) < top, "the bound lies above all of them"
    free = {**ANSWER, "request": {"memory": None}}
    assert "dasharray" not in pruned_charts(free)[2]


def test_other_studies_have_none_of_these_and_quantnas_no_grid_and_no_memory():
    assert pruned_charts({"seed": 0}) == []
    cells = {
        **ANSWER,
        "space": "nasbench201",
        "space_options": {},
        "searches": [{"seed": 0, "history": [{"number": 1}]}],
    }
    assert pruned_charts(cells) == []
    plain = copy.deepcopy(ANSWER)
    plain["searches"][0]["history"] = plain["searches"][0]["history"][:4]
    (only,) = charts(plain)
    assert "error" in only.find("title").text
    plain["searches"][0]["history"] = []
    assert pruned_charts(plain) == []


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    with Workspace.open(tmp_path_factory.mktemp("report") / "w") as workspace:
        log = StudyLog.create(workspace.path / "studies", {"memory": "200MiB", "searcher": "radars"})
        log.finish({**ANSWER, "study_id": log.study_id})
        return report_page(workspace, log.study_id)


def test_the_page_holds_the_charts_and_no_table_of_events(text):
    assert text.count("<svg") == 3 and "round 1, searched" not in text
    assert canonical_json(ANSWER["searches"][0]["history"][4]["layers"]) not in text


@pytest.mark.skipif(CHROMIUM is None, reason="no browser: install chromium to open the report in one")
def test_a_real_browser_draws_them(text, tmp_path):
    path = tmp_path / "report.html"
    # What the browser makes of the page is read back from it: where each mark really stands.
    probe = (
        "<script>onload=()=>{const box=[...document.querySelectorAll('circle, rect.kept')]"
        ".map(c=>[c.getBoundingClientRect(), c.closest('svg').getBoundingClientRect()]);"
        "document.title=JSON.stringify(box.map(([b, s])=>[b.width, b.left-s.left, s.right-b.right, b.top-s.top]))}"
        "</script>"
    )
    path.write_text(text.replace("</head>", f"{probe}</head>"), encoding="utf-8")
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=4000", "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert shown.returncode == 0
    boxes = json.loads(re.search(r"<title>(\[.*?\])</title>", shown.stdout)[1])
    assert len(boxes) == 12 + 4 + 3
    assert all(min(box) > 0 for box in boxes), "everything is drawn, and inside its chart"
