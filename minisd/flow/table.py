"""A recording as plain arrays, and as a table for pandas."""

from pathlib import Path
from typing import Any

import numpy as np

from minisd.errors import MissingPackageError
from minisd.flow.file import arrays_of, read, shapes
from minisd.flow.records import FLOW, OF_PARAMETERS, RESERVED


class Flow(dict[str, np.ndarray]):
    """The arrays of a recording by name, as `load` describes them. An ordinary dict otherwise."""

    def columns(self) -> list[tuple[str, str, np.ndarray]]:
        """Return (statistic, of what, values (R,)) of every series of numbers, in the file's order.

        Of what: a parameter's name; ``blocks.0`` and so on, as in the parameters' names; the index
        in an array of one's own; and nothing for a single number, such as the loss.
        """
        parameters = self["parameter"].tolist()
        blocks = [f"blocks.{number}" for number in range(self["open"].shape[1])]
        columns = []
        for name, array in self.items():
            if name in ("parameter", "step"):
                continue
            if array.ndim == 1:
                columns.append((name, "", array))
                continue
            if name in (*OF_PARAMETERS, "reached"):
                of = parameters
            else:
                of = blocks if name in RESERVED else list(map(str, range(array.shape[1])))
            columns += [(name, what, array[:, place]) for place, what in enumerate(of)]
        return columns

    def to_frame(self) -> Any:
        """Return a `pandas.DataFrame` with a row for each record.

        The index is ``step``. A column has two names, statistic and of what (see `columns`). So
        ``frame["grad_norm"]`` is a table with the parameters as its columns,
        ``frame["output_grad_norm"]["blocks.3"]`` is one block's, and ``frame["loss"]`` the losses.
        ``frame.stack(level=[0, 1])`` has one number in each row.

        Raises
        ------
        MissingPackageError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingPackageError("to_frame needs pandas: pip install pandas") from error
        columns = self.columns()
        names = pd.MultiIndex.from_tuples(
            [(statistic, of) for statistic, of, _ in columns], names=["statistic", "of"]
        )
        values = {place: array for place, (_, _, array) in enumerate(columns)}
        frame = pd.DataFrame(values, index=pd.Index(self["step"], name="step"))
        frame.columns = names
        return frame


def load(run: str | Path) -> Flow:
    """Read a recording: the statistics by name, as plain arrays with one row per record.

    Parameters
    ----------
    run : path
        The folder of a run, or the file.

    Returns
    -------
    Flow
        A dict: ``parameter`` (P,): the names; ``step`` (R,): the last step of each record;
        ``steps`` (R,): the number of its steps; ``loss``, ``lr`` (R,); `OF_PARAMETERS` and
        ``reached`` (R, P); `OF_BLOCKS`, ``closed_grad_norm``, ``open``, ``looked`` and
        ``closed_looked`` (R, L); quantities of one's own, (R,) or (R, length). NaN means None: the
        count is 0. A recording of the first format has NaN as every ``closed_grad_norm``.

    Examples
    --------
    ``flow = load(run)``, then ``flow.to_frame()`` for pandas, or ``numpy.savez("flow.npz",
    **flow)``.
    """
    path = Path(run)
    header, rows = read(path / FLOW if path.is_dir() else path)
    records = [arrays_of(row, header) for row in rows]
    flow = Flow({"parameter": np.array(header["parameters"], str)})
    for name, (shape, dtype) in shapes(header).items():
        column = [record[name] for record in records]
        flow[name] = np.array(column, dtype).reshape(len(rows), *shape)
    for name in header["also"]:
        flow[name] = np.array([record[name] for record in records], float)
    return flow
