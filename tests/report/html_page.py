"""An HTML page as a tree that tests can ask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = ("meta", "link", "img", "br", "input", "hr")
SILENT = ("script", "style")


@dataclass
class Element:
    """A tag with its attributes; children are elements and texts."""

    tag: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    def all(self, tag: str = "", **attributes: str) -> list[Element]:
        """Every element below that has this tag and these attributes (class_ stands for class)."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [
            e for e in self.walk() if tag in ("", e.tag) and all(e.attributes.get(n) == v for n, v in wanted.items())
        ]

    def walk(self) -> Iterator[Element]:
        for child in self.children:
            if isinstance(child, Element):
                yield child
                yield from child.walk()

    def text(self, language: str = "") -> str:
        """All of it, or what is shown in a language, "en" or "zh"."""
        other = {"en": "zh", "zh": "en"}.get(language, "nothing")
        parts = []
        for child in self.children:
            if isinstance(child, str):
                parts.append(child)
            elif child.tag not in SILENT and other not in child.attributes.get("class", "").split():
                parts.append(child.text(language))
        return "".join(parts)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        found = self.open.pop()
        assert found.tag == tag, f"<{found.tag}> is closed by </{tag}>"

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read(text: str) -> Element:
    """Raises AssertionError for tags that are not closed in order."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == [reader.root], f"not closed: {[e.tag for e in reader.open[1:]]}"
    return reader.root
