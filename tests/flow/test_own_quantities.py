"""Beside the statistics: quantities of one's own, other optimisers, older files, and tables."""

import json
import sys

import numpy as np
import pytest
from test_flow import GATES, L, batch, network, rows_of

from devices import Device, host
from minisd import set_gates
from minisd.errors import MissingPackageError, RunFolderError
from minisd.flow import Recorder, load
from minisd.flow.records import OF_BLOCKS, OF_PARAMETERS
from minisd.train import train_step
from own_optimizer import RMSProp

CPU = Device("cpu")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "flow.jsonl"


def bias(model):
    return abs(model.head.b.data).max()  # a 0-d array on a GPU


def shifts(model):
    return model.stem.layers[1].beta.data  # a view, which the step changes afterwards


OWN = {"bias": bias, "shifts": shifts}


def train_for(steps, model, optimizer, recorder, device=CPU, dtype=np.float64):
    data = batch(np.random.default_rng(6), device, dtype)
    for gates in GATES[:steps]:
        set_gates(model, gates)
        train_step(model, optimizer, *data, recorder=recorder)


# Quantities of one's own


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_quantities_are_averaged_and_loaded_under_their_names(device, dtype, path):
    model, optimizer = network(device, dtype=dtype)
    data = batch(np.random.default_rng(6), device, dtype)
    expected = []
    with Recorder(model, optimizer, path, also=OWN, average=2) as recorder:
        for _ in range(4):
            expected.append((float(bias(model)), host(shifts(model)).copy()))
            train_step(model, optimizer, *data, recorder=recorder)
    flow = load(path)
    assert flow["bias"].shape == (2,)
    assert flow["shifts"].shape == (2, 3)
    for row in (0, 1):
        first, second = expected[2 * row : 2 * row + 2]
        assert flow["bias"][row] == pytest.approx((first[0] + second[0]) / 2, rel=1e-7)
        assert flow["shifts"][row] == pytest.approx((first[1] + second[1]) / 2, rel=1e-7)
    assert flow["bias"][1] > flow["bias"][0] > 0


def test_quantities_change_nothing_else(device, path):
    """The other numbers and the weights are those without them, to the last bit."""
    found = []
    for also in (None, OWN):
        model, optimizer = network(device, dtype=np.float32)
        file = path.with_name(f"{bool(also)}")
        with Recorder(model, optimizer, file, also=also, look_every=1) as recorder:
            train_for(4, model, optimizer, recorder, device, np.float32)
        rows = [{k: v for k, v in row.items() if k not in OWN} for row in rows_of(file)]
        found.append((rows, [host(p.data).tobytes() for _, p in model.parameters()]))
    assert found[0] == found[1]


def test_a_recording_with_quantities_goes_on(path):
    model, optimizer = network(CPU)
    with Recorder(model, optimizer, path, also=OWN) as recorder:
        train_for(3, model, optimizer, recorder)
    with Recorder(model, optimizer, path, also=OWN, done=2) as recorder:
        train_for(2, model, optimizer, recorder)
    flow = load(path)
    assert flow["step"].tolist() == [1, 2, 3, 4]
    assert flow["shifts"].shape == (4, 3)
    other = {"bias": bias, "shifts": lambda model: shifts(model)[:2]}
    with (
        pytest.raises(ValueError, match=r"'shifts' returned shape \(3,\) at first, and \(2,\) now"),
        Recorder(model, optimizer, path, also=other, done=4) as recorder,
    ):
        train_for(1, model, optimizer, recorder)
    with pytest.raises(RunFolderError, match=r"also has bias, shifts, but this recorder has bias:"):
        Recorder(model, optimizer, path, also={"bias": bias}, done=2)
    with pytest.raises(RunFolderError, match="this recorder has nothing: give it the same"):
        Recorder(model, optimizer, path, done=2)


def test_quantities_that_are_not_finite_are_recorded_as_such(path):
    model, optimizer = network(CPU)
    also = {"number": lambda model: np.inf, "two": lambda model: [np.nan, 1]}
    with Recorder(model, optimizer, path, also=also) as recorder:
        train_for(1, model, optimizer, recorder)
    (row,), flow = rows_of(path), load(path)
    assert (row["number"], row["two"]) == ("inf", ["nan", 1.0])
    assert flow["number"] == [np.inf]
    np.testing.assert_array_equal(flow["two"], [[np.nan, 1]])


class Growing(list):
    def __call__(self, model):
        self.append(1.0)
        return list(self)


