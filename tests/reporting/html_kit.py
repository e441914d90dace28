"""Reads a page as a browser would: whether every tag is closed, and what it would fetch."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "link"}


class Reader(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.sources, self.missing_alt, self.words = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [found["id"]] if "id" in found else []
        self.sources += [found[key] for key in ("src", "href", "xlink:href", "poster") if key in found]
        if tag == "img" and not found.get("alt") or tag in ("svg", "video") and not found.get("aria-label"):
            self.missing_alt.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def read_page(text):
    """The page, which is whole, fetches nothing and has words for all there is to see."""
    page = Reader(text)
    assert text.startswith("<!doctype html>") and page.missing_alt == []
    assert len(page.ids) == len(set(page.ids))
    assert all(source.startswith(("data:", "#")) for source in page.sources)
    assert not any(word in text for word in ("<script", "@import", "url(http"))
    return page
