"""The templates of pages and model cards."""

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
    """Loads a template of this package; rendering raises for a name that is not given.

    Values are escaped: they cannot become markup, control characters or invalid UTF-8.

    Args:
      name: file name of the template.
      escape: escapes a value in a text that is not HTML.
      filters: further filters.
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
