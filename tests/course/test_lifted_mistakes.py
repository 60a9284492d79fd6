"""Mistakes that are made in the variant's own terms have the names of those that are lifted.

Each is a right answer of the variant, in which something was replaced.
"""

import pytest
from test_assignments import FOLDERS, kit, made

from minisd.course import bank as banks
from minisd.course import kit as kits
from minisd.course import make

TEMPERATURE = ("a1", "temperature", "a power of the probabilities at 1")
DILATION = ("a2", "dilation", "windows with gaps, and a loop over the weights")
GROUPS = ("a2", "groups", "an axis for the groups, and a loop over the weights")
UNBIASED = ("a3", "unbiased", "ddof, and the formula with M - 1")
PAIRS = ("a3", "pairs", "an axis for the pairs")
ZEROS_FIRST = ("a4", "zeros_first", "slices from the end")
REPLACED = [
    (TEMPERATURE, "1.3 sum-loss", "np.mean(losses)", "np.sum(losses)"),
    (TEMPERATURE, "1.3 gradient-not-mean", "(len(logits) * temperature)", "temperature"),
    (TEMPERATURE, "1.3 gradient-without-T", "(len(logits) * temperature)", "len(logits)"),
    (TEMPERATURE, "1.3 no-onehot", "unscaled / total - onehot", "unscaled / total"),
    (DILATION, "2.2 flipped", "windows, w, optimize", "windows, w[:, :, ::-1, ::-1], optimize"),
    (DILATION, "2.2 stride-ignored", "windows[:, :, ::stride, ::stride, ::dilation, ::dilation]",
     "windows[:, :, : (windows.shape[2] - 1) // stride + 1, : (windows.shape[3] - 1) // stride + 1,"
     " ::dilation, ::dilation]"),
    (DILATION, "2.3 wrong-corner", "dx = dframe[:, :, padding:, padding:]", "dx = dframe"),
    (DILATION, "2.3 no-accumulate", "part += np", "part[...] = np"),
    (DILATION, "2.3 dilation-ignored", "k * dilation :, j * dilation :", "k:, j:"),
    (DILATION, "2.3 not-turned", "dy, w[:, :, k, j]", "dy, w[:, :, -1 - k, -1 - j]"),
    (DILATION, "2.3 dw-mean", "windows, optimize=True)\n        dframe",
     "windows, optimize=True) / len(dy)\n        dframe"),
    (GROUPS, "2.3 wrong-corner", "[:, :, padding : padding + H, padding : padding + W]",
     "[:, :, :H, :W]"),
    (GROUPS, "2.3 no-accumulate", "place += part", "place[...] = part"),
    (GROUPS, "2.3 db-mean", "dy.sum(axis=(0, 2, 3))", "dy.mean(axis=(0, 2, 3))"),
    (UNBIASED, "3.1 eps-outside", "np.sqrt(var + eps)", "np.sqrt(var) + eps"),
    (UNBIASED, "3.1 no-eps", "np.sqrt(var + eps)", "np.sqrt(var)"),
    (UNBIASED, "3.1 divides-by-var", "np.sqrt(var + eps)", "var + eps"),
    (UNBIASED, "3.1 biased", "x.var(axis=(0, 2, 3), ddof=1)", "x.var(axis=(0, 2, 3))"),
    (UNBIASED, "3.1 no-mean", "(x - mean[:, None, None]) / std", "x / std"),
    (UNBIASED, "3.2 momentum-reversed", "momentum * (mean - running_mean)",
     "(1 - momentum) * (mean - running_mean)"),
    (UNBIASED, "3.4 no-mean-path", "dy - (dbeta / M)[:, None, None] -", "dy -"),
    (UNBIASED, "3.4 no-variance-path", "- x_hat * (dgamma / (M - 1))[:, None, None]", ""),
    (UNBIASED, "3.4 no-gamma", "return (gamma / std)", "return (1 / std)"),
    (UNBIASED, "3.4 std-squared", "return (gamma / std)", "return (gamma / std**2)"),
    (UNBIASED, "3.4 variance-path-by-M", "dgamma / (M - 1)", "dgamma / M"),
    (PAIRS, "3.1 eps-outside", "np.sqrt(var + eps)", "np.sqrt(var) + eps"),
    (PAIRS, "3.2 biased-running", "var * M / (M - 1)", "var"),
    (PAIRS, "3.4 no-mean-path", "d - away -", "d -"),
    (PAIRS, "3.4 no-gamma", "((gamma / std)", "((1 / std)"),
    (ZEROS_FIRST, "4.4 sum-tile", "tiles.mean", "tiles.sum"),
    (ZEROS_FIRST, "4.4 zeros-last", "y[:, out_channels - C :]", "y[:, :C]"),
    (ZEROS_FIRST, "4.4 channels-kept", "dy[:, new:]", "dy"),
    (ZEROS_FIRST, "4.4 back-no-share", "1 / stride**2", "1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "wanted", "right", "wrong"),
    REPLACED,
    ids=[f"{variant} {wanted}" for (_, variant, _), wanted, *_ in REPLACED],
)
def test_a_mistake_in_the_variants_own_terms_is_named(answer, wanted, right, wrong, tmp_path):
    name, variant, form = answer
    text = (FOLDERS[name] / "variants" / variant / "right.py").read_text()
    assert right in text
    (tmp_path / "right.py").write_text(text.replace(right, wrong))
    (tmp_path / "mistakes.py").write_text("")
    solution = made(name, variant).solution
    bank = banks.read(tmp_path, solution)
    (functions,) = [e.functions for e in bank.right_answers if e.about.name == form]
    task, mistake = wanted.split()
    public = kit(name, kits.PUBLIC_SEED, variant)
    found = make.lost(public, {**solution, **functions}, task=task)
    assert mistake in found.values(), found