WRONG = {
    "a statistic": ({"grad_norm": bias}, ValueError, "'grad_norm' is recorded already"),
    "a column": ({"step": bias}, ValueError, "'step' is recorded already"),
    "no text": ({1: bias}, TypeError, "a name is a text"),
    "no name": ({"": bias}, TypeError, "a name is a text"),
    "no function": ({"x": 1.0}, TypeError, "'x' must be a function of the model"),
    "a list": ([bias], TypeError, "also is a dict of functions"),
    "a matrix": ({"x": lambda model: model.head.w.data}, TypeError, "an array of one axis"),
    "nothing": ({"x": lambda model: None}, TypeError, "it returned NoneType"),
    "a text": ({"x": lambda model: "1"}, TypeError, "it returned str"),
    "another length": ({"x": Growing()}, ValueError, r"shape \(1,\) at first, and \(2,\) now"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_recorded_is_said(wrong, path):
    also, error, sentence = WRONG[wrong]
    model, optimizer = network(CPU)
    with (
        pytest.raises(error, match=sentence),
        Recorder(model, optimizer, path, also=also) as recorder,
    ):
        train_for(2, model, optimizer, recorder)
    Recorder(model, optimizer, path.with_name("new")).close()  # the network is free again


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda header, row: header.update(also=["loss"]), "a name has two meanings"),
        (lambda header, row: header.update(also=["bias", "bias"]), "a name has two meanings"),
        (lambda header, row: header.update(also="bias"), "not a list"),
        (lambda header, row: header.pop("also"), "lacks 'also'"),
        (lambda header, row: row.pop("bias"), "lacks 'bias'"),
        (lambda header, row: row.update(bias="1"), "'1' is not a number"),
        (lambda header, row: row.update(shifts=[1.0]), "not as long as in the lines before"),
        (lambda header, row: row.update(shifts=1.0), "not as long as in the lines before"),
    ],
)
def test_damaged_quantities_are_refused(damage, said, path):
    model, optimizer = network(CPU)
    with Recorder(model, optimizer, path, also=OWN) as recorder:
        train_for(2, model, optimizer, recorder)
    header, first, second = map(json.loads, path.read_text().splitlines())
    damage(header, second)
    path.write_text("".join(json.dumps(line) + "\n" for line in (header, first, second)))
    with pytest.raises(RunFolderError, match=said):
        load(path)


# Other optimisers


def test_an_optimiser_of_ones_own_is_recorded(device, path):
    model, _ = network(device)
    optimizer = RMSProp(model, 1e-3)
    with Recorder(model, optimizer, path) as recorder:
        train_for(2, model, optimizer, recorder, device)
    flow, head = load(path), list(optimizer.parameters).index("head.b")
    assert flow["lr"].tolist() == [1e-3, 1e-3]
    # the first step is lr g / sqrt(0.1 g^2) for each of the ten numbers
    assert flow["update_norm"][0, head] == pytest.approx(1e-3 * 10, rel=1e-3)


def test_what_is_no_optimiser_is_refused(path):
    model, _ = network(CPU)
    with pytest.raises(TypeError, match="Recorder takes an optimiser such as SGD"):
        Recorder(model, model, path)
    assert not path.exists()


# Files of the first format


def as_the_first_format(path):
    """Leave out what it did not have."""
    header, *rows = map(json.loads, path.read_text().splitlines())
    lines = [{"format": 1, "parameters": header["parameters"], "blocks": header["blocks"]}]
    new = ("closed_grad_norm", "closed_looked")
    lines += [{k: v for k, v in row.items() if k not in new} for row in rows]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_an_older_recording_can_be_read_and_gone_on_with(path):
    model, optimizer = network(CPU)
    with Recorder(model, optimizer, path, look_every=1) as recorder:
        train_for(3, model, optimizer, recorder)
    new = load(path)
    as_the_first_format(path)
    old = load(path)
    assert list(old) == list(new)
    assert np.isnan(old["closed_grad_norm"]).all()
    assert (old["closed_looked"] == 0).all()
    for name in set(old) - {"closed_grad_norm", "closed_looked"}:
        np.testing.assert_array_equal(old[name], new[name])
    with Recorder(model, optimizer, path, look_every=1, done=2) as recorder:
        train_for(1, model, optimizer, recorder)
    both = load(path)
    assert both["step"].tolist() == [1, 2, 3]
    assert np.isnan(both["closed_grad_norm"][:2]).all()
    np.testing.assert_array_equal(np.isnan(both["closed_grad_norm"][2]), np.array(GATES[0]) == 1)


# Tables


def test_columns_have_every_number_once(path):
    model, optimizer = network(CPU)
    with Recorder(model, optimizer, path, also=OWN) as recorder:
        train_for(2, model, optimizer, recorder)
    flow = load(path)
    columns = {(name, of): values for name, of, values in flow.columns()}
    assert len(columns) == len(flow.columns())
    P = len(flow["parameter"])
    assert len(columns) == 3 + (len(OF_PARAMETERS) + 1) * P + (len(OF_BLOCKS) + 4) * L + 1 + 3
    np.testing.assert_array_equal(columns["grad_norm", "head.b"], flow["grad_norm"][:, -1])
    np.testing.assert_array_equal(columns["open", "blocks.2"], flow["open"][:, 2])
    np.testing.assert_array_equal(columns["shifts", "1"], flow["shifts"][:, 1])
    np.testing.assert_array_equal(columns["bias", ""], flow["bias"])


def test_to_frame(path):
    pd = pytest.importorskip("pandas")
    model, optimizer = network(CPU)
    with Recorder(model, optimizer, path, also=OWN, look_every=1) as recorder:
        assert load(path).to_frame().shape[0] == 0
        train_for(3, model, optimizer, recorder)
    flow = load(path)
    frame = flow.to_frame()
    assert frame.index.tolist() == [1, 2, 3]
    assert frame.index.name == "step"
    assert frame["grad_norm"].columns.tolist() == flow["parameter"].tolist()
    np.testing.assert_array_equal(frame["grad_norm"].to_numpy(), flow["grad_norm"])
    np.testing.assert_array_equal(frame["closed_grad_norm"]["blocks.1"],
                                  flow["closed_grad_norm"][:, 1])  # fmt: skip
    np.testing.assert_array_equal(frame["loss"], flow["loss"])
    np.testing.assert_array_equal(frame["shifts"]["2"], flow["shifts"][:, 2])
    assert isinstance(frame["loss"], pd.Series)
    assert frame["open"].to_numpy().dtype.kind == "i"


def test_without_pandas_it_is_said(path, monkeypatch):
    model, optimizer = network(CPU)
    Recorder(model, optimizer, path).close()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingPackageError, match="to_frame needs pandas: pip install pandas"):
        load(path).to_frame()
