"""The recorder. `minisd.flow` describes what it records."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from minisd.backend import Array, is_cupy
from minisd.distributed import ShardedGroup
from minisd.distributed.launch import joined
from minisd.errors import RunFolderError
from minisd.flow.also import Also, check_also, measured
from minisd.flow.file import RecordFile
from minisd.flow.records import FLOW, Record
from minisd.flow.statistics import statistics
from minisd.flow.step import Step, Tensors, scales, sums_of_squares, to_host
from minisd.flow.watch import Watch
from minisd.layer import Layer
from minisd.ops.check import whole_number
from minisd.optim import Optimizer, check_optimizer

_ONE_FILE = (
    "of several ranks each would write the file: make the recorder without a path, and it records "
    "into the folder of the run, minisd.fit(..., out=...)"
)


class Recorder:
    """Records statistics of a network in training, and streams them to a file.

    Parameters
    ----------
    model : Layer
        Its residual blocks, if any, must be in ``model.blocks``.
    optimizer : Optimizer, optional
        The optimiser of the model, perhaps one of your own (`minisd.optim.protocol`). All its
        parameters are recorded. None: the recorder is one of the callbacks of `minisd.fit`, whose
        optimiser it takes.
    path : path, optional
        A new file; with ``done``, it may be the file of an interrupted run. `minisd.flow.file`
        describes the file, and `load` reads it. None: the recorder is one of the callbacks of
        `minisd.fit`, and records into the folder of the run, also when the run goes on.
    average : int
        Number of steps that one record averages over.
    look_every : int
        Once every this many steps, activations and their gradients are recorded, too.
    write_every : int
        Once every this many steps, records are written. Until then, all values stay on the device,
        so that Python does not wait for a GPU at each step.
    also : dict of str to function, optional
        Quantities of your own: ``{"name": function(model)}``. At every step, in `after_backward`,
        each function returns a number or an array of one axis, always of one length. It may read
        gradients and weights, but must not change the network. It is averaged over the steps of a
        record, and ``load(path)["name"]`` has it, (R,) or (R, length).
    done : int, optional
        Steps done before, by a run that is resumed; may be 0. None: a new recording.

    Raises
    ------
    RunFolderError
        If ``path`` exists and cannot be continued.
    TypeError, ValueError
        If the optimiser lacks something, or a name or a function of ``also`` cannot be used.
    RuntimeError
        If the network already has another recorder.
    """

    def __init__(
        self,
        model: Layer,
        optimizer: Optimizer | None = None,
        path: str | Path | None = None,
        *,
        average: int = 1,
        look_every: int = 10,
        write_every: int = 50,
        also: Also | None = None,
        done: int | None = None,
    ) -> None:
        self.average = whole_number("average", average, 1)
        self.look_every = whole_number("look_every", look_every, 1)
        self.write_every = whole_number("write_every", write_every, 1)
        self.done = 0 if done is None else whole_number("done", done, 0)
        if optimizer is None and path is not None:
            raise TypeError("a recorder with a path needs an optimiser: Recorder(model, optimizer)")
        if path is not None and joined().size > 1:
            raise RunFolderError(_ONE_FILE)
        self.model = model
        self.also = check_also(also)
        self._path = path
        self._shapes: dict[str, tuple[int, ...]] = {}
        blocks = list(getattr(model, "blocks", []))
        self.optimizer: Optimizer | None = None
        if optimizer is not None:
            self._observe(optimizer, blocks)
        self._watch = Watch(blocks, lambda: self.done % self.look_every == 0)
        self._writes = True  # of several ranks, one
        try:
            self._file: RecordFile | None = None if path is None else self._open(Path(path), done)
        except BaseException:
            self.detach()
            raise
        self._half: tuple[Step, Array] | None = None  # after after_backward, before after_step
        self._steps: list[Step] = []
        self._record = Record()

    def _observe(self, optimizer: Optimizer, blocks: list[Any]) -> None:
        check_optimizer("Recorder", optimizer)
        self.optimizer, self._tensors = optimizer, Tensors(optimizer, blocks)

    @np.errstate(over="ignore", invalid="ignore")  # values that are not finite are recorded, too
    def after_backward(self, loss: Any = None) -> None:
        """Record gradients and weights. Call it between ``backward`` and ``optimizer.step``.

        Parameters
        ----------
        loss : float or 0-d array, optional
            If it is on a GPU, it is read later, without waiting here.

        Raises
        ------
        RuntimeError
            If a block has not had a training forward and backward since the last step.
        """
        if self.optimizer is None:
            raise RuntimeError(
                "a recorder without an optimiser is for the callbacks of minisd.fit: make it with "
                "one, Recorder(model, optimizer, path)"
            )
        blocks = self._watch.take()
        size, w = abs(self._tensors.grads()), self._tensors.weights()
        sums = [size.sum(axis=1), size.max(axis=1)]
        size /= scales(sums[1])[:, None]  # so that squares neither vanish nor overflow
        step = Step(
            number=self.done + 1,
            lr=float(self.optimizer.lr),
            loss=loss if loss is None or is_cupy(loss) else float(loss),
            reached=np.array([p.grad is not None for p in self._tensors.parameters]),
            blocks=blocks,
            sums=[*sums, sums_of_squares(size)],
            own=measured(self.also, self.model, self._shapes),
        )
        self._half = step, w

    @np.errstate(over="ignore", invalid="ignore")
    def after_step(self) -> None:
        """Record the updates of the weights. Call it after ``optimizer.step``.

        A step with `after_backward` but without this call is not recorded.
        """
        if self._half is None:
            raise RuntimeError("call after_backward and optimizer.step before after_step")
        (step, w), self._half = self._half, None
        update = self._tensors.weights()
        update -= w
        step.sums += [sums_of_squares(w), sums_of_squares(update)]
        self._steps.append(step)
        self.done += 1
        if len(self._steps) >= self.write_every:
            self._write()

    def flush(self) -> None:
        """End the present record, even if it is incomplete, and write all records."""
        self._write(end=True)

    def _open(self, path: Path, done: int | None) -> RecordFile:
        names, blocks = self._tensors.names, len(self._watch.blocks)
        file = RecordFile(path, names, blocks, list(self.also), done)
        self._shapes = file.own_shapes
        return file

    def __call__(self, moment: str, run: Any) -> None:
        """Record the steps of `minisd.fit`: a recorder is one of its callbacks.

        Raises
        ------
        RunFolderError
            If a run without a folder, or the file of another recording, is to be continued.
        """
        if moment == "start":
            self._start(run)
        elif moment == "backward":
            self.after_backward(run.loss)
        elif moment == "step":
            self.after_step()
        elif moment == "save":
            self.flush()

    def _start(self, run: Any) -> None:
        if isinstance(run.group, ShardedGroup):
            raise RunFolderError("the gradient flow cannot be recorded in shards")
        if run.group.size > 1 and self._path is not None:
            raise RunFolderError(_ONE_FILE)
        self._watch.group, self._writes = run.group, run.group.rank == 0
        if self.model is not run.model:
            raise RuntimeError("the recorder was made for another network than the run's")
        if self.optimizer is not run.optimizer:  # made anew for this call of fit, perhaps
            self._observe(run.optimizer, self._watch.blocks)
        if self._path is None:
            if run.folder is None:
                raise RunFolderError(
                    "a recorder without a path records into the folder of the run, but this run "
                    "has none: give fit an out, or the recorder a path"
                )
            self._file = self._open(run.folder / FLOW, run.steps_done) if self._writes else None
            self._half, self._steps, self._record = None, [], Record()
            self.done = run.steps_done
        elif self.done != run.steps_done:
            raise RunFolderError(
                f"the run goes on after step {run.steps_done}, but {self._path} is recorded up to "
                f"step {self.done}: make the recorder without a path, or with done={run.steps_done}"
            )

    def close(self) -> None:
        """Call `flush`, then `detach`."""
        try:
            self.flush()
        finally:
            self.detach()

    def detach(self) -> None:
        """Remove the recorder from the network, without writing anything more."""
        self._watch.detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Call `close`. After an error call `detach`: the file keeps what was written before."""
        if error is None:
            self.close()
        else:
            self.detach()

    @np.errstate(over="ignore", invalid="ignore")
    def _write(self, *, end: bool = False) -> None:
        """Copy the steps to the host in one transfer, and write the complete records."""
        steps, self._steps = self._steps, []
        copies = iter(to_host([array for step in steps for array in step.arrays()]))
        rows = []
        for step in steps:
            step.take([next(copies) for _ in step.arrays()])
            values, counts = statistics(step, self._tensors)
            loss = None if step.loss is None else float(step.loss)
            self._record.add(values, counts, step=step.number, lr=step.lr, loss=loss, own=step.own)
            if self._record.steps == self.average:
                rows.append(self._record.row())
                self._record = Record()
        if end and self._record.steps:
            rows.append(self._record.row())
            self._record = Record()
        if not self._writes:
            return
        if self._file is not None:
            self._file.append(rows)
        elif rows:
            raise RuntimeError(
                "a recorder without a path is for the callbacks of minisd.fit: give it a path"
            )
