"""What must hold for each page, whatever it shows."""

from __future__ import annotations

from html.parser import HTMLParser

#: Elements without an end.
VOID = frozenset({"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"})


class Page(HTMLParser):
    """A parsed page: its elements, their ids, and what the policy for its contents forbids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.forms: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.faults += [f"<{tag}> is not closed" for tag in self._open]
        self.faults += [f"id {id!r} is there twice" for id in {*self.ids} if self.ids.count(id) > 1]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "style" or "style" in given:
            self.faults.append(f"inline style: {self.get_starttag_text()}")
        if tag == "script" and not given.get("src", "").startswith("/static/"):
            self.faults.append(f"inline or foreign script: {self.get_starttag_text()}")
        handlers = [name for name in given if name.startswith(("on", "hx-on"))]
        if handlers or given.get("href", "").startswith("javascript:"):
            self.faults.append(f"script in an attribute: {self.get_starttag_text()}")
        if tag in ("img", "iframe", "object", "embed", "base"):
            self.faults.append(f"unexpected element: {self.get_starttag_text()}")
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "a":
            self.links.append(given.get("href", ""))
        if tag == "form":
            self.forms.append((given.get("action", ""), {}))
        if tag in ("input", "button") and self.forms and "name" in given:
            self.forms[-1][1].setdefault(given["name"], given.get("value", ""))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        self.text += data


def checked(text: str) -> Page:
    """The page, which must be well formed and without anything inline that a browser would run."""
    page = Page(text)
    assert page.faults == []
    return page
