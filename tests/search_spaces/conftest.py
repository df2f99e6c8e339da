"""Reference tables for the tests of search spaces."""

import csv
import gzip

import pytest


@pytest.fixture(scope="session")
def nb201_cost(reference_data):
    """Return the rows of the computed NAS-Bench-201 costs; skip where the reference data is absent."""
    with gzip.open(reference_data / "nb201_cost.csv.gz", "rt", newline="") as file:
        return list(csv.DictReader(file))
