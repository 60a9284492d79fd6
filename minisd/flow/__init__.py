"""Recording what flows: gradients, updates and activations, of any block, at any step.

    recorder = Recorder(model, optimizer, "flow.jsonl")
    for images, labels in batches:
        draw_gates(model, rng)
        model.zero_grad()
        loss, dlogits = ops.softmax_cross_entropy(model.forward(images), labels)
        model.backward(dlogits)
        recorder.after_backward(loss)
        optimizer.step()
        recorder.after_step()
    recorder.close()

    flow = load("flow.jsonl")      # plain arrays

The layers contain no code for recording. A recorder puts functions around the ``forward`` and
``backward`` of each block, which look at inputs and outputs. `Recorder.close` removes them.

At each step it records of every parameter (``grad_...``) and of every branch (``block_grad_...``):

    grad_mean, grad_norm, grad_max     mean |g|, sqrt(sum g^2), max |g|
    weight_norm                        ||w||, before the update
    update_norm, update_ratio          ||w' - w||, the actual update, with momentum and weight
                                       decay; and its ratio to ||w|| (None while w is 0)
    coasted_norm                       ||w' - w|| without a gradient: the block was closed

Once every ``look_every`` steps, it also looks at activations and records of every block:

    output_grad_norm                   ||dH_l||, the gradient that arrives at the block's output
    branch_ratio                       ||f_l(x)|| / ||id(x)||
    activation_mean, activation_std    of H_l
    dead_channels                      share of the channels of H_l that are 0 for the whole batch

A closed block has none of these values in that step. They are then None, not 0, and are left out of
the averages. Two belong to closed blocks alone: ``coasted_norm``, and in each step that looks

    closed_grad_norm                   ||dH_l||, the gradient that arrives at the output of a closed
                                       block, and goes on through its shortcut

The counts ``open``, ``looked`` and ``closed_looked`` say how many steps had which. With a gate for
each image (`minisd.draw_image_gates`) every branch runs, so every block counts as open, and
``branch_ratio`` is that of f_l(x) before the gates of the images.

Any other quantity is recorded with one function (``also`` of `Recorder`):

    Recorder(model, optimizer, path, also={"bias": lambda model: abs(model.head.b.data).max()})
"""

from minisd.flow.recorder import Recorder
from minisd.flow.table import Flow, load

__all__ = ["Flow", "Recorder", "load"]
