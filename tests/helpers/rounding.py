"""How far results may differ by rounding only, on any CPU: from the arithmetic, or measured.

CPUs sum in different orders, with or without fused multiplication, so a float32 result differs between them.
If the terms of a sum are known, `of_sum` bounds the difference. For a few steps of training it is measured by
training once more from parameters that differ in their last bit.
"""

import jax
import jax.numpy as jnp
import numpy as np

EPSILON = 2.0**-23  # of float32: twice the largest relative error of one rounding
# Of intermediate results in a few steps, each of which may have the effect of one of all parameters. On AVX2,
# AVX-512 and SSE4.2 all of them together had the effect of one to six.
ROUNDINGS = 50


def of_sum(terms: int, magnitude):
    """Largest error of a float32 sum of products in any order; its magnitude is |x| @ |y|.

    Higham, Accuracy and Stability of Numerical Algorithms, section 3.1, with room for a factor of two.
    """
    return (terms + 2) * EPSILON * np.asarray(magnitude, np.float64)


def disturbed(tree, relative: float = EPSILON):
    """Each value of each float array a little larger or smaller, at random."""

    def change(path, leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.copy(leaf)
        rng = np.random.default_rng(len(jax.tree_util.keystr(path)) + leaf.size)
        return leaf * (1 + relative * rng.choice([-1.0, 1.0], leaf.shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(change, tree)


def distances(one, other):
    """The largest difference in each array of two trees, and the largest value there."""

    def distance(a, b):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        return np.array([np.abs(a - b).max(), np.abs(b).max()]) if a.size else np.zeros(2)

    return np.array(jax.tree.leaves(jax.tree.map(distance, one, other)))


def assert_rounding_alone(found, expected, from_disturbed, roundings: int = ROUNDINGS):
    """`found` and `expected` differ by no more than the effect of this many roundings of the parameters.

    from_disturbed: the counterpart of `expected` that starts from `disturbed` parameters.
    """
    apart, size = distances(found, expected).T
    effect = np.maximum(distances(from_disturbed, expected)[:, 0], EPSILON * size)
    assert (apart <= roundings * effect).all(), f"{apart} where one rounding gives {effect}"
