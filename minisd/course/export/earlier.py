"""What Gradescope says of a student's earlier submissions: hints that grow, a limit a day.

``submission_metadata.json`` has, beside the time of this submission, those before it, each with the
``results.json`` that was written for it.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from minisd.errors import UserError
from minisd.readers import Kind

METADATA = Kind(
    "the metadata of a submission", UserError, if_missing="see Gradescope", if_damaged="run again"
)
NOT_GRADED = "not_graded"
"""Marks, in ``extra_data``, results of a submission that was over the limit."""


@dataclass(frozen=True)
class Earlier:
    """A submission, and those before it.

    Attributes
    ----------
    when : datetime, optional
        None: nothing is known of it.
    times : list of datetime
        Of earlier submissions that were graded.
    results : list of dict
        Theirs, the last one last.
    names : tuple of str
        Names and addresses of the students.
    """

    when: datetime | None = None
    times: list[datetime] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)
    names: tuple[str, ...] = ()

    def minutes_after(self, due: datetime | None) -> int:
        """Return how much later than ``due`` it came, in minutes."""
        if due is None or self.when is None:
            return 0
        return max(0, int((self.when - due).total_seconds() // 60))

    @property
    def student(self) -> str | None:
        """The address of the student, of a group the first one's; else the name. None: unknown."""
        return next(iter(self.names), None)

    @property
    def score(self) -> float:
        """The score of the last one that was graded; 0 if there is none."""
        return float(self.results[-1].get("score") or 0) if self.results else 0.0

    def failed(self) -> Counter[tuple[str, str]]:
        """Return in how many of them each property, as (task, name), has failed."""
        return Counter(
            (str(test.get("number")), str(test.get("name")))
            for results in self.results
            for test in results.get("tests") or []
            if test.get("status") == "failed"
        )

    def next_time(self, daily_limit: int) -> datetime | None:
        """Return when a submission will be graded again. None: this one is.

        In 24 hours ``daily_limit`` are graded, and one more, as the first retry is free.
        """
        if self.when is None or not daily_limit:
            return None
        day = timedelta(days=1)
        recent = sorted(time for time in self.times if self.when - day < time <= self.when)
        return recent[-daily_limit - 1] + day if len(recent) > daily_limit else None


def read(path: Path) -> Earlier:
    """Read the metadata of a submission. Where there is none, nothing is known."""
    if not path.exists():
        return Earlier()
    with METADATA.reading(path) as file:
        content = file.json()
        before = [
            (datetime.fromisoformat(entry["submission_time"]), entry.get("results") or {})
            for entry in content.get("previous_submissions") or []
            if not entry.get("autograder_error")
        ]
        graded = [
            (time, results)
            for time, results in sorted(before, key=lambda pair: pair[0])
            if not (results.get("extra_data") or {}).get(NOT_GRADED)
        ]
        when = datetime.fromisoformat(content["created_at"])
        users = content.get("users") or []
        names = tuple(str(u[key]) for u in users for key in ("email", "name") if u.get(key))
        times, results = [time for time, _ in graded], [results for _, results in graded]
        return Earlier(when, times, results, names)
