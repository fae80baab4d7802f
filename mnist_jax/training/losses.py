"""The loss of a batch: cross-entropy with smoothed, mixed and weighted labels."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from mnist_jax.system.errors import UserError


def class_weights(
    config: ml_collections.FrozenConfigDict, labels: np.ndarray, classes: int
) -> np.ndarray | None:
    """The weight of each class in the loss, float32 (K,); None if all are 1.

    Balanced weights are N / (K n), as in scikit-learn, for a class with n of N labels, where K classes
    occur. A class without examples has weight 0.
    Raises UserError: `config.train.class_weights` has not one entry per class.
    """
    given = config.train.class_weights
    if given and len(given) != classes:
        raise UserError(
            f"config.train.class_weights must have one entry for each of the {classes} classes "
            f"(got {len(given)})"
        )
    if config.train.balance == "loss":
        counts = np.bincount(labels, minlength=classes)
        shares = np.count_nonzero(counts) * counts
        weights = np.divide(len(labels), shares, out=np.zeros(classes), where=counts > 0)
        return weights.astype(np.float32)
    return np.asarray(given, np.float32) if given else None


def batch_loss(
    logits: jax.Array,
    labels: jax.Array,
    own_shares: jax.Array | None,
    smoothing: float | jax.Array,
    weights: np.ndarray | None,
) -> jax.Array:
    """The mean over the batch of the weight times the cross-entropy of each example, a scalar.

    Args:
      logits: float32 (B, K).
      labels: int32 (B,).
      own_shares: float32 (B,), the share of each example's own label in its target, the rest being its
        partner's, see `mixing.mix`; None: 1. The weight of a mixed example is mixed in the same way.
      smoothing: the label mass that is spread over all classes.
      weights: class weights, float32 (K,); None: 1.
    """
    targets = jax.nn.one_hot(labels, logits.shape[-1])
    if own_shares is not None:
        own = own_shares[:, None]
        targets = own * targets + (1 - own) * targets[::-1]
    losses = optax.softmax_cross_entropy(logits, optax.smooth_labels(targets, smoothing))
    if weights is not None:
        losses = losses * (targets * jnp.asarray(weights)).sum(-1)
    return losses.mean()
