"""Reference tables for the tests of search spaces."""

import csv
import gzip
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def nb201_cost():
    """Return the rows of the computed NAS-Bench-201 costs; skip where the reference data is absent."""
    folder = Path(os.environ.get("HILNAS_REFERENCE_DATA", ROOT / "../shared/data"))
    path = folder / "nb201_cost.csv.gz"
    if not path.exists():
        pytest.skip(f"no reference data: {path} is absent (set HILNAS_REFERENCE_DATA)")
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.DictReader(file))
