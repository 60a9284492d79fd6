"""Survival rules of one's own in a study: the probabilities by label."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from minisd.errors import ConfigError
from minisd.models import depth_of
from minisd.rules import Rule, survival_probabilities

Own = str | Rule | Iterable[float] | tuple[str, float]
"""Probabilities, a function of L (and p_L), the name of a rule, or a name with its p_L."""

LONGEST_LABEL = 100


def probabilities(
    rules: Mapping[str, Own], num_blocks: int, *, depth_is_given: bool
) -> dict[str, tuple[float, ...]]:
    """Return the probabilities p_1 to p_L by label.

    Parameters
    ----------
    rules : dict
        By label.
    num_blocks : int
        L of the study.
    depth_is_given : bool
        False: lists of probabilities decide L, as nobody has chosen a depth.

    Raises
    ------
    ConfigError
        If a label or a rule cannot be used, or the lists have different lengths.
    """
    for label in rules:
        if not isinstance(label, str) or not 0 < len(slug(label)) <= LONGEST_LABEL:
            raise ConfigError(
                f"a label of a study is a text with 1 to {LONGEST_LABEL} letters or digits, not "
                f"{label!r}"
            )
    names = [slug(label).lower() for label in rules]  # some systems do not see capital letters
    if not rules or len(set(names)) < len(names):
        raise ConfigError(
            "a study needs at least one rule, and labels that differ in letters or digits; got "
            f"{', '.join(rules) or 'none'}"
        )
    lists = {
        label: tuple(rule)  # it may be a generator, which can be read once
        for label, rule in rules.items()
        if isinstance(rule, Iterable) and not isinstance(rule, str) and not _is_named(rule)
    }
    lengths = {len(probs) for probs in lists.values()}
    if lengths and not depth_is_given:
        if len(lengths) > 1:
            counts = ", ".join(f"{len(probs)} for {label!r}" for label, probs in lists.items())
            raise ConfigError(
                f"all networks of a study have the same number of blocks, not {counts}"
            )
        (num_blocks,) = lengths
        try:
            depth_of(num_blocks)
        except ValueError as error:
            raise ConfigError(
                f"{num_blocks} survival probabilities fit no network: {error}"
            ) from error
    resolved = {}
    for label, rule in {**rules, **lists}.items():
        arguments: Any = rule if _is_named(rule) else (rule,)
        rule, p_last = (*arguments, None)[:2]
        try:
            resolved[label] = tuple(survival_probabilities(rule, num_blocks, p_last))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{label!r}: {error}") from error
    return resolved


def jobs(
    rules: Mapping[str, Own], num_blocks: int, seeds: Iterable[int], *, depth_is_given: bool
) -> list[tuple[str, float, int, dict[str, Any]]]:
    """Return the runs that `Study.train` shall train: each of `probabilities` with every seed."""
    wanted = []
    for label, probs in probabilities(rules, num_blocks, depth_is_given=depth_is_given).items():
        changes = {"survival": probs, "depth": depth_of(len(probs))}
        wanted += [(label, probs[-1], seed, changes) for seed in seeds]
    return wanted


def slug(label: str) -> str:
    """Return a label as part of the name of a folder."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", label).strip("-.")


def _is_named(rule: object) -> bool:
    """Whether it is a pair of a rule's name and p_L, as ``("linear", 0.5)``."""
    return isinstance(rule, tuple) and len(rule) == 2 and isinstance(rule[0], str)
