"""Names in pages: whatever is in them, a reader sees them and nothing else."""

import html.parser

from hypothesis import example, given
from hypothesis import strategies as st

from mnist_jax.reporting.charts import Line, axis_of, line_chart
from mnist_jax.reporting.templates import load_template
from mnist_jax.system.output import printable

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&amp;\x1b[31m\u202e\udcff\n"


class Page(html.parser.HTMLParser):
    """The tags, attributes and texts of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, *(name for name, _ in attributes)))
        self.texts.extend(value for _, value in attributes)

    def handle_data(self, data):
        self.texts.append(data)


def demo_page(name):
    return load_template("demo.html.jinja").render(
        title=name, step=1, classes=[name, "b" * 999], size="8 x 8", drawable=True, max_bytes=1, nonce="n"
    )


def chart(name):
    axis = axis_of(name, [0.0, 1.0])
    return line_chart(name, axis, axis, [Line(name, [0.0, 1.0], [0.0, 1.0], 0)])


@given(st.text(st.characters(), min_size=1).filter(str.strip))
@example(HOSTILE)
def test_a_name_is_only_text(name):
    for render in (demo_page, chart):
        page, plain = Page(render(name)), Page(render("NAME"))
        assert page.tags == plain.tags
        assert page.texts == [text and text.replace("NAME", printable(name)) for text in plain.texts]
        render(name).encode()
