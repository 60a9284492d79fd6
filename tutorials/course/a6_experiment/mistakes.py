"""Wrong answers to assignment 6 that students really give."""

import json

import numpy as np

from minisd.course.handouts.a6.experiment import read_results
from minisd.models import num_blocks, resnet
from minisd.optim import SGD
from minisd.stochastic_depth import draw_gates, linear_decay
from minisd.train import evaluate, train_step

FLOW, RUN = "8: Gradient flow", "7: Training"
OPEN, CLOSED, ALONE = "open blocks", "closed blocks", "unchanged"


@mistake(
    "6.1",
    "closed-is-zero",
    loses=(CLOSED,),
    read=FLOW,
    says="a closed block has 0 in the place of NaN: it had no gradient, and 0 pulls the mean down",
    look="Is a gradient that was never computed a small one?",
)
def block_gradients(model):
    return [0.0 if np.isnan(value) else value for value in solution.block_gradients(model)]


@mistake(
    "6.1",
    "after-zero-grad",
    loses=(OPEN, CLOSED, ALONE),
    read=FLOW,
    says="it reads after zero_grad, when every gradient is None: read between backward and that",
    look="At which moment of a step are there gradients?",
)
def block_gradients(model):
    model.zero_grad()
    return solution.block_gradients(model)


@mistake(
    "6.1",
    "norm",
    loses=(OPEN, CLOSED),
    read=FLOW,
    says="it is the norm of the gradient, which grows with the number of weights; asked is a mean",
    look="What happens to your number if a block has twice as many channels?",
)
def block_gradients(model):
    gradients = [block.branch.layers[0].w.grad for block in model.blocks]
    return [np.nan if g is None else float(np.linalg.norm(g)) for g in gradients]


@mistake(
    "6.1",
    "reversed",
    loses=(OPEN, CLOSED),
    read=FLOW,
    says="the last block comes first; the first number is that of the block next to the image",
    look="In which order does a backward come to the blocks, and in which are they asked for?",
)
def block_gradients(model):
    return solution.block_gradients(model)[::-1]


def arms(
    data, seed, depth, steps, p_last, *, width=4, batch=32, lr=0.05,
    weights=None, choose_and_draw=None, errors=None,
):  # fmt: skip
    """Both arms, with exchangeable parts.

    Parameters
    ----------
    weights : function of (arm, generator)
        Returns the generator of the weights.
    choose_and_draw : function of (model, arm, step, choose, batch generator, gate generator)
        Sets the gates, and returns the chosen images.
    errors : function of (model, images and labels)
    """

    def usual(model, arm, step, choose, batch_rng, gate_rng):
        chosen = choose(batch_rng)
        draw_gates(model, gate_rng)
        return chosen

    weights = weights or (lambda arm, rng: rng)
    choose_and_draw = choose_and_draw or usual
    errors = errors or (lambda model, part: evaluate(model, [part]))
    images, labels = data["train"]
    records = []
    for arm, p in (("constant", 1.0), ("stochastic", p_last)):
        weights_rng, batch_rng, gate_rng = map(
            np.random.default_rng, np.random.SeedSequence(seed).spawn(3)
        )
        model = resnet(
            depth, in_channels=images.shape[1], width=width, rng=weights(arm, weights_rng),
            survival=linear_decay(num_blocks(depth), p), dtype=images.dtype,
        )  # fmt: skip
        optimizer = SGD(model, lr)
        for step in range(1, steps + 1):
            chosen = choose_and_draw(
                model, arm, step, lambda rng: rng.choice(len(labels), batch, replace=False),
                batch_rng, gate_rng,
            )  # fmt: skip
            loss = train_step(model, optimizer, images[chosen], labels[chosen])
            gradients = solution.block_gradients(model)
            records.append(
                {
                    "seed": seed, "depth": depth, "p_last": p_last, "arm": arm, "step": step,
                    "loss": loss, "gradients": gradients,
                    "validation_error": errors(model, data["validation"]),
                    "test_error": errors(model, data["test"]),
                }
            )  # fmt: skip
    return records


OTHER_INIT = {
    "loses": ("same start", "stochastic arm"),
    "read": RUN,
    "says": "the arms have different weights at the start: give both the same seed for them",
    "look": "From which generator, and in which state, does the second network draw its weights?",
}


@mistake("6.2", "other-init", **OTHER_INIT)
def two_arms(data, seed, *settings, **options):
    rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(3)[0])
    return arms(data, seed, *settings, **options, weights=lambda arm, own: rng)


@mistake("6.2", "other-init", **OTHER_INIT)
def two_arms(data, seed, *settings, **options):
    def weights(arm, own):
        return own if arm == "constant" else np.random.default_rng(seed + 1)

    return arms(data, seed, *settings, **options, weights=weights)


SHARED_RNG = {
    "loses": ("same batches", "gates", "stochastic arm"),
    "read": RUN,
    "says": "gates and mini-batches come from one generator: so the arms see different batches",
    "look": "What does a gate that is drawn change in the next choice of images?",
}


@mistake("6.2", "shared-rng", **SHARED_RNG)
def two_arms(*settings, **options):
    def choose_and_draw(model, arm, step, choose, rng, _):
        chosen = choose(rng)
        if arm == "stochastic":
            draw_gates(model, rng)
        return chosen

    return arms(*settings, **options, choose_and_draw=choose_and_draw)


