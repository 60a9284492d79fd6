"""The same network in JAX: a function of arrays, compiled by XLA for the CPU.

Images are (N, H, W, C) and filters (H, W, C, F), as is usual there.
"""

import os
from collections.abc import Callable
from typing import Any

from .network import EPS, RUNNING, Task, Weights


def limit_threads(threads: int) -> str:
    os.environ["NPROC"] = str(threads)  # XLA reads it once, when it makes its pool of threads
    os.environ["JAX_PLATFORMS"] = "cpu"
    return f"NPROC={threads}"


def training(task: Task) -> Callable[[int], float]:
    """Return one training step as a function of the round."""
    import jax
    import jax.numpy as jnp

    def conv(x: Any, w: Any, stride: int = 1) -> Any:
        return jax.lax.conv_general_dilated(
            x, w, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def norm(x: Any, layer: dict, running: tuple) -> tuple:
        """Batch norm in training; also return its running mean and variance, moved."""
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        count = x.size / x.shape[-1]
        moved = tuple(
            (1 - RUNNING) * old + RUNNING * jax.lax.stop_gradient(new)
            for old, new in zip(running, (mean, var * count / (count - 1)), strict=True)
        )
        return (x - mean) * (layer["gamma"] * jax.lax.rsqrt(var + EPS)) + layer["beta"], moved

    def shortcut(x: Any, channels: int) -> Any:
        new = channels - x.shape[-1]
        if not new:
            return x
        N, H, W, C = x.shape
        x = x.reshape(N, H // 2, 2, W // 2, 2, C).mean((2, 4))
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, new)))

    def forward(params: dict, running: list, x: Any) -> tuple:
        layers = iter(zip(params["layers"], running, strict=True))
        moved = []

        def conv_norm(x: Any, stride: int = 1) -> Any:
            layer, old = next(layers)
            y, new = norm(conv(x, layer["w"], stride), layer, old)
            moved.append(new)
            return y

        x = jax.nn.relu(conv_norm(x))
        for channels, stride in weights.blocks:
            h = jax.nn.relu(conv_norm(x, stride))
            x = jax.nn.relu(conv_norm(h) + shortcut(x, channels))
        return x.mean((1, 2)) @ params["w"].T + params["b"], moved

    def loss_of(params: dict, running: list, x: Any, labels: Any) -> tuple:
        logits, moved = forward(params, running, x)
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
        return -chosen.mean(), moved

    def update(params: dict, velocity: dict, running: list, x: Any, labels: Any) -> tuple:
        (loss, running), grads = jax.value_and_grad(loss_of, has_aux=True)(
            params, running, x, labels
        )
        grads = jax.tree.map(lambda g, w: g + task.weight_decay * w, grads, params)
        velocity = jax.tree.map(lambda v, g: task.momentum * v + g, velocity, grads)
        params = jax.tree.map(
            lambda w, g, v: w - task.lr * (g + task.momentum * v), params, grads, velocity
        )
        return loss, params, velocity, running

    weights = Weights(task.model())
    images, labels = task.images()
    params = {
        "layers": [
            {
                "w": jnp.asarray(w.transpose(2, 3, 1, 0)),
                "gamma": jnp.asarray(g),
                "beta": jnp.asarray(b),
            }
            for w, g, b in weights.layers
        ],
        "w": jnp.asarray(weights.head[0]),
        "b": jnp.asarray(weights.head[1]),
    }
    velocity = jax.tree.map(jnp.zeros_like, params)
    running = [(jnp.zeros(len(g)), jnp.ones(len(g))) for _, g, _ in weights.layers]
    x, target = jnp.asarray(images.transpose(0, 2, 3, 1)), jnp.asarray(labels)
    state = (params, velocity, running)
    compiled = jax.jit(update, donate_argnums=(0, 1, 2)).lower(*state, x, target).compile()

    def step(_: int) -> float:
        nonlocal state
        loss, *state = jax.block_until_ready(compiled(*state, x, target))
        return float(loss)

    return step
