"""The memory of training, by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from hilnas.cli import cli
from hilnas.errors import UnknownName, UsageError
from profiler._models import ModelSource
from profiler._training_table import TrainingRequest, training_table

CELL = "nasbench201:|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"


def test_a_larger_batch_takes_more_and_weights_stay() -> None:
    source = ModelSource(CELL)
    small, large = (training_table(source, TrainingRequest(batch)) for batch in (4, 8))
    for device in ("cpu", "cuda"):
        assert small[device].weight_bytes == large[device].weight_bytes
        assert large[device].activation_bytes > 1.8 * small[device].activation_bytes
        assert large[device].peak_bytes > small[device].peak_bytes


def test_adam_holds_two_states_a_weight() -> None:
    found = training_table(ModelSource(CELL), TrainingRequest(2, "adam"))["cpu"]
    plain = training_table(ModelSource(CELL), TrainingRequest(2))["cpu"]
    assert plain.optimiser_bytes == 0
    assert 1.9 * found.gradient_bytes < found.optimiser_bytes < 2.1 * found.gradient_bytes


def test_a_file_cannot_be_trained(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it is a file"):
        training_table(ModelSource(str(tmp_path / "a.onnx")), TrainingRequest(2))


def test_an_unknown_optimiser_is_named() -> None:
    with pytest.raises(UnknownName, match="adan"):
        training_table(ModelSource(CELL), TrainingRequest(2, "adan"))


def test_a_network_without_architecture_parameters_has_no_second_step() -> None:
    with pytest.raises(UsageError, match="alpha"):
        training_table(ModelSource(CELL), TrainingRequest(2, order=1))


def test_the_command_prints_both_devices() -> None:
    done = CliRunner().invoke(cli, ["profile", "--static", CELL, "--train", "4", "--json"], standalone_mode=False)
    assert done.exception is None
    assert set(json.loads(done.stdout)["training_memory"]) == {"cpu", "cuda"}


def test_train_needs_static() -> None:
    done = CliRunner().invoke(cli, ["profile", "fake", "--train", "4"], standalone_mode=False)
    assert isinstance(done.exception, UsageError)
