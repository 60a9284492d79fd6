# %% [markdown]
# # Assignment 6: Gradient flow, an experiment and a report (variant own)
#
# Huang et al. say that gradients vanish less with stochastic depth: their Fig. 7 has larger
# gradients in the first layers. You measure it yourself, in small networks on real digits, and
# write down what your numbers show and what they do not. Tutorials 7 and 8 have what you need.
#
# All of minisd is given, and NumPy. What each function has to do is in its docstring. Write the
# bodies; do not change the signatures. `minisd course check a6` checks your functions, and your
# files `results.csv` and `claims.json` beside them, as often as you like, without a network. The
# same properties are graded, with other numbers and some other shapes; the report (40 points) is
# read by a person. `minisd course pack a6` packs code, files and `report.pdf` into the zip that
# you hand in.
#
# What you run, draw or print belongs below `if __name__ == "__main__":`, as in the last cell, and
# so does an import of matplotlib: the grader takes your functions and must not start your
# experiment.


# %%
# minisd course: variant own
import numpy as np

from minisd.course.handouts.a6.claims import number_of
from minisd.course.handouts.a6.experiment import digits, save
from minisd.models import num_blocks, resnet
from minisd.optim import SGD
from minisd.stochastic_depth import draw_gates, linear_decay
from minisd.train import evaluate, train_step


# %% [markdown]
# ## 6.1 The gradient of each block
#
# After a backward, `model.blocks[l]` has gradients. A branch begins with a convolution,
# `block.branch.layers[0]`, whose weight is the parameter `w`: `w.data` and `w.grad`. Where the
# block was closed, `w.grad` is None.


# %% task 6.1 The gradient of each block points=10 minutes=40
def block_gradients(model):
    """Return how large the gradients of the blocks are.

    Parameters
    ----------
    model : minisd.models.ResNet
        After a backward, before ``zero_grad``. It is not changed.

    Returns
    -------
    gradients : list, tuple or array of L floats
        For each block, the one next to the image first: the mean of |g| over the weights of its
        branch's first convolution. NaN if the block was closed.
    """
    raise NotImplementedError("task 6.1: block_gradients")


# %% [markdown]
# ## 6.2 Two arms
#
# An experiment compares two things that differ in one. Here the *arms* are a network of constant
# depth and one with stochastic depth. Everything else is the same: initial weights, mini-batches,
# learning rate. So each kind of chance has a random generator of its own.


# %% task 6.2 Two arms points=25 minutes=150
def two_arms(data, seed, depth, steps, p_last, *, width=4, batch=32, lr=0.05):
    """Train a network of constant and one of stochastic depth, and record every step.

    For *each* arm, anew: ``np.random.SeedSequence(seed).spawn(3)`` gives the seeds of three
    generators (``np.random.default_rng``), for weights, mini-batches and gates, in this order. The
    network is ``resnet(depth, ...)`` of minisd with the first generator, `width`, as many input
    channels as the images have, 10 classes and the dtype of the images. Its survival probabilities
    fall linearly to `p_last`; in the arm "constant" all are 1. It is trained by
    ``SGD(model, lr)``. In each step

    1. ``rng.choice(n, batch, replace=False)`` of the second generator chooses images among all n;
    2. ``draw_gates(model, rng)`` of minisd, with the third generator, opens and closes blocks;
    3. one step of training is taken with these images;
    4. both errors are measured.

    Parameters
    ----------
    data : dict
        "train", "validation" and "test": each (images, labels), images (N, C, H, W) float64 and
        labels (N,) whole numbers from 0 to 9. They are not changed.
    seed : int
    depth : int
        Layers, 6n + 2.
    steps : int
    p_last : float
    width, batch : int
    lr : float
        ``width``, ``batch`` and ``lr`` stay as they are in the experiment that you hand in: the
        grader runs its first steps again. It calls with tiny ones of its own, too.

    Returns
    -------
    records : list of dict
        One for each step of each arm, in any order:

        - "seed", "depth", "p_last": what was given, in both arms
        - "arm": "constant" or "stochastic"
        - "step": from 1
        - "loss": of the mini-batch, as the step of training has it
        - "validation_error", "test_error": error rates after the step, from 0 to 1, of the network
          as it is tested: all blocks, running statistics
        - "gradients": what `block_gradients` returns for the step
    """
    raise NotImplementedError("task 6.2: two_arms")


