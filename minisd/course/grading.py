"""Judging one submission: run its checks in the student's process, compare, and give points."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from minisd.course import own, variants
from minisd.course.answers import difference, digest, fingerprint, outcomes, tolerance
from minisd.course.checks import CREDIT, Case, Check, Failure, Student
from minisd.course.diagnose import Diagnosis, diagnose
from minisd.course.kit import Kit, TaskInfo
from minisd.course.report import PropertyReport, Report, TaskReport, weighted
from minisd.course.sandbox import Sandbox
from minisd.course.scan import scan
from minisd.course.settings import OfAssignment
from minisd.course.submissions import Code

SPOILING = {"NotImplementedError", "Timeout", "Ended", "TooMuchOutput"}
"""Failures that are taken to be the same in all cases of a check."""


See = Callable[[Check, Case, Any, Mapping[str, Any]], None]


def _nothing(check: Check, case: Case, inputs: Any, outcome: Mapping[str, Any]) -> None:
    """Look away: nobody wants to see the numbers."""


def grade(
    kit: Kit,
    text: str,
    *,
    tasks: tuple[str, ...] = (),
    files: Mapping[str, bytes] | None = None,
    see: See = _nothing,
    **limits: Any,
) -> Report:
    """Judge a student's file.

    Parameters
    ----------
    kit : Kit
    text : str
        The file, as Python.
    tasks : tuple of str
        Only these; default: all.
    files : dict, optional
        What is handed in with it, by name.
    see : function of (check, case, inputs, outcomes)
        Called with all that is judged.
    **limits
        ``seconds_per_call`` and ``memory_mb``, see `Sandbox`.
    """
    scanned = scan(text, kit.allowed)
    variant = variants.of_code(text)
    if variant not in (None, kit.variant):
        scanned.remarks.append(f"your file is of variant {variant}; this is {kit.title}")
        scanned.flags.append(f"is of variant {variant}")
    reports: list[TaskReport] = []
    failed: set[str] = set()  # tasks, and checks
    level = 3
    for task in kit.tasks:
        if tasks and task.number not in tasks:
            continue
        if task.criteria:
            reports.append(TaskReport(task.number, task.title, waiting=task.points))
            continue
        if scanned.answers:
            report = _refused(kit, task, f"it imports {', '.join(scanned.answers)}")
        else:
            report, reached = _grade_task(kit, task, text, failed, files or {}, see, limits)
            level = min(level, reached)
        reports.append(report)
        if report.earned < report.points:
            failed.add(task.number)
    return Report(
        kit.name, kit.title, digest(kit.seed), level, reports, scanned.flags, scanned.remarks
    )


def grade_as_set(
    kit: Kit,
    code: Code,
    of: OfAssignment,
    *,
    student: str | None = None,
    user: str | None = None,
    see: See = _nothing,
) -> Report:
    """Judge a submission as the course's settings have it: its tasks, points and limits.

    What has to be said of how the code was taken out is in the report.

    Parameters
    ----------
    student : str, optional
        The id of whose it is.

    Raises
    ------
    UserError
        If it is not known whose it is, and each student has parameters of their own.
    """
    report = grade(
        kit,
        code.text,
        tasks=tuple(of.tasks),
        files={**code.files, **own.given(kit, student)},
        see=see,
        user=user,
        seconds_per_call=of.seconds_per_call,
        memory_mb=of.memory_mb,
    )
    report.remarks += code.remarks
    if any(mistake.endswith(f" {own.OTHER}") for mistake in report.mistakes):
        report.flags.append("has other parameters than theirs")
    return weighted(report, of.points)


def _grade_task(
    kit: Kit,
    task: TaskInfo,
    text: str,
    failed: set[str],
    files: Mapping[str, bytes],
    see: See,
    limits: Mapping[str, Any],
) -> tuple[TaskReport, int]:
    """Judge one task, in a process of its own."""
    report = TaskReport(task.number, task.title)
    checks = [check for check in kit.checks if check.task == task.number]
    given = checks[0].given if failed.intersection(checks[0].given) else ()
    again = "\n\n".join(kit.given[number] for number in given if number in kit.given)
    with Sandbox(
        text,
        given=kit.given_names,
        again=again,
        helpers=checks[0].helpers,
        staged=kit.staged,
        **limits,
    ) as student:
        student.files = dict(files)
        for check in checks:
            by_case = _ask(kit, check, student, see)
            follows = _follows(kit, check, student, by_case) if check.after in failed else {}
            for name in check.points:
                of_case = {case: outcome[name] for case, outcome in by_case.items()}
                named = [line.diagnosis.name for line in report.properties if line.diagnosis]
                line = judge(
                    kit, check, name, of_case, follows=follows.get(name, False), named=named
                )
                report.properties.append(line)
                if line.earned < line.points:
                    failed.add(check.name)
        return report, student.level


def _ask(kit: Kit, check: Check, student: Sandbox, see: See) -> dict[str, Mapping[str, Any]]:
    """Return the outcomes of a check by case.

    If one is wrong, it is asked again in a fresh process, once in a check: a mistake in what is
    remembered between calls shall not spoil what has nothing to do with it. The first call of a
    task that takes too long is made again, too.
    """
    by_case: dict[str, Mapping[str, Any]] = {}
    may_repeat = True
    for case in check.cases:
        inputs = case.inputs(kit.seed, kit.name)
        outcome = _outcomes(check, student, inputs)
        kinds = _failures(outcome)
        if "Timeout" in kinds and not student.has_waited:  # a busy machine is no fault of theirs
            student.has_waited = True
            student.again()
            outcome = _outcomes(check, student, inputs)
            kinds = _failures(outcome)
        if student.broken or kinds & SPOILING:
            see(check, case, inputs, outcome)
            if not student.broken:
                student.again()
            return {case.name: outcome for case in check.cases}
        expected = kit.answers.expected[check.name, case.name]
        if may_repeat and _wrong(outcome, expected, case):
            student.again()
            repeated = _outcomes(check, student, inputs)
            may_repeat = bool(_wrong(outcome, repeated, case))
            outcome = repeated
        see(check, case, inputs, outcome)
        by_case[case.name] = outcome
    return by_case


def _failures(outcome: Mapping[str, Any]) -> set[str]:
    return {value.kind for value in outcome.values() if isinstance(value, Failure)}


def _outcomes(check: Check, student: Student, inputs: Any) -> dict[str, Any]:
    """Run a check. What the student's code returns may be anything, and the judge goes on.

    The reference and the bank have gone through the same check without this.
    """
    try:
        return outcomes(check, student, inputs)
    except Exception:
        return dict.fromkeys(check.points, Failure("G-results something of another kind"))


def judge(
    kit: Kit,
    check: Check,
    name: str,
    by_case: Mapping[str, Any],
    *,
    follows: bool = False,
    named: Sequence[str] = (),
) -> PropertyReport:
    """Give points for a property whose outcomes by case are ``by_case``; say what is wrong.

    Parameters
    ----------
    follows : bool
        It is at least the gradient of the student's own forward.
    named : list of str
        Mistakes that other properties of the task have shown.
    """
    points = check.points[name]
    right: list[str] = []
    wrong: list[str] = []
    for case in check.cases:
        expected = kit.answers.expected[check.name, case.name][name]
        is_right = difference(by_case[case.name], expected, tolerance(case)) is None
        (right if is_right else wrong).append(case.name)
    if not wrong:
        return PropertyReport(name, points, points, right, wrong)
    if follows:  # then there is no mistake in it to be named
        says = f"it is the gradient of your own forward, which is wrong: {CREDIT:.0%} of the points"
        return PropertyReport(name, points, CREDIT * points, right, wrong, Diagnosis("", says))
    said = diagnose(check, name, by_case, kit.answers, kit.mistakes, named)
    unknown = None if said.name else {case: fingerprint(value) for case, value in by_case.items()}
    earned = 0.0
    if check.shares and all(isinstance(share, float | int) for share in by_case.values()):
        earned = points * min(by_case.values())
    return PropertyReport(name, points, earned, right, wrong, said, outcome=unknown)


def _follows(
    kit: Kit, check: Check, student: Student, by_case: Mapping[str, Mapping[str, Any]]
) -> dict[str, bool]:
    """Return whether each gradient is that of the student's own forward, in every case."""
    held = dict.fromkeys(check.points, check.follow is not None)
    for case in check.cases:
        if check.follow is None or case.float32 or not any(held.values()):
            continue
        try:
            answer = check.follow(student, case.inputs(kit.seed, kit.name))
        except Exception:  # a Failure, or no numbers: what is returned may be anything
            return {}
        held = {name: held[name] and answer.get(name, False) for name in held}
    return held


def _wrong(outcome: Mapping[str, Any], expected: Mapping[str, Any], case: Case) -> set[str]:
    """Return the properties whose outcome is not the expected one."""
    allowed = tolerance(case)
    return {n for n in expected if difference(outcome[n], expected[n], allowed) is not None}


def _refused(kit: Kit, task: TaskInfo, why: str) -> TaskReport:
    """Give no points to a task that cannot be judged before a person has looked."""
    said = Diagnosis("G-import", f"not judged until a person has looked: {why}")
    lines = [
        PropertyReport(name, points, 0, [], [case.name for case in check.cases], said)
        for check in kit.checks
        if check.task == task.number
        for name, points in check.points.items()
    ]
    return TaskReport(task.number, task.title, lines)
