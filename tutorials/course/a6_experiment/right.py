"""Right answers to assignment 6 in an unusual form. They must have full marks."""

import copy
import math
import statistics

import numpy as np

from minisd import ops
from minisd.models import num_blocks, resnet
from minisd.optim import SGD
from minisd.stochastic_depth import linear_decay, sample_gates, set_gates
from minisd.train import evaluate, train_step


@right("6.1", "by the names of parameters, as an array")
def block_gradients(model):
    gradients = np.full(len(model.blocks), np.nan)
    for name, parameter in model.parameters():
        words = name.split(".")
        is_first = words[0] == "blocks" and words[2:] == ["branch", "0", "w"]
        if is_first and parameter.grad is not None:
            gradients[int(words[1])] = np.mean(np.abs(parameter.grad))
    return gradients


@right("6.1", "sums, and None divided in a tuple")
def block_gradients(model):
    def mean(gradient):
        return sum(map(abs, gradient.ravel().tolist())) / gradient.size

    weights = [next(iter(block.branch.children()))[1].w for block in model.blocks]
    return tuple(math.nan if w.grad is None else mean(w.grad) for w in weights)


@right("6.1", "one vector norm, divided")
def block_gradients(model):
    found = []
    for block in reversed(model.blocks):
        (_, first), *_ = block.branch.parameters()
        g = first.grad
        found.insert(0, np.float64("nan") if g is None else np.linalg.norm(g.ravel(), 1) / g.size)
    return found


def streams(seed):
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3)]


def record(model, data, loss, **settings):
    """Measure errors by hand, in evaluation mode."""
    gradients = np.array(solution.block_gradients(model))
    model.eval()
    errors = {
        f"{name}_error": np.mean(model.forward(data[name][0]).argmax(1) != data[name][1])
        for name in ("validation", "test")
    }
    model.train()
    return {**settings, **errors, "loss": loss, "gradients": gradients}


@right("6.2", "side by side, from copies of one network, with a step by hand")
def two_arms(data, seed, depth, steps, p_last, *, width=4, batch=32, lr=0.05):
    images, labels = data["train"]
    weights_rng, batch_rng, gate_rng = streams(seed)
    one = resnet(
        depth, in_channels=images.shape[1], width=width, rng=weights_rng, dtype=images.dtype
    )
    other = copy.deepcopy(one)
    for block, p in zip(other.blocks, linear_decay(len(other.blocks), p_last), strict=True):
        block.survival_prob = p
    models = {"stochastic": other, "constant": one}
    optimizers = {arm: SGD(model, lr) for arm, model in models.items()}
    records = []
    for step in range(1, steps + 1):
        chosen = batch_rng.choice(len(labels), batch, replace=False)
        draws = gate_rng.random(len(one.blocks))
        for arm, model in models.items():
            for block, u in zip(model.blocks, draws, strict=True):
                block.is_open = bool(u < block.survival_prob)
            model.zero_grad()
            logits = model.forward(images[chosen])
            loss, dlogits = ops.softmax_cross_entropy(logits, labels[chosen])
            model.backward(dlogits)
            optimizers[arm].step()
            settings = {"seed": seed, "depth": depth, "p_last": p_last, "arm": arm, "step": step}
            records.append(record(model, data, loss, **settings))
    return records


@right("6.2", "no gates are drawn where all blocks are open; gradients read before the step")
def two_arms(data, seed, depth, steps, p_last, *, width=4, batch=32, lr=0.05):
    images, labels = data["train"]

    def arm(name):
        weights_rng, batch_rng, gate_rng = streams(seed)
        survival = linear_decay(num_blocks(depth), p_last) if name == "stochastic" else None
        model = resnet(
            depth, in_channels=images.shape[1], width=width, survival=survival, rng=weights_rng,
            dtype=images.dtype, fused=False,
        )  # fmt: skip
        optimizer = SGD(model, lr)
        for step in range(steps):
            chosen = batch_rng.choice(len(images), batch, replace=False)
            if survival:
                set_gates(model, sample_gates(survival, gate_rng))
            model.zero_grad()
            loss, dy = model.ops.softmax_cross_entropy(
                model.forward(images[chosen]), labels[chosen]
            )
            model.backward(dy)
            gradients = solution.block_gradients(model)
            optimizer.step()
            errors = [evaluate(model, [data[part]]) for part in ("validation", "test")]
            yield {
                "arm": name, "step": np.int64(step + 1), "loss": np.float64(loss),
                "validation_error": errors[0], "test_error": errors[1],
                "gradients": gradients, "seed": seed, "depth": depth, "p_last": p_last,
            }  # fmt: skip

    return [*arm("stochastic"), *arm("constant")]


