"""Mixup and CutMix: each image of a batch mixed with another one, on the device."""

import jax
import jax.numpy as jnp
import ml_collections

_STREAM = 100  # folded into the key of a step's augmentation, whose own streams come before


def mix(
    key: jax.Array, images: jax.Array, config: ml_collections.FrozenConfigDict
) -> tuple[jax.Array, jax.Array | None]:
    """Mixes each image with its partner in the reversed batch, as `config.augment` says.

    Each image keeps a share of at least 1/2, so that its label stays the one to predict. With both kinds of
    mixing, each image gets one of the two at random.

    Args:
      key: of the step's augmentation.
      images: float (B, H, W, C).
      config: `config.augment`.

    Returns:
      the images, and the share that each keeps, float32 (B,); None if nothing is mixed.
    """
    if not (config.mixup or config.cutmix):
        return images, None
    coin_key, mixup_key, cutmix_key = jax.random.split(jax.random.fold_in(key, _STREAM), 3)
    if not config.cutmix:
        return _mixup(mixup_key, images, config.mixup)
    if not config.mixup:
        return _cutmix(cutmix_key, images, config.cutmix)
    coin = jax.random.bernoulli(coin_key, shape=images.shape[:1])
    blended, blended_shares = _mixup(mixup_key, images, config.mixup)
    pasted, pasted_shares = _cutmix(cutmix_key, images, config.cutmix)
    chosen = jnp.where(coin[:, None, None, None], blended, pasted)
    return chosen, jnp.where(coin, blended_shares, pasted_shares)


def _mixup(key: jax.Array, images: jax.Array, alpha: float) -> tuple[jax.Array, jax.Array]:
    """Blends each image with its partner (https://arxiv.org/abs/1710.09412)."""
    shares = _own_shares(key, images.shape[0], alpha)
    own = shares[:, None, None, None]
    return (own * images + (1 - own) * images[::-1]).astype(images.dtype), shares


def _cutmix(key: jax.Array, images: jax.Array, alpha: float) -> tuple[jax.Array, jax.Array]:
    """Pastes a box of the partner into each image (https://arxiv.org/abs/1905.04899).

    The box is centred on a random pixel and clipped at the border. The shares count pixels.
    """
    batch, height, width, _ = images.shape
    share_key, row_key, column_key = jax.random.split(key, 3)
    side = jnp.sqrt(1 - _own_shares(share_key, batch, alpha))

    def within(key: jax.Array, size: int) -> jax.Array:
        """Whether each row or column is in the box, bool (B, size)."""
        length = jnp.floor(side * size).astype(jnp.int32)
        first = jax.random.randint(key, (batch,), 0, size) - length // 2
        at = jnp.arange(size) - first[:, None]
        return (at >= 0) & (at < length[:, None])

    rows, columns = within(row_key, height), within(column_key, width)
    inside = (rows[:, :, None] & columns[:, None, :])[..., None]
    return jnp.where(inside, images[::-1], images), 1 - inside.mean((1, 2, 3), dtype=jnp.float32)


def _own_shares(key: jax.Array, batch: int, alpha: float) -> jax.Array:
    """Draws of Beta(alpha, alpha), each replaced by its complement if that is larger, float32 (B,)."""
    drawn = jax.random.beta(key, alpha, alpha, (batch,))
    return jnp.maximum(drawn, 1 - drawn)
