"""What tests of predictors share: no source pack ships, unless a test says so."""

import pytest

from profiler import _source_pack


@pytest.fixture(autouse=True)
def no_packs(tmp_path, monkeypatch):
    monkeypatch.setattr(_source_pack, "_shipped", lambda: tmp_path / "no_packs")
