"""The templates of pages and cards, which lie beside the code."""

from collections.abc import Callable

import jinja2


def load_template(
    name: str, *, autoescape: bool = True, filters: dict[str, Callable[..., str]] | None = None
) -> jinja2.Template:
    """A template of this package; a name in it that is not given raises when it is rendered.

    autoescape: names and values cannot become markup; False where the text is not HTML.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__name__, "."),
        autoescape=autoescape,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(filters or {})
    return environment.get_template(name)
