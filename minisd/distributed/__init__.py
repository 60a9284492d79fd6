"""Data-parallel training: several processes compute what one computes, each on a part of the batch.

Rank r of R takes the images N r / R to N (r + 1) / R of every mini-batch. All ranks have the same
network, and draw the same order of the images, the same shifts and the same gates from generators
in the same state. So they agree on all of that without a message. Only sums over the whole batch
need the other ranks. Three of them are the training itself:

1. forward, in each batch norm: mean and variance of all images (`minisd.ops.batchnorm`);
2. backward, in each batch norm: the sums of dy and dy * x_hat, which are also dbeta and dgamma;
3. once a step: the gradients of all other parameters, in one message (`minisd.data_parallel`).

A fourth, small, is the loss, with a checksum of the gates: ranks that disagree are an error.

The loss is divided by the number of images in the *whole* batch, so gradients add up, however
uneven the parts are.

**A dropped block sends nothing.** Its batch norms do not run, and its gradients are None on every
rank. Each rank knows that before it computes anything, because it has drawn the gates itself.

A *group* is the object that is asked for these sums (`group.Group`). It is also asked for whatever
the ranks must decide together: to stop, to raise an error, to go on. There are three kinds:
processes (`mpi`), threads of one process, which is enough to test the mathematics (`in_threads`),
and shards, for the same bits with any number of processes (`sharded`).
"""

from minisd.distributed.group import ALONE, Group, RankLost
from minisd.distributed.in_threads import run_ranks
from minisd.distributed.launch import join
from minisd.distributed.sharded import ShardedGroup

__all__ = ["ALONE", "Group", "RankLost", "ShardedGroup", "join", "run_ranks"]
