"""The HTML report: offline, escaped, and readable in a real browser."""

import json
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from devices._config import DeviceConfig, FakeOptions
from hilnas.errors import BadFile, UnknownName
from profiler._campaign import measure
from profiler._plan import load_space, sample_workloads
from profiler._workspace import Workspace
from reports._page import Section, page, sections_of
from reports._subjects import report_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.setattr("devices._lease.lease_folder", lambda: tmp_path / "leases")
    with Workspace.open(tmp_path / "w") as opened:
        yield opened


def campaign(workspace):
    config = DeviceConfig(name="fake", kind="fake", fake=FakeOptions(rejects=("nor_conv_1x1~0|+|nor_conv_3x3",)))
    return measure(workspace, config, sample_workloads(load_space("nasbench201"), 8, 0))


class Checker(HTMLParser):
    """Notes what a page would load, and that its tags close."""

    def __init__(self):
        super().__init__()
        self.loads, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.loads += [value for key, value in attrs if key in ("src", "href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_run_has_a_whole_page_that_loads_nothing(workspace):
    done = campaign(workspace)
    text = report_page(workspace, done.run_id)
    assert text == report_page(workspace, "last")
    checker = Checker()
    checker.feed(text)
    assert checker.open == [] and checker.loads == [] and "url(" not in text and "@import" not in text
    assert all(item.workload.subject in text for item in done.measurements)


def test_a_study_and_a_comparison_have_pages(workspace):
    values = {"seed": 1, "winners": [{"architecture": "a", "latency_s": 0.0012}, {"architecture": "b", "extra": None}]}
    for folder in ("studies", "comparisons"):
        (workspace.path / folder).mkdir()
        (workspace.path / folder / f"{folder}-1.json").write_text(json.dumps(values))
        text = report_page(workspace, f"{folder}-1")
        assert "0.0012" in text and "winners" in text and "n/a" in text


def test_foreign_text_is_escaped():
    evil = "<script>alert(1)</script>"
    text = page(evil, {evil: evil}, [Section(evil, [{evil: evil}]), Section("empty", [])])
    assert "<script" not in text and text.count("&lt;script&gt;") >= 6


def test_nested_answers_become_facts_and_sections():
    facts, sections = sections_of({"n": 3, "scores": {"mape": 0.1, "deep": {"x": 1}}, "rows": [{"a": 1}], "none": []})
    assert facts == {"n": 3, "none": []}
    assert [section.title for section in sections] == ["scores", "scores: deep", "rows"]


def test_what_is_not_there_or_broken_is_said(workspace):
    with pytest.raises(UnknownName):
        report_page(workspace, "last")
    (workspace.path / "studies").mkdir()
    (workspace.path / "studies" / "torn.json").write_text("{")
    with pytest.raises(BadFile):
        report_page(workspace, "torn")


@pytest.mark.skipif(CHROMIUM is None, reason="no browser: install chromium to open the report in one")
def test_a_real_browser_shows_the_report(workspace, tmp_path):
    done = campaign(workspace)
    path = tmp_path / "report.html"
    path.write_text(report_page(workspace, done.run_id), encoding="utf-8")
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=4000", "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert shown.returncode == 0
    assert shown.stdout.count("<tr>") >= 8 and done.run_id in shown.stdout
