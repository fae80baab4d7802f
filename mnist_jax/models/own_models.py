"""Models that users register: plain `flax.nnx.Module` classes."""

import ast
import difflib
import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from mnist_jax.system.errors import UserError

OwnModel = Callable[..., nnx.Module]


class Adapter(nnx.Module):
    """A registered model with the interface of the built-in ones.

    Its `train()` and `eval()` set what layers such as `nnx.Dropout` and `nnx.BatchNorm` do.
    """

    def __init__(
        self,
        own: OwnModel,
        config: ml_collections.FrozenConfigDict,
        examples: jax.Array,
        num_classes: int,
        *,
        rngs: nnx.Rngs,
    ):
        """Builds the model.

        Args:
            own: the registered class; called as `own(image_shape, num_classes, rngs=rngs, **kwargs)`.
            config: its `model.kwargs` has the keyword arguments.
            examples: training images (N, H, W, C) as the model sees them.
            num_classes: the number of logits.
            rngs: keys of initial values.

        Raises:
            UserError: `config.model.kwargs` does not fit, or the model does not return logits.
        """
        name, kwargs = config.model.name, keyword_arguments(config.model.kwargs)
        _check_arguments(name, own, kwargs)
        self.model = own(examples.shape[1:], num_classes, rngs=rngs, **kwargs)
        self.model.eval()
        found = jax.eval_shape(self.model, jax.ShapeDtypeStruct((2, *examples.shape[1:]), jnp.float32))
        shape = getattr(found, "shape", type(found).__name__)
        if shape != (2, num_classes):
            raise UserError(
                f"the model {name!r} must return logits of shape (2, {num_classes}) for images of shape "
                f"(2, {', '.join(map(str, examples.shape[1:]))}) (got {shape})"
            )

    def __call__(
        self,
        images: jax.Array,
        *,
        train: bool,
        rate: float | jax.Array = 0.0,
        rngs: nnx.Rngs | None = None,
    ) -> jax.Array:
        del rate, rngs  # the user's layers have their own rates and keys
        if train:
            self.model.train()
        else:
            self.model.eval()
        return self.model(images).astype(jnp.float32)


def keyword_arguments(text: str) -> dict[str, Any]:
    """The values in a string such as `width=64, norm="batch"`.

    Raises:
        UserError: the string has another form.
    """
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        if isinstance(call, ast.Call) and not call.args and all(word.arg for word in call.keywords):
            return {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    except (SyntaxError, ValueError):
        pass
    raise UserError(
        f"config.model.kwargs must be keyword arguments with plain values, such as 'width=64' (got {text!r})"
    )


def check_model(name: str, own: Any) -> None:
    """Checks a model before it is registered.

    Raises:
        UserError: it is not a class, or function, that makes an `nnx.Module`.
    """
    import flax.linen as nn

    if isinstance(own, type) and issubclass(own, nn.Module):
        raise UserError(
            f"the model {name!r} must be a flax.nnx.Module (got the Linen module {own.__name__}); "
            "wrap it with flax.nnx.bridge.ToNNX"
        )
    if not callable(own) or (isinstance(own, type) and not issubclass(own, nnx.Module)):
        raise UserError(f"the model {name!r} must be a class of flax.nnx.Module (got {own!r})")


def _check_arguments(name: str, own: OwnModel, kwargs: dict[str, Any]) -> None:
    # nnx's metaclass hides the signature of a class.
    function = functools.partial(own.__init__, None) if isinstance(own, type) else own  # type: ignore[misc]
    parameters = list(inspect.signature(function).parameters.values())[2:]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters) and "rngs" not in kwargs:
        return
    known = [parameter.name for parameter in parameters if parameter.name != "rngs"]
    for key in kwargs:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(known) or 'none'}"
            raise UserError(f"config.model.kwargs: the model {name!r} takes no {key}; {hint}")
