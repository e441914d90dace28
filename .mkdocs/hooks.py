"""What makes a site of these pages: pages from outside docs/, and links to them and to files of the checkout."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"README.md": "start.md", "CONTRIBUTING.md": "contributing.md", "benchmarks/README.md": "benchmarks/README.md"}
"""Pages that lie outside docs/, and what they are on the site; its README.md would be its index."""
SOURCES = {page: source for source, page in PAGES.items()}
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages, and every file that a page links to and that is not among them."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    there = {file.src_uri for file in files}
    for page in [file.src_uri for file in files if file.src_uri.endswith(".md")]:
        for target in sorted(_targets(page) - there):
            if (ROOT / target).is_file():
                files.append(File.generated(config, target, content=(ROOT / target).read_bytes()))
                there.add(target)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links as the site has them."""
    here = posixpath.dirname(page.file.src_uri) or "."

    def at(match: re.Match[str]) -> str:
        before, target, anchor, after = match.groups()
        if "://" not in target:
            target = posixpath.relpath(_place(_source(page.file.src_uri), target), here)
        return f"{before}{target}{anchor or ''}{after}"

    return LINK.sub(at, markdown)


def _source(page: str) -> str:
    """The file of the checkout that a page of the site is."""
    return SOURCES.get(page, f"docs/{page}")


def _targets(page: str) -> set[str]:
    """Where the links of a page lead, as the site has them."""
    source = _source(page)
    text = (ROOT / source).read_text(encoding="utf-8")
    return {_place(source, target) for _, target, _, _ in LINK.findall(text) if "://" not in target}


def _place(source: str, target: str) -> str:
    """Where on the site a link of the file ``source`` leads: docs/ is its root, and the rest of the checkout, too."""
    place = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    return PAGES.get(place, place.removeprefix("docs/"))
