"""Reads a report back: checks that its tags nest, and gives its texts, tables, ids and loads."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "link", "input", "br", "hr", "img"}
LOADS = {"src", "srcset", "poster", "data", "action", "formaction", "background"}


class Reader(HTMLParser):
    """Raises `ValueError` at the first tag that does not nest."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.refers: list[str] = []
        self.loads: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[dict[str, list[list[str]]]] = []
        self.text = ""
        self._cell: list[str] | None = None
        self.feed(source)
        self.close()
        if self.open:
            raise ValueError(f"never closed: {self.open}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._seen(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append({"caption": [], "rows": []})
        elif tag == "tr" and "table" in self.open:
            self.tables[-1]["rows"].append([])
        elif tag in ("td", "th", "caption"):
            self._cell = []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._seen(tag, attrs)
        if tag not in VOID and "svg" not in self.open:
            raise ValueError(f"<{tag}/> is not empty in HTML")

    def _seen(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if len(found) != len(attrs):
            raise ValueError(f"<{tag}> repeats an attribute: {attrs}")
        if found.get("id"):
            self.ids.append(str(found["id"]))
        self.loads += [str(value) for name, value in attrs if name in LOADS]
        if tag == "link":
            self.loads.append(str(found.get("href")))
        for name in ("aria-labelledby", "for"):
            self.refers += (found.get(name) or "").split()
        if (found.get("href") or "").startswith("#"):
            self.refers.append(str(found["href"])[1:])
        elif tag == "a" or "href" in found:
            self.loads.append(str(found.get("href")))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            raise ValueError(f"</{tag}> closes {self.open[-3:]}")
        self.open.pop()
        if tag in ("td", "th") and self._cell is not None:
            self.tables[-1]["rows"][-1].append(" ".join("".join(self._cell).split()))
            self._cell = None
        elif tag == "caption" and self._cell is not None:
            self.tables[-1]["caption"].append([" ".join("".join(self._cell).split())])
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("style", "script"):
            return
        self.text += data
        if self._cell is not None:
            self._cell.append(data)

    def table(self, caption: str) -> list[list[str]]:
        """Return the rows of the first table whose caption begins so."""
        for table in self.tables:
            if table["caption"] and table["caption"][0][0].startswith(caption):
                return table["rows"]
        raise KeyError(caption)

    @property
    def words(self) -> str:
        """All visible text with single spaces."""
        return " ".join(self.text.split())
