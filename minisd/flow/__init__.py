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

No layer knows of it. While a recorder is at work, the blocks' own ``forward`` and ``backward`` are
called through functions that look at what goes in and comes out; `Recorder.close` takes those away.

What it says of a parameter (``grad_...``) or of all of a branch (``block_grad_...``), at one step:

    grad_mean, grad_norm, grad_max     mean |g|, sqrt(sum g^2), max |g|
    weight_norm                        ||w||, before the update
    update_norm, update_ratio          ||w' - w||, what the optimiser really did, with momentum and
                                       weight decay; and its ratio to ||w|| (None while w is 0)
    coasted_norm                       the same where there was no gradient: the block was closed

and of a block, in the steps in which it looks at activations, one in ``look_every``:

    output_grad_norm                   ||dH_l||, the gradient that arrives at the block's output
    branch_ratio                       ||f_l(x)|| / ||id(x)||
    activation_mean, activation_std    of H_l
    dead_channels                      share of the channels of H_l that are 0 for the whole batch

In a step in which a block was closed it has none of these: they are None, not 0, and do not enter
an average.
"""

from minisd.flow.recorder import Recorder
from minisd.flow.records import load

__all__ = ["Recorder", "load"]
