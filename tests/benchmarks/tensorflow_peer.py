"""The same network in TensorFlow: ``tf.function``, with oneDNN below it.

Images are (N, H, W, C), the only order in which TensorFlow trains convolutions on a CPU. Batch norm
is the fused one: Keras 3 composes its own of single operations, which is slower.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from .network import EPS, RUNNING, Task, Weights


def limit_threads(threads: int) -> str:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    return f"intra_op_parallelism_threads={threads}, inter_op_parallelism_threads=1"


def training(task: Task) -> Callable[[int], float]:
    """Return one training step as a function of the round."""
    import tensorflow as tf

    weights = Weights(task.model())
    images, labels = task.images()

    def variables(w: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> dict[str, Any]:
        return {
            "w": tf.Variable(w.transpose(2, 3, 1, 0)),
            "gamma": tf.Variable(gamma),
            "beta": tf.Variable(beta),
            "mean": tf.Variable(np.zeros_like(gamma), trainable=False),
            "var": tf.Variable(np.ones_like(gamma), trainable=False),
        }

    layers = [variables(*layer) for layer in weights.layers]
    head_w, head_b = (tf.Variable(a) for a in weights.head)

    def conv_norm(x: Any, layer: dict[str, Any], stride: int = 1) -> Any:
        # Not "SAME": with stride 2 that pads at the bottom and on the right only.
        around = [[0, 0], [1, 1], [1, 1], [0, 0]]
        y = tf.nn.conv2d(x, layer["w"], stride, around)
        y, mean, var = tf.compat.v1.nn.fused_batch_norm(
            y, layer["gamma"], layer["beta"], epsilon=EPS, is_training=True
        )
        for running, new in ((layer["mean"], mean), (layer["var"], var)):
            running.assign_sub(RUNNING * (running - new))
        return y

    def shortcut(x: Any, channels: int) -> Any:
        new = channels - x.shape[-1]
        if not new:
            return x
        return tf.pad(tf.nn.avg_pool2d(x, 2, 2, "VALID"), [[0, 0], [0, 0], [0, 0], [0, new]])

    def forward(x: Any) -> Any:
        rest = iter(layers)
        x = tf.nn.relu(conv_norm(x, next(rest)))
        for channels, stride in weights.blocks:
            h = tf.nn.relu(conv_norm(x, next(rest), stride))
            x = tf.nn.relu(conv_norm(h, next(rest)) + shortcut(x, channels))
        return tf.matmul(tf.reduce_mean(x, (1, 2)), head_w, transpose_b=True) + head_b

    trained = [layer[name] for layer in layers for name in ("w", "gamma", "beta")]
    trained += [head_w, head_b]
    velocity = [tf.Variable(tf.zeros_like(w), trainable=False) for w in trained]

    @tf.function
    def update(x: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, forward(x))
            loss = tf.reduce_mean(losses)
        for w, g, v in zip(trained, tape.gradient(loss, trained), velocity, strict=True):
            g = g + task.weight_decay * w
            v.assign(task.momentum * v + g)
            w.assign_sub(task.lr * (g + task.momentum * v))
        return loss

    x, target = tf.constant(images.transpose(0, 2, 3, 1)), tf.constant(labels)
    return lambda _: float(update(x, target))
