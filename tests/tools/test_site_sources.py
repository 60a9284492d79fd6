"""What the site is made from: equations, captions and alternative texts, docstrings as markup."""

import sys

import pytest

import every_tutorial

pytest.importorskip("nbformat")
sys.path.insert(0, str(every_tutorial.FOLDER / "site"))

import docstrings
import generated
import sources

ROOT = every_tutorial.FOLDER.parent
sys.path.remove(str(every_tutorial.FOLDER / "site"))


def test_each_equation_is_found_with_its_formula_and_a_line_of_code():
    text = generated.equations(ROOT)
    for number in range(1, 6):
        part = text.partition(f"### Equation {number}\n")[2].partition("###")[0]
        assert part.lstrip().startswith("$$ ")
        assert "line " in part
        assert number == 4 or "ResidualBlock" in part or "residual.py" in part
    assert "linear_decay" in text.partition("### Equation 4")[2].partition("###")[0]
    assert "eq. 10" in text.partition("Equations of other papers")[2]


def test_a_place_is_where_it_says():
    found = list(generated.places(ROOT, r"\beqs?\. (\d+)"))
    assert len(found) > 8
    for place, numbers in found:
        line = (ROOT / place.path).read_text(encoding="utf-8").splitlines()[place.line - 1]
        assert all(number in line for number in numbers)


def test_the_paper_cited_is_told_from_others():
    assert generated.cited("(Huang et al. 2016, eq. 2)") == generated.HUANG
    assert generated.cited("(He et al. 2015, arXiv:1502.01852, eq. 10)") == "He et al. 2015"
    assert generated.cited("Adam (Kingma and Ba 2015, algorithm 1)") == "Kingma and Ba 2015"
    assert generated.cited("ReLU(id(x)): eq. 2 with a closed gate") == ""


def test_every_stored_result_is_in_the_gallery_with_its_caption():
    text = generated.gallery(ROOT)
    stored = list((ROOT / "tutorials" / "results").glob("*/*.csv"))
    assert text.count("```{figure}") == len(stored) > 5
    for path in stored:
        assert f"[Numbers (CSV)](../results/{path.parent.name}/{path.name})" in text
    assert text.count("`minisd experiment ") >= len(stored)


def test_the_citation_is_there_for_bibtex_and_as_it_stands():
    (page,) = generated.citation(ROOT).values()
    assert "@software{minisd,\n  author    = {{The minisd developers}}," in page
    assert "Huang, Gao and Sun, Yu and" in page
    assert "cff-version" in page


def test_alternative_texts_are_those_of_the_figures():
    code = 'show(figure, "a", "title", alt="One. " "Two.")\nprint(show)\nx = shown(alt="no")'
    assert sources.alternative_texts(code) == ["One. Two."]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["It is |x| * 2, not b_ or `a|b`."], [r"It is \|x\| \* 2, not b\_ or `a|b`."]),
        (["the *actual* update"], ["the *actual* update"]),
        (["As", "", "    y = x * x", "", "so."], ["As", "", "::", "", "    y = x * x", "", "so."]),
        (["- one", "", "    goes on"], ["- one", "", "    goes on"]),
        ([">>> 2 * 3", "6"], [">>> 2 * 3", "6"]),
    ],
)  # fmt: skip
def test_a_docstring_becomes_markup_that_shows_it_as_it_is(lines, expected):
    assert docstrings.marked(lines) == expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("../README.md", "../index.md"),
        ("README.md#how", "index.md#how"),
        ("04_batchnorm.py", "04_batchnorm.ipynb"),
        ("../04_batchnorm.py", "../04_batchnorm.ipynb"),
        ("site/speed.md", "site/speed.md"),
        ("course", "course/index.md"),
    ],
)
def test_links_lead_where_the_site_has_it(target, expected):
    found = sources.LINK.search(f"[x]({target})")
    assert sources.on_the_site(found, every_tutorial.README, ROOT) == expected
