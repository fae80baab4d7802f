"""The templates of pages and cards, which lie beside the code."""

from collections.abc import Callable
from typing import Any

import jinja2

from mnist_jax.system.output import printable


def load_template(
    name: str,
    *,
    escape: Callable[[str], str] | None = None,
    filters: dict[str, Callable[..., str]] | None = None,
) -> jinja2.Template:
    """A template of this package; a name in it that is not given raises when it is rendered.

    Names and values cannot become markup, control characters or bytes that are not UTF-8.

    escape: of a value, where the text is not HTML.
    """

    def written(value: Any) -> Any:
        if hasattr(value, "__html__"):  # it is markup
            return value
        return escape(printable(str(value))) if escape else printable(str(value))

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__name__, "."),
        autoescape=escape is None,
        finalize=written,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(filters or {})
    return environment.get_template(name)
