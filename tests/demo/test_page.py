"""The page says what it is given, loads nothing, and does not call a loss a success."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from edge_rnn.demo.page import draw_page
from edge_rnn.demo.pictures.plot import ticks
from tests.demo.made_up import made_up_result

VOID = {"meta", "br", "img", "link"}


class Checked(HTMLParser):
    """Every element is closed, in the right order; collects tags and attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.links += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)


def tiles(page: str) -> dict[str, tuple[str, str]]:
    """Name of each tile to its look and figure."""
    found = re.findall(r'<span class="what">([^<]+)</span><b class="(\w*)">([^<]+)</b>', page)
    return {name: (look, figure) for name, look, figure in found}


def test_page_when_all_is_exact_then_shows_the_figures_and_every_picture():
    page = draw_page(made_up_result())
    shown = tiles(page)
    assert shown["accuracy"][1] == "50.0%"
    assert shown["lost"] == shown["doubled"] == shown["wrong"] == ("good", "0")
    assert shown["recovery"] == ("good", "1.5 s")
    assert shown["parity error"][1] == "6.5e-07"
    assert "nothing shows" in page
    pictures = re.findall(r'<svg [^>]*aria-label="([^"]+)"', page)
    assert len(pictures) == 10  # five, each wide and narrow
    assert len(set(pictures)) == 5
    assert page.count("<figcaption>") == 6
    for mark in ("SIGKILL", "started again", "first output", "records a second", "(s)"):
        assert f">{mark}<" in page or mark in page


def test_page_when_anything_is_lost_doubled_or_wrong_then_says_so_in_red():
    for spoiled, tile in (({"lost": 3}, "lost"), ({"doubled": 3}, "doubled"), ({"different": 3}, "wrong")):
        page = draw_page(made_up_result(**spoiled))
        assert tiles(page)[tile] == ("bad", "3")
        assert "nothing shows" not in page
        assert "not what they must be" in page


def test_page_is_well_formed_and_loads_nothing():
    page = draw_page(made_up_result())
    checked = Checked(page)
    assert not checked.open
    assert not checked.links
    assert not {"script", "link", "img", "iframe"} & set(checked.seen)
    assert "url(" not in page
    assert "@import" not in page


def test_page_when_names_hold_markup_then_they_are_escaped():
    page = draw_page(made_up_result())
    assert "watch-<1>" not in page
    assert "watch-&lt;1&gt;" in page
    assert "out/&lt;run&gt;" in page


def test_heat_map_when_a_stream_ends_wrong_then_has_a_cross():
    page = draw_page(made_up_result())
    assert page.count('class="tickmark"') == 2  # one stream, wide and narrow
    assert page.count('class="cross"') == 4
    assert "1 of 2 are wrong at the end" in page


def test_ticks_are_round_numbers_inside_the_range():
    assert ticks(0, 100, 8) == [0, 20, 40, 60, 80, 100]
    assert ticks(0.3, 1.05, 3) == [0.5, 1.0]
    assert ticks(5, 5, 3) == [5]
