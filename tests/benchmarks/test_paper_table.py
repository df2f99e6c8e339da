"""The table of the paper's searches: blocks of cells, computed scores, and rows that are searched."""

import json

import numpy as np
import pytest

from benchmarks import paper_table
from benchmarks.paper_table import COUNTED, SPACE, Tables, blocks_of, computed, methods, run
from hilnas.errors import BadFile

CELLS = [cell.text for cell in SPACE.sample_distinct(400, seed=0)]


@pytest.fixture
def tables():
    rng = np.random.default_rng(0)
    accuracy = dict(zip(CELLS, rng.uniform(60, 94, len(CELLS)), strict=True))
    latency = dict(zip(CELLS, rng.uniform(0.001, 0.05, len(CELLS)), strict=True))
    everywhere = {text: value + 1 for text, value in accuracy.items()}
    some = dict(list(everywhere.items())[:300])
    return Tables(dict.fromkeys(paper_table.DEVICES, latency), accuracy, accuracy, {"a": everywhere, "b": some})


def test_every_block_holds_the_columns_that_know_all_its_cells(tables):
    (large, first), (small, second) = blocks_of(tables)
    assert (len(large), sorted(first)) == (400, ["a"])
    assert (len(small), sorted(second)) == (300, ["a", "b"])
    assert all(set(values) == small for values in second.values())


def test_computed_scores_reach_all_cells_of_a_form(tmp_path, capsys):
    live = [cell for cell in SPACE.enumerate() if SPACE.connected(cell)]
    forms = {cell.text: SPACE.canonical(cell) for cell in live}
    scores = {form: float(i) for i, form in enumerate(sorted(set(forms.values())))}
    first = min(scores, key=scores.__getitem__)
    rows = [[form, None if form == first else value, None] for form, value in scores.items()]
    (tmp_path / "os-1.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "cj-1.jsonl").write_text(json.dumps(rows[1]) + "\n")
    scores[first] = 0.0  # one below the least of the others
    assert computed(tmp_path) == {"computed os": {text: scores[form] for text, form in forms.items()}}
    assert "cj-1.jsonl does not score all cells" in capsys.readouterr().err


def test_scores_that_are_none_are_refused(tmp_path):
    (tmp_path / "os-1.jsonl").write_text("[1]\n")
    with pytest.raises(BadFile, match="no scores"):
        computed(tmp_path)


def test_rows_have_both_rewards_and_the_published_figures_beside(tables, monkeypatch):
    monkeypatch.setattr(paper_table, "EPISODES", 12)
    monkeypatch.setattr(paper_table, "LABELS", 20)
    monkeypatch.setattr(paper_table, "cores", lambda: 1)
    values = run(tables, 1, rewards=("paper", "strict", "none"))
    rows = {(row["score"], row["reward"]): row["devices"] for row in values["blocks"][0]["rows"]}
    assert {name for name, _ in rows} == {"a", "rank fusion of all", "fusion indicator of all", "forest"}
    assert {reward for _, reward in rows} == {"paper", "strict", "none"}
    assert rows["fusion indicator of all", "strict"]["Pixel 3"]["published_accuracy"] == 93.80
    assert rows["fusion indicator of all", "paper"]["Pixel 3"]["published_accuracy"] == 93.80
    assert rows["fusion indicator of all", "none"]["Edge GPU"]["published_accuracy"] == 93.44
    assert rows["forest", "paper"]["Edge GPU"]["published_accuracy"] is None
    assert values["blocks"][0]["oracle_accuracy"]["Pixel 3"] <= max(tables.test.values())
    text = paper_table._text(values)
    assert "published" in values and all(f"forest{end} " in text for end in ("", ", strict", ", no R_LAT"))


def test_named_fusions_stand_where_all_their_columns_are(tables):
    values = dict(tables.test)
    both = methods(tables, {"freerea logsynflow": values, "skip_span": values}, frozenset(values))
    one = methods(tables, {"freerea logsynflow": values}, frozenset(values))
    assert {"rank fusion of flow and skips", "fusion indicator of flow and skips"} <= both.keys()
    assert not [name for name in one if "flow and skips" in name]
    assert not [name for name in both if "the paper's four" in name]
    tabled = [f"freerea {name}" for name in ("logsynflow", "naswot", "nregions", "synflow")]
    six = methods(tables, dict.fromkeys([*tabled, *COUNTED], values), frozenset(values))
    assert {"rank fusion of tables and counts", "fusion indicator of tables and counts"} <= six.keys()
    assert not [name for name in both if "tables and counts" in name]


def test_the_largest_block_alone(tables, monkeypatch):
    monkeypatch.setattr(paper_table, "EPISODES", 12)
    monkeypatch.setattr(paper_table, "LABELS", 20)
    monkeypatch.setattr(paper_table, "cores", lambda: 1)
    assert [block["cells"] for block in run(tables, 1, largest=True)["blocks"]] == [400]


def test_counted_indicators_know_all_connected_cells():
    values = paper_table._counted("skip_span")
    assert values.keys() == {cell.text for cell in SPACE.enumerate() if SPACE.connected(cell)}
    conv = "nor_conv_3x3"
    plain = f"nasbench201:|{conv}~0|+|none~0|{conv}~1|+|none~0|none~1|{conv}~2|"
    residual = plain.replace("|none~0|none~1|", "|skip_connect~0|none~1|")
    assert values[SPACE.parse(plain).text] == 0 < values[SPACE.parse(residual).text]
