"""What a reader is told whose function goes wrong before its numbers can be judged."""

from fractions import Fraction

import numpy as np
import pytest

from minisd.tutorial.answers import Answer, WrongAnswer, is_blank

X = np.ones((2, 3))


def changes_x(x, y=None):
    x += 1
    return x


def changes_a_part(x, y=None):
    y[0][1]["a"][0] = 5
    return x


def pops(x, y=None):
    y.pop()
    return x


def deep(x, y=None):
    def inner():
        return x + missing  # noqa: F821

    return inner()


def same(x, y=None):
    return x


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (changes_x, "your f changed its argument x: work on a copy"),
        (changes_a_part, "your f changed its argument y: work on a copy"),
        (pops, "your f changed its argument y: work on a copy"),
        (lambda x, y: None or x.fill(1), "your f returned None: is its return missing?"),
        (lambda x: x, "your f raised TypeError: <lambda>() takes 1 positional argument but 2"),
        (lambda x, y: x @ x, "your f raised ValueError: matmul"),
        (deep, "your f raised NameError: name 'missing' is not defined"),
    ],
)
def test_a_call_that_goes_wrong(function, told):
    with pytest.raises(WrongAnswer, match=r"^your f ") as caught:
        Answer(function, "f")(X.copy(), [(0, {"a": np.arange(3)})])
    assert str(caught.value).startswith(told)


def test_the_line_of_an_error_is_the_deepest_of_the_answer():
    with pytest.raises(WrongAnswer, match=r"\(line \d+: return x \+ missing"):
        Answer(deep, "deep")(X)


@pytest.mark.parametrize(
    ("form", "value", "told"),
    [
        (X, X, None),
        (X, X.astype(np.longdouble), None),
        (X.astype("f"), X, None),
        (X, X.T.copy().T, None),
        (X, X.tolist(), "a list for y, where an array is asked"),
        (X, (X,), "a tuple for y, where an array is asked"),
        (X, 1.0, "a float for y, where an array is asked"),
        (X, X[0], "y of shape (3,), where (2, 3) is asked"),
        (X, X.astype("f"), "y of dtype float32, where float64 is asked"),
        (X, X + 0j, "y of dtype complex128, where real numbers are asked"),
        (X, X > 0, "y of dtype bool, where real numbers are asked"),
        (X, X.astype(int), "y of dtype int64, where float64 is asked"),
        ((2,), [1, 2.5], None),
        ((2,), np.ones(2, "f"), None),
        ((2,), [[1], [2, 3]], "y in rows of different lengths, not of shape (2,)"),
        ((2,), np.float64(1), "y of shape (), where (2,) is asked"),
        ((2,), {1, 2}, "a set for y, where an array is asked"),
        ((2,), ["a", "b"], "y of dtype <U1, where real numbers are asked"),
        (float, 3, None),
        (float, np.float32(3), None),
        (float, np.array(3), None),
        (float, Fraction(1, 3), None),
        (float, np.ones(1), "an array of shape (1,) for y, where a real number is asked"),
        (float, 1j, "a complex for y, where a real number is asked"),
        (float, "3", "a str for y, where a real number is asked"),
        (float, [[1], [2, 3]], "a list for y, where a real number is asked"),
        (list, (1, 2), None),
        (list, np.ones(3), None),
        (list, iter([1]), "a list_iterator for y, where a list is asked"),
        (list, 7, "an int for y, where a list is asked"),
        (dict, [], "a list for y, where a dict is asked"),
    ],
)
def test_a_result_of_another_form(form, value, told):
    answer = Answer(lambda: value, "f").returning(y=form)
    if told is None:
        assert np.array_equal(np.asarray(answer(), float), np.asarray(value, float))
    else:
        with pytest.raises(WrongAnswer) as caught:
            answer()
        assert str(caught.value) == f"your f returned {told}"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ((X, X, 2), None),
        ([X, X, 2], None),
        ((X, X), "2 results in place of 3: dx, dw and loss"),
        ((X,), "1 result in place of 3: dx, dw and loss"),
        (X, "an array of shape (2, 3) in place of dx, dw and loss"),
        ((X, None, 2), "None for dw, where an array is asked"),
    ],
    ids=["three", "list", "two", "one", "array", "none"],
)
def test_several_results(value, told):
    answer = Answer(lambda: value, "f").returning(dx=X, dw=X, loss=float)
    if told is None:
        assert len(answer()) == 3
    else:
        with pytest.raises(WrongAnswer) as caught:
            answer()
        assert str(caught.value) == f"your f returned {told}"


def test_numbers_that_are_none_are_no_change():
    x = np.array([np.nan, -0.0])
    assert Answer(same, "f")(x) is x


def blank_with_dots(x): ...


def blank_with_words(x):
    """Not yet."""


@pytest.mark.parametrize(
    ("function", "blank"),
    [
        (blank_with_dots, True),
        (blank_with_words, True),
        (same, False),
        (deep, False),
        (lambda: 0, False),
        (Fraction, False),
        (len, False),
    ],
)
def test_what_is_not_written_yet(function, blank):
    assert is_blank(function) == blank
    if blank:
        with pytest.raises(NotImplementedError):
            Answer(function, "f")(1)


def test_methods_of_what_an_answer_makes_are_watched_too():
    class Adds:
        def forward(self, x):
            x += 1
            return x

    answer = Answer(Adds, "Adds")
    thing = answer()
    answer.watch(thing, "forward", y=X)
    with pytest.raises(WrongAnswer, match=r"^your Adds\.forward changed its argument x"):
        thing.forward(X.copy())


def by_numpy(n):
    return (0.5 ** np.arange(n)).sum()


def by_loop(n):
    return sum(0.5**k for k in range(n))


def by_recursion(n):
    return by_recursion(n - 1) / 2 + 1 if n else 0.0


def by_calling_back(n):
    return np.vectorize(lambda k: 0.5**k)(np.arange(n)).sum()


@pytest.mark.parametrize(
    ("function", "grows"),
    [(by_numpy, False), (by_loop, True), (by_recursion, True), (by_calling_back, True)],
)
def test_work_shows_loops(function, grows):
    answer = Answer(function, "f")
    few, many = answer.work(10), answer.work(100)
    assert few >= 1
    assert (many > 5 * few) if grows else (many == few)
    assert answer.work(10) == few
