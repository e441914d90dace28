"""HTML by hand: nothing of a snapshot becomes markup, tables and pages are whole."""

import numpy as np
from html_kit import Reader, read_page

from reporting.figures import GREY, INK, Line, lines, paths, scatter
from reporting.media import MOST_BYTES, jpeg, narrowed, video
from reporting.page import Html, Part, Tile, code, escaped, facts, figure, image, joined, page, paragraph, row, table

BAD = "<script>alert('x')</script>&\""


def test_texts_are_no_markup():
    for made in (paragraph(BAD), code(BAD), facts({BAD: BAD}), table((BAD, BAD), [(BAD, BAD)], BAD), escaped(BAD)):
        assert "<script" not in made and "&lt;script&gt;" in made
        assert BAD in "".join(Reader(made).words)
    assert escaped(Html("<b>x</b>")) == "<b>x</b>"
    whole = page(BAD, BAD, [Tile(BAD, BAD, BAD)], [Part("a", BAD, paragraph(BAD))], BAD)
    # the title twice, the line under it, three of a tile, link, heading, paragraph, foot
    assert "".join(read_page(whole).words).count(BAD) == 10


def test_a_table_by_hand():
    shaded = [[0.5, None], [2, 0]]
    made = table(("who", "a", "b"), [("x", 1, "-"), ("y", 2, 3)], "of", words=(2,), shaded=shaded, most=[(1, 1)])
    assert '<th scope="row">x</th><td class="shade" style="--part:0.500">1</td><td class="words">-</td>' in made
    assert '<td class="shade most" style="--part:1.000">2</td>' in made and made.count("<tr>") == 3
    assert 'class="scroll" role="region" tabindex="0" aria-label="of"' in made


def test_figures_take_the_ink_of_the_page():
    ways = [[np.array([[0.0, 0.0], [1.0, 2.0]])]]
    walls = np.array([[[0.0, 0.0], [1.0, 0.0]]])
    cloud = np.random.default_rng(0).normal(size=(50, 2))
    two = [Line("a", [1, 2], np.array([1.0, 2.0])), Line("b", [1, 2], np.array([2.0, 1.0]), colour=GREY)]
    band = Line("a", range(99), np.arange(99.0), np.zeros(99), np.ones(99))
    made = [
        lines(two, BAD, "x", "y"),
        lines([band], "band", "x", "y", small=True, zero=True),
        scatter([("random actions", cloud), ("skill 0", cloud + 3)], "cloud", "x", "y"),
        paths(ways, walls, "ways", ("x", "y")),
        paths(ways, np.empty((0, 2, 2)), "ways", ("x", "y")),
    ]
    shown = page("t", "u", [], [Part("a", "b", row(*(figure(one, "") for one in made)))], "f")
    read_page(shown)  # ids of several figures are their own
    assert INK not in shown and all("currentColor" in one for one in made)
    assert all(name in made[0] for name in (">a<", ">b<")) and "random actions" in made[2]


def test_media_are_bounded_and_have_words():
    noise = np.random.default_rng(0).integers(0, 255, (70, 60, 1500, 3), np.uint8)
    shown, size = video(noise, "a film")
    assert len(shown) < 1.4 * MOST_BYTES and size.endswith("MB")
    still = narrowed(noise[:2], 750)
    assert still.shape == (2, 30, 750, 3) and narrowed(still, 800) is still
    parts = joined(figure(shown, "film"), figure(image(jpeg(still[0]), "image/jpeg", BAD), "still", "wide"))
    page_of = read_page(page("t", "u", [], [Part("a", "b", parts)], "f"))
    assert any(source.startswith(("data:video/mp4", "data:image/gif")) for source in page_of.sources)