# %% [markdown]
# ## 6.3 What a table says
#
# A mean over steps, and how much it differs between runs. Steps of one run are no repetitions of
# the experiment: they depend on each other. Runs with other seeds are.


# %% task 6.3 Means over steps, spread over seeds points=10 minutes=50
def summary(records):
    """Summarise the gradients of each block.

    Parameters
    ----------
    records : list of dict
        As `two_arms` returns them, of one or several seeds, in any order. They are not changed.

    Returns
    -------
    summary : dict
        By arm, "constant" and "stochastic": a dict with two lists or arrays of L floats,

        - "mean": for each seed, the mean over the steps in which the block was open; of these
          numbers the mean over seeds. A seed in which the block was never open does not count; NaN
          if there is no other
        - "sd": the standard deviation of these numbers between seeds, divided by n - 1; NaN if
          there are fewer than two
    """
    raise NotImplementedError("task 6.3: summary")


# %% [markdown]
# ## 6.4 Results and claims
#
# Run your experiment with `digits()`, at least three seeds and at most 32 layers. `save` writes
# its records as `results.csv`: a row for each step, and columns seed, depth, p_last, arm, step,
# loss, validation_error, test_error, g1, g2, ... (the gradients, empty where the block was closed).
#
# What you say in the report stands on numbers, and those are in `claims.json`, 3 to 20 claims:
#
#     {"claims": [{"sentence": "Late in training, the gradients of the first block are 1.2 times
#                               as large with stochastic depth as with constant depth.",
#                  "number": 1.2,
#                  "how": {"ratio": [
#                      {"of": "g1", "arm": "stochastic", "steps": [101, 200]},
#                      {"of": "g1", "arm": "constant", "steps": [101, 200]}]}}]}
#
# (In the file a sentence is one line.) How a number is computed is said in a few words, so that
# the grader can compute it again from your table: `help("minisd.course.handouts.a6.claims")` has
# all of them, and `number_of(how, records)` gives the number. Give it with two digits or more.
#
# The points are for a table that is whole (3), claims that are what the table gives (5), none of
# them about a step or a run that was chosen by its test error (2), and a table whose first rows
# come out again when the grader runs your `two_arms` (5, to six digits). Choose by
# validation_error if you have to choose.


# %% task 6.4 Results and claims points=15 minutes=60
# (the files results.csv, claims.json and parameters.csv, beside this one)


# %% [markdown]
# ## 6.5 The report
#
# Two pages, `report.pdf`, for somebody who knows the course and not your experiment. It is read by
# a person. The eight criteria are in the README of this assignment.


# %% task 6.5 Report points=40 minutes=240
# (the file report.pdf)


# %% [markdown]
# ## Your experiment
#
# Your instructor has given you parameters of your own: a depth, p_L and three seeds. Save your row
# of the table, with the head above it, as `parameters.csv` beside this file:
#
#     student,depth,p_last,seeds
#     ada@example.org,14,0.4,17320 25508 38112
#
# Your `results.csv` is whole if these three runs are in it, and the first of them is the one that
# the grader runs again. More runs are welcome, if a prediction of yours asks for them. `check` goes
# by your `parameters.csv`; the grader knows your parameters, and goes by those.
#
# This much takes some minutes. Is it enough for what you want to know?


# %%
if __name__ == "__main__":
    from minisd.course.handouts.a6.experiment import load_parameters

    DEPTH, P_LAST, SEEDS = load_parameters("parameters.csv")
    STEPS = 100
    records = [
        record for seed in SEEDS for record in two_arms(digits(), seed, DEPTH, STEPS, P_LAST)
    ]
    save(records, "results.csv")
    print(summary(records))
    print(number_of({"of": "g1", "arm": "constant"}, records))