@right("6.2", "a class, the book's operations, more in each record, evaluation in parts")
def two_arms(data, seed, depth, steps, p_last, *, width=4, batch=32, lr=0.05):
    class Arm:
        def __init__(self, name, p):
            self.rngs = dict(zip(("weights", "batches", "gates"), streams(seed), strict=True))
            self.name = name
            survival = [
                1 - block / num_blocks(depth) * (1 - p) for block in range(1, num_blocks(depth) + 1)
            ]
            self.model = resnet(
                depth, num_classes=10, in_channels=data["train"][0].shape[1], width=width,
                survival=survival, rng=self.rngs["weights"], dtype=np.float64,
            ).use(ops)  # fmt: skip
            self.optimizer = SGD(self.model, lr, momentum=0.9, weight_decay=1e-4)

        def step(self, number):
            images, labels = data["train"]
            chosen = self.rngs["batches"].choice(len(images), batch, replace=False)
            set_gates(self.model, sample_gates(self.model.survival_probs, self.rngs["gates"]))
            loss = train_step(self.model, self.optimizer, images[chosen], labels[chosen])
            errors = {}
            for part in ("validation", "test"):
                x, y = data[part]
                parts = [(x[i : i + 7], y[i : i + 7]) for i in range(0, len(y), 7)]
                errors[f"{part}_error"] = evaluate(self.model, parts)
            return {
                "seed": seed, "depth": depth, "p_last": p_last, "arm": self.name, "step": number,
                "loss": loss, **errors, "gradients": tuple(solution.block_gradients(self.model)),
                "open": [block.is_open for block in self.model.blocks],
            }  # fmt: skip

    arms = [Arm("constant", 1.0), Arm("stochastic", p_last)]
    return tuple(arm.step(number) for number in range(1, steps + 1) for arm in arms)


@right("6.3", "the statistics module and lists")
def summary(records):
    result = {}
    for arm in {record["arm"] for record in records}:
        mine = sorted((r for r in records if r["arm"] == arm), key=lambda r: (r["seed"], r["step"]))
        L = len(mine[0]["gradients"])
        result[arm] = {"mean": [], "sd": []}
        for block in range(L):
            by_seed = {}
            for r in mine:
                if r["gradients"][block] == r["gradients"][block]:  # it is not NaN
                    by_seed.setdefault(r["seed"], []).append(r["gradients"][block])
            means = [statistics.fmean(values) for values in by_seed.values()]
            result[arm]["mean"].append(statistics.fmean(means) if means else math.nan)
            result[arm]["sd"].append(statistics.stdev(means) if len(means) > 1 else math.nan)
    return result


@right("6.3", "masked arrays")
def summary(records):
    result = {}
    for arm in ("stochastic", "constant"):
        seeds = sorted({r["seed"] for r in records})
        table = np.array(
            [
                [r["gradients"] for r in records if (r["arm"], r["seed"]) == (arm, seed)]
                for seed in seeds
            ]
        )
        means = np.ma.masked_invalid(table).mean(axis=1)
        count = means.count(axis=0)
        sd = np.ma.masked_where(
            count < 2, means.std(axis=0) * np.sqrt(count / np.maximum(count - 1, 1))
        )
        result[arm] = {"mean": means.mean(axis=0).filled(np.nan), "sd": sd.filled(np.nan)}
    return result


@right("6.3", "running sums, and deviations from products")
def summary(records):
    sums = {}
    for r in records:
        g = np.array(r["gradients"])
        total, count = sums.get((r["arm"], r["seed"]), (0, 0))
        sums[r["arm"], r["seed"]] = total + np.nan_to_num(g, nan=0.0), count + ~np.isnan(g)
    result = {}
    with np.errstate(all="ignore"):
        for arm in ("constant", "stochastic"):
            means = np.array([total / count for (a, _), (total, count) in sums.items() if a == arm])
            n, there = (~np.isnan(means)).sum(axis=0), ~np.isnan(means)
            mean = np.where(there, means, 0).sum(axis=0) / n
            squares = np.where(there, means - mean, 0) ** 2
            sd = np.where(n > 1, np.sqrt(squares.sum(axis=0) / (n - 1)), np.nan)
            result[arm] = {"sd": sd, "mean": mean, "seeds": n}
    return result


@right("6.4", "a table with other columns, and claims in other words")
def _():
    rows = getattr(solution, "results.csv").decode().replace("\n", ",0\n").split("\n")
    rows[0] = rows[0].removesuffix(",0") + ",hours"
    claims = getattr(solution, "claims.json").decode().replace("the first block", "block 1")
    table = "\ufeff" + "\r\n".join(rows)
    return {"results.csv": table.encode(), "claims.json": claims.encode()}
