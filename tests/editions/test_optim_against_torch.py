"""PyTorch as the judge of the optimisers and schedules, in float64.

Skipped where PyTorch is not installed; the package never needs it.
"""

import numpy as np
import pytest

from minisd import SGD, Adam, AdamW, Layer, Parameter, cosine, no_decay_on_batchnorm, one_cycle

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow  # because torch.optim takes five seconds to be imported
DECAY, LR = 0.03, 0.05
RULES = {
    "SGD": (
        lambda model, **options: SGD(model, LR, weight_decay=DECAY, **options),
        lambda groups: torch.optim.SGD(groups, LR, 0.9, weight_decay=DECAY, nesterov=True),
    ),
    "Adam": (
        lambda model, **options: Adam(model, LR, weight_decay=DECAY, **options),
        lambda groups: torch.optim.Adam(groups, LR, weight_decay=DECAY),
    ),
    "AdamW": (
        lambda model, **options: AdamW(model, LR, weight_decay=DECAY, **options),
        lambda groups: torch.optim.AdamW(groups, LR, weight_decay=DECAY),
    ),
    "Adam with other numbers": (
        lambda model, **options: Adam(model, LR, betas=(0.5, 0.9), eps=1e-2, **options),
        lambda groups: torch.optim.Adam(groups, LR, (0.5, 0.9), 1e-2),
    ),
}


class Net(Layer):
    def __init__(self, rng):
        self.w, self.gamma, self.b = (
            Parameter(rng.standard_normal(shape)) for shape in ((4, 3), (3,), (2,))
        )


def gap_after_steps(ours, theirs, dropped, rng, *, groups=None, steps=20):
    """The largest difference after steps with gradients that are None by chance."""
    model = Net(rng)
    optimizer = ours(model, dropped=dropped, groups=groups)
    twins = {name: torch.nn.Parameter(torch.tensor(p.data)) for name, p in model.parameters()}
    judge = theirs([{"params": [twin], "name": name} for name, twin in twins.items()])
    if groups:
        for group in judge.param_groups:
            overrides = dict(groups(group["name"], None))
            group["lr"] *= overrides.pop("lr_factor", 1)
            group |= overrides
    rates, missing = [group["lr"] / LR for group in judge.param_groups], 0
    for step in range(steps):
        optimizer.lr = LR / (1 + step / 10)
        for (name, p), group, rate in zip(
            model.parameters(), judge.param_groups, rates, strict=True
        ):
            group["lr"] = optimizer.lr * rate
            p.grad = rng.standard_normal(p.data.shape) if rng.random() > 0.4 else None
            missing += p.grad is None
            zeros = None if dropped == "freeze" else torch.zeros_like(twins[name])
            twins[name].grad = zeros if p.grad is None else torch.tensor(p.grad)
        optimizer.step()
        judge.step()
    assert missing > steps / 2
    return max(abs(p.data - twins[n].detach().numpy()).max() for n, p in model.parameters())


@pytest.mark.parametrize("dropped", ["coast", "freeze"])
@pytest.mark.parametrize("rule", RULES)
def test_twenty_steps_with_gradients_that_are_none(rule, dropped, rng):
    assert gap_after_steps(*RULES[rule], dropped, rng) < 1e-10


def groups(name, parameter):
    factor = {"w": {"lr_factor": 0.3}, "b": {"lr_factor": 2.0, "weight_decay": 0.2}}
    return factor.get(name, {}) | no_decay_on_batchnorm(name, parameter)


@pytest.mark.parametrize("dropped", ["coast", "freeze"])
@pytest.mark.parametrize("rule", ["SGD", "Adam", "AdamW"])
def test_parameter_groups(rule, dropped, rng):
    assert gap_after_steps(*RULES[rule], dropped, rng, groups=groups) < 1e-10


@pytest.mark.parametrize("wrong", ["the other rule for None", "the other decay", "no groups"])
def test_the_judge_would_see_a_wrong_rule(wrong, rng):
    ours, theirs = RULES["AdamW"]
    rule = {
        "the other rule for None": lambda model, dropped, groups: ours(model, dropped="coast"),
        "the other decay": lambda model, **options: RULES["Adam"][0](model, **options),
        "no groups": lambda model, dropped, groups: ours(model, dropped=dropped),
    }[wrong]
    given = groups if wrong == "no groups" else None
    assert gap_after_steps(rule, theirs, "freeze", rng, groups=given) > 1e-4


def rates_of(schedule, steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1)
    made, rates = schedule(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        made.step() if len(rates) < steps else None
    return rates


def test_cosine_is_that_of_pytorch():
    theirs = rates_of(
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=24, eta_min=0.01), 24
    )
    ours = cosine(0.1, lr_min=0.01).over(4)
    np.testing.assert_allclose([ours(1 + step / 6) for step in range(24)], theirs, rtol=1e-12)


def test_one_cycle_is_that_of_pytorch():
    """It has its peak at step ``pct_start T - 1`` and its end at step T - 1."""
    T, part = 30, 0.4
    theirs = rates_of(
        lambda o: torch.optim.lr_scheduler.OneCycleLR(
            o, 0.5, total_steps=T, pct_start=part, cycle_momentum=False
        ),
        T,
    )
    ours = one_cycle(0.5, rise=(part * T - 1) / (T - 1)).over(4)
    times = [1 + 4 * step / (T - 1) for step in range(T)]
    np.testing.assert_allclose([ours(time) for time in times], theirs, rtol=1e-12)
