"""The page of a search on pictures: its lookup graph and its epochs, drawn and shown by a real browser."""

import copy
import json
import re
import shutil
import subprocess
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from hilnas.cli import cli
from profiler._workspace import Workspace
from reports._points import point_chart
from reports._subjects import report_page
from searchers._search_curves import epoch_curves, lookup_graphs

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SEARCH = (
    "dca_nas", "--space", "nasbench201", "--space-option", "depth=1", "--max", "params=0.1M", "--set", "width=4",
    "--set", "resolution=8", "--set", "images=80", "--set", "batch=16", "--set", "epochs=2", "--set", "bounds=2",
    "--set", "judge_epochs=1", "--set", "share_rate=0.05", "--json",
)  # fmt: skip


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Return a workspace with one search under two bounds, and its answer."""
    path = tmp_path_factory.mktemp("search") / "w"
    result = CliRunner().invoke(cli, ["--workspace", str(path), "search", *SEARCH])
    assert result.exception is None, result.exception
    return path, json.loads(result.stdout)


@pytest.fixture(scope="module")
def text(searched):
    path, answer = searched
    with Workspace.open(path) as workspace:
        return report_page(workspace, answer["study_id"])


def test_the_lookup_graph_shows_what_each_bound_led_to(searched):
    _, answer = searched
    ((title, axes, points, limit),) = lookup_graphs(answer)
    assert title == "lookup graph of params, limit 100 k" and axes == ("bound of the search", "params") and limit == 1e5
    searches = answer["searches"]
    assert points["expected"] == [(item["bounds"]["params"], item["expected"]["params"]) for item in searches]
    assert points["derived"] == [(item["bounds"]["params"], item["derived"][0]["params"]) for item in searches]
    within = [(item["bounds"]["params"], one["params"]) for item in searches for one in item["derived"][1:]]
    assert points.get("within the limits", []) == within
    assert [x for x, _ in points["derived"]] == [pytest.approx(5e4), pytest.approx(2e5)]


def test_one_bound_is_no_graph(searched):
    answer = copy.deepcopy(searched[1])
    answer["searches"] = answer["searches"][:1]
    assert lookup_graphs(answer) == []
    assert lookup_graphs({"constraints": answer["constraints"]}) == [] and epoch_curves({}) == {}


def test_what_proposed_nothing_has_no_points(searched):
    answer = copy.deepcopy(searched[1])
    answer["searches"].append({**answer["searches"][0], "derived": [], "expected": {}, "history": [], "seed": 1})
    assert lookup_graphs(answer) == lookup_graphs(searched[1])
    curves = epoch_curves(answer)
    assert all(len(lines) == 2 or len(lines["seed 1, bounds x 0.5"]) == 0 for lines in curves.values())


def test_epochs_are_drawn_search_by_search(searched):
    curves = epoch_curves(searched[1])
    assert {"training loss, nats", "mean entropy of the shares, nats"} <= set(curves)
    for lines in curves.values():
        assert set(lines) == {"seed 0, bounds x 0.5", "seed 0, bounds x 2"}
    loss = curves["training loss, nats"]["seed 0, bounds x 2"]
    assert loss.tolist() == [row["training_loss"] for row in searched[1]["searches"][1]["history"]]


def test_points_are_escaped_within_their_frame_and_say_their_values():
    chart = point_chart("<g> & more", ("x<y", "z"), {"a<b": [(1.0, 2.0), (3.0, 8.0)], "c": [(2.0, 4.0)]}, 5.0)
    root = ElementTree.fromstring(chart)
    assert root.find("title").text == "<g> & more"
    circles = root.findall("circle")
    x, y = ([float(item.get(name)) for item in circles] for name in ("cx", "cy"))
    assert x[0] < x[2] < x[1] and y[0] > y[2] > y[1], "up is more"
    assert all(44 <= value <= 720 for value in x) and all(0 <= value <= 196 for value in y)
    (level,) = re.findall(r'd="M44 ([0-9.]+)H712"[^>]*dasharray', chart)
    assert y[1] < float(level) < y[2]
    assert circles[0].find("title").text == "a<b: 1, 2"
    assert circles[0].get("fill") == circles[1].get("fill") != circles[2].get("fill")


def test_a_single_point_has_a_frame_too():
    ElementTree.fromstring(point_chart("t", ("x", "y"), {"a": [(1.0, 2.0)]}, 2.0))


def test_the_page_holds_charts_and_no_history(searched, text):
    assert "lookup graph of params" in text and "epochs" in text
    assert text.count("<svg") >= 5
    assert "training_loss" not in text, "what is drawn is no table"
    for item in searched[1]["searches"]:
        assert item["derived"][0]["architecture"] in text


@pytest.mark.skipif(CHROMIUM is None, reason="no browser: install chromium to open the report in one")
def test_a_real_browser_draws_the_graph(text, tmp_path):
    path = tmp_path / "report.html"
    # What the browser makes of the page is read back from it: where each circle really stands.
    probe = (
        "<script>onload=()=>{const box=[...document.querySelectorAll('circle')].map(c=>c.getBoundingClientRect());"
        "document.title=JSON.stringify(box.map(b=>[b.x,b.y,b.width]))}</script>"
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
    assert len(boxes) == text.count("<circle") >= 4
    assert all(width > 0 for _, _, width in boxes)
    assert shown.stdout.count("<polyline") >= 4
