"""Wrong answers to assignment 6 where each student has parameters of their own."""

OTHER = {
    "loses": ("own results", "rerun"),
    "read": "7: Training",
    "says": "the runs of your own parameters are not in the table",
    "look": "Which depth, p_L and seeds has your instructor given you?",
}


def given(depth, p_last, seeds):
    """The same table, and other parameters that are the student's."""
    text = f"student,depth,p_last,seeds\nada,{depth},{p_last},{seeds}\n"
    return {"parameters.csv": text.encode()}


@mistake("6.4", "other-parameters", **OTHER)
def _():
    return given(8, 0.5, "12016 27015 31603")


@mistake("6.4", "other-parameters", **OTHER)
def _():
    return given(8, 0.3, "1 2 3")


@mistake("6.4", "other-parameters", **OTHER)
def _():
    return given(14, 0.6, "12016 27015 31603")
