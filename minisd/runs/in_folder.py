"""Train in a run folder: the loop, and all that is written around it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minisd import figures, machine
from minisd.errors import CheckpointError, NonFiniteError, UserError
from minisd.flow import Recorder
from minisd.runs import folder as runfolder
from minisd.runs import snapshot
from minisd.runs.callbacks import Callbacks
from minisd.runs.fit import fit
from minisd.runs.interrupt import Interrupted, StopSignals
from minisd.runs.introduction import heading, introduce
from minisd.runs.progress import Progress, Silent
from minisd.runs.training import Training


def train_in(folder: Path, run: Training, progress: Progress) -> Any:
    """Train in a folder that is already locked for this process; return the run.

    Of several ranks, all call this, once they have the same state (`snapshot.share`). The first
    writes the files and says how it goes.
    """
    run.folder, group = folder, run.group
    if group.rank > 0:
        progress = Silent()
    with machine.threads(run.threads):
        introduce(run, folder, progress)

        def write_log() -> None:
            runfolder.write_log(folder / runfolder.LOG, run.position.history)

        def write() -> None:
            callbacks.tell("save")  # first: the checkpoint must never be ahead of a record
            if group.rank == 0:
                snapshot.save(run, folder / runfolder.CHECKPOINT)
                write_log()

        def save() -> None:
            group.together(write)

        def draw() -> None:
            group.first(lambda: _draw(run, folder, progress))

        try:
            group.first(lambda: _write_settings(run, folder))
            with _recording(run):
                callbacks = Callbacks(run)
                if run.is_complete:
                    group.first(write_log)  # a kill may have come between checkpoint and log
                else:
                    group.together(lambda: callbacks.tell("start"))
                    save()
                total = run.steps_per_epoch * run.epochs
                progress.start(done=run.steps_done, total=total)
                with StopSignals(group) as stop:
                    try:
                        fit(run, save, progress, stop, callbacks)
                    except Interrupted:
                        save()
                        draw()
                        raise
                    except NonFiniteError:
                        callbacks.tell("save")  # a recorder keeps the steps that led to it
                        raise
                    except Exception:
                        if callbacks.state_is_whole and group.size == 1:  # or others do not come
                            save()
                        raise
                    finally:
                        callbacks.tell("end")
            draw()
        except OSError as error:
            if isinstance(error, UserError | BrokenPipeError):  # not an error of the folder
                raise
            raise CheckpointError(f"{folder} cannot be written: {error}") from error
        finally:
            progress.stop()
    return run


def _write_settings(run: Training, folder: Path) -> None:
    """Write ``config.json``."""
    runfolder.write_json(folder / runfolder.CONFIG, run.describe())


@contextlib.contextmanager
def _recording(run: Training) -> Iterator[None]:
    """Record the gradient flow while the block lasts, if the run asks for that."""
    if run.flow is None or run.is_complete:
        yield
        return
    recorder = Recorder(run.model, run.optimizer, average=run.flow)
    run.callbacks.insert(0, recorder)
    try:
        yield
    finally:
        recorder.detach()
        run.callbacks.remove(recorder)


def _draw(run: Training, folder: Path, progress: Progress) -> None:
    """Draw the learning curve. A picture that cannot be drawn does not cost the result."""
    if not run.position.history:
        return
    path = folder / runfolder.CURVE
    try:
        description = {**run.describe(), "heading": heading(run)}
        figures.learning_curve(description, run.position.history, path)
    except FileExistsError as error:  # a link, or a folder of that name
        progress.warn(f"{path} was not drawn: {error}")
    except OSError:
        raise
    except Exception as error:  # matplotlib's settings are the user's, and need TeX or a backend
        progress.warn(f"{path} was not drawn: {type(error).__name__}: {error}")