@mistake("6.2", "shared-rng", **SHARED_RNG)
def two_arms(*settings, **options):
    def draw_and_choose(model, arm, step, choose, rng, _):
        if arm == "stochastic":
            draw_gates(model, rng)
        return choose(rng)

    return arms(*settings, **options, choose_and_draw=draw_and_choose)


STALE_GATES = {
    "loses": ("gates", "stochastic arm"),
    "read": "6: Stochastic depth",
    "says": "every step has the same blocks: gates are drawn for each mini-batch",
    "look": "How often do your gates change?",
}


@mistake("6.2", "stale-gates", **STALE_GATES)
def two_arms(*settings, **options):
    def only_choose(model, arm, step, choose, batch_rng, _):
        return choose(batch_rng)

    return arms(*settings, **options, choose_and_draw=only_choose)


@mistake("6.2", "stale-gates", **STALE_GATES)
def two_arms(*settings, **options):
    def draw_once(model, arm, step, choose, batch_rng, gate_rng):
        if step == 1:
            draw_gates(model, gate_rng)
        return choose(batch_rng)

    return arms(*settings, **options, choose_and_draw=draw_once)


@mistake(
    "6.2",
    "eval-in-train",
    loses=("errors", "stochastic arm"),
    read=RUN,
    says="errors are measured in training mode: with gates, and the statistics of the test batch",
    look="In which mode is the network when you count its mistakes?",
)
def two_arms(*settings, **options):
    def errors(model, part):
        images, labels = part
        return float((model.forward(images).argmax(axis=1) != labels).mean())

    return arms(*settings, **options, errors=errors)


def of_seeds(records, arm):
    """Return the gradients of an arm by seed, as arrays (steps, L)."""
    found = {}
    for record in records:
        if record["arm"] == arm:
            found.setdefault(record["seed"], []).append(record["gradients"])
    return [np.array(rows, float) for rows in found.values()]


def summed_up(records, mean, spread=None):
    """A summary with an exchangeable mean over the steps of a seed, and spread."""
    found = {}
    for arm in ("constant", "stochastic"):
        tables = of_seeds(records, arm)
        means = np.array([mean(table) for table in tables])
        found[arm] = {
            "mean": means.mean(axis=0),
            "sd": means.std(axis=0, ddof=1) if len(means) > 1 else np.full(means.shape[1], np.nan),
        }
        if spread is not None:
            found[arm] = {**solution.summary(records)[arm], "sd": spread(tables)}
    return found


@mistake(
    "6.3",
    "all-steps",
    loses=("means over open steps", "hardly any"),
    read=FLOW,
    says="the sum is divided by all steps; divide by those in which the block was open",
    look="By how many numbers do you divide, and how many have you added?",
)
def summary(records):
    return summed_up(records, lambda table: np.nansum(table, axis=0) / len(table))


@mistake(
    "6.3",
    "nan-mean",
    loses=("means over open steps", "hardly any"),
    read=FLOW,
    says="one step in which the block was closed makes its whole mean NaN",
    look="What is the mean of 1, 2 and NaN?",
)
def summary(records):
    return summed_up(records, lambda table: table.mean(axis=0))


@mistake(
    "6.3",
    "one-seed",
    loses=("spread over seeds", "hardly any"),
    read=RUN,
    says="it is the deviation of steps, which are no repetitions: asked is the one of seeds",
    look="How many numbers go into your deviation, and how often was the experiment made?",
)
def summary(records):
    def spread(tables):
        deviations = []
        for column in np.concatenate(tables).T:
            values = column[~np.isnan(column)]
            deviations.append(np.std(values, ddof=1) if len(values) > 1 else np.nan)
        return deviations

    return summed_up(records, lambda table: table.mean(axis=0), spread)


def changed_claims(number, change):
    """Return the file of claims in which ``change`` has been made in one of them."""
    content = json.loads(getattr(solution, "claims.json"))
    change(content["claims"][number])
    return {"claims.json": json.dumps(content).encode()}


@mistake(
    "6.4",
    "stale-claim",
    loses=("claims",),
    read=RUN,
    says="a claim is not what the table gives",
    look="From which run is this number?",
)
def _():
    return changed_claims(2, lambda claim: claim.update(number=3 * claim["number"]))


BEST_TEST = {
    "loses": ("choice",),
    "read": RUN,
    "says": "a step or a run was chosen by its test error: its error says nothing of new images",
    "look": "Which images chose the step, and which ones judge it?",
}


@mistake("6.4", "best-test", **BEST_TEST)
def _():
    how = {"of": "test_error", "arm": "constant", "take": "min"}
    records = read_results(getattr(solution, "results.csv"))
    number = float(f"{solution.number_of(how, records):.3g}")
    return changed_claims(3, lambda claim: claim.update(how=how, number=number))


@mistake("6.4", "best-test", **BEST_TEST)
def _():
    one = {"of": "test_error", "arm": "constant", "take": "at lowest", "by": "test_error"}
    how = {"difference": [one, {"of": "test_error", "arm": "stochastic", "take": "last"}]}
    records = read_results(getattr(solution, "results.csv"))
    number = float(f"{solution.number_of(how, records):.3g}")
    return changed_claims(3, lambda claim: claim.update(how=how, number=number))
