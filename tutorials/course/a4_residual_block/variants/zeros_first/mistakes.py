"""Wrong answers to assignment 4 about the place of the zero channels, where they come first."""

import numpy as np

SHORTCUT = "5: Where the shape changes: shortcut A"

leave_out("4.4", "zeros-first", why="here that is asked for")

LAST = {
    "task": "4.4",
    "name": "zeros-last",
    "read": SHORTCUT,
    "says": "the channels of zeros are taken to be the last ones: they come before those of x",
    "look": "Which channels of y are zeros?",
}


@mistake(**LAST, loses=("output",))
def _():
    return {"pad_shortcut_forward": solution.ordinary.pad_shortcut_forward}


@mistake(**LAST, loses=("its gradient",))
def _():
    return {"pad_shortcut_backward": solution.ordinary.pad_shortcut_backward}


@mistake(**LAST, loses=("output", "its gradient"))
def _():
    names = ("pad_shortcut_forward", "pad_shortcut_backward")
    return {name: getattr(solution.ordinary, name) for name in names}


@mistake(
    "4.4", "zeros-around", loses=("output",), read=SHORTCUT,
    says="the channels of zeros are on both sides: they come before those of x",
    look="Which channels of y are zeros?",
)  # fmt: skip
def pad_shortcut_forward(x, out_channels, stride):
    y, cache = solution.pad_shortcut_forward(x, out_channels, stride)
    after = out_channels - x.shape[1] - (out_channels - x.shape[1]) // 2
    return np.roll(y, -after, axis=1), cache


@mistake(
    "4.4", "order-reversed", loses=("output",), read=SHORTCUT,
    says="the channels of x are in reverse order: only the place of the zeros is another one",
    look="Which channel of x is the last one of y?",
)  # fmt: skip
def pad_shortcut_forward(x, out_channels, stride):
    y, cache = solution.ordinary.pad_shortcut_forward(x, out_channels, stride)
    return y[:, ::-1], cache
