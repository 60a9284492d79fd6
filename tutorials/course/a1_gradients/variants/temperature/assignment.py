# %% [markdown]
# ## 1.3 Softmax with a temperature, and cross-entropy
#
# Each row of the logits s holds the scores of one image. Divided by a temperature T, they become
# probabilities, and the loss is the mean, over the images, of minus the logarithm of the right
# class's probability:
#
# $$p_{nk} = \frac{e^{s_{nk} / T}}{\sum_j e^{s_{nj} / T}}, \qquad
#   L = -\frac{1}{N} \sum_n \log p_{n,t_n}$$
#
# where $t_n$ is the label of image n. A high temperature makes the classes alike, a low one lets
# the largest score take all. The gradient is that of this loss with respect to s: work it out.
#
# Scores may be large, and probabilities may be too small for any float. The loss must be right
# then, too: with T = 1, a right class that lies 1,000 below another costs 1,000.


# %% task 1.3 Softmax with a temperature, and cross-entropy points=25 minutes=70
def softmax_cross_entropy(logits, labels, temperature):
    """Return the mean cross-entropy of the softmax of ``logits``, and its gradient.

    Parameters
    ----------
    logits : (N, K)
        Any finite numbers.
    labels : (N,), integers
        The right classes, from 0 to K - 1. K may be 1.
    temperature : float
        T, above 0. The softmax is that of ``logits / T``.

    Returns
    -------
    loss : number
        What `float` takes.
    dlogits : (N, K)
        Gradient of the loss with respect to ``logits``.
    """
    # solution: begin
    loss, dlogits = ordinary.softmax_cross_entropy(logits / temperature, labels)
    return loss, dlogits / temperature
    # solution: end


# %% task 1.5 Training points=15 minutes=50
def train(images, labels, steps, batch, lr, rng, temperature):
    """Train a linear classifier by gradient descent on random batches.

    w and b begin at zero. Each step draws the places of its images by
    ``rng.choice(n, batch, replace=False)``, and nothing else is drawn. It moves w and b against the
    gradient of the mean loss of these images.

    Parameters
    ----------
    images : (n, D)
        Used as they are.
    labels : (n,), integers
        There are K classes: the largest label is K - 1.
    steps, batch : int
        How many steps, and how many images in each: at most n.
    lr : float
    rng : numpy.random.Generator
    temperature : float
        Of the softmax in the loss.

    Returns
    -------
    w : (K, D)
    b : (K,)
    """
    # solution: begin
    # In w / T and b / T the scores are those of temperature 1, and a step is shorter by T^2.
    w, b = ordinary.train(images, labels, steps, batch, lr / temperature**2, rng)
    return temperature * w, temperature * b
    # solution: end
