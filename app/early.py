"""Has the browser fetch and run plotly's code, a second of its time, while the server works on the first figure.

Streamlit's page asks for that code when the first figure has arrived. Where a later Streamlit names its files or its
states otherwise, its page is served as it is.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st
from starlette.responses import HTMLResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

STATE = "data-test-connection-state"  # of the page's outermost element
# Not before the page has asked for its content: the browser has one thread for both.
BEGIN = """<script type="module">
  const begin = tries => document.querySelector('[STATE="CONNECTED"]')
    ? import("./static/js/NAME") : tries && setTimeout(begin, 20, tries - 1)
  begin(500)
</script>
"""


def page_with_plotly() -> str | None:
    """Streamlit's page, changed to run plotly's code early; None if the page lacks the place for it."""
    folder = Path(st.__file__).parent / "static"
    if not (folder / "index.html").is_file():
        return None
    page = (folder / "index.html").read_text(encoding="utf-8")
    scripts = [folder / name for name in re.findall(r'src="\./([^"]+\.js)"', page)]
    code = next(folder.glob("static/js/PlotlyChart.*.js"), None)
    if code is None or not any(STATE in script.read_text(encoding="utf-8") for script in scripts):
        return None
    needed = [code.name, *re.findall(r'from"\./([\w.-]+\.js)"', code.read_text(encoding="utf-8"))]
    link = '<link rel="modulepreload" crossorigin href="./static/js/{}">\n'
    early = [link.format(name) for name in needed if name not in page]
    return page.replace(
        "</head>", "".join(early) + BEGIN.replace("STATE", STATE).replace("NAME", code.name) + "</head>"
    )


class EarlyPlotly:
    """Middleware that answers with that page."""

    def __init__(self, app: "ASGIApp") -> None:
        self.app = app
        self.page = page_with_plotly()

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        answer = self.app
        if self.page is not None and scope["type"] == "http" and scope["path"] == "/" and scope["method"] == "GET":
            answer = HTMLResponse(self.page, headers={"cache-control": "no-cache"})
        await answer(scope, receive, send)
