"""Has the browser fetch and run plotly's code, a second of its time, while the server works on the first figure.

Streamlit's page asks for that code when the first figure has arrived. Where a later Streamlit names its files or states
otherwise, its page is served as it is.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st
from starlette.responses import HTMLResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

# Not before the page has asked for its content: the browser has one thread for both.
BEGIN = """<script type="module">
  const begin = () => document.querySelector('[data-test-connection-state="CONNECTED"]')
    ? import("./static/js/{name}") : setTimeout(begin, 20)
  begin()
</script>
"""


def page_with_plotly() -> str | None:
    """Streamlit's page with what has plotly's code run early; None where that code is not found."""
    folder = Path(st.__file__).parent / "static"
    index, found = folder / "index.html", sorted(folder.glob("static/js/PlotlyChart.*.js"))
    if not index.is_file() or not found:
        return None
    page, code = index.read_text(encoding="utf-8"), found[0]
    needed = [code.name, *re.findall(r'from"\./([\w.-]+\.js)"', code.read_text(encoding="utf-8"))]
    early = [
        f'<link rel="modulepreload" crossorigin href="./static/js/{name}">\n' for name in needed if name not in page
    ]
    return page.replace("</head>", "".join(early) + BEGIN.replace("{name}", code.name) + "</head>")


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
