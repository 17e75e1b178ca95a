"""The built site as people see it: every page in a browser, and what they do there."""

import ast
import json
import pathlib
import re
import urllib.parse

import pytest

import theorylab as tl

ROOT = pathlib.Path(tl.__path__[0])
PHONE, SCREEN = 390, 1400  # pixels

SEEN = r"""() => {
    const shown = (element) => element.checkVisibility({checkOpacity: true, checkVisibilityCSS: true});
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const small = new Set(), raw = new Set();
    while (walker.nextNode()) {
        const owner = walker.currentNode.parentElement, text = walker.currentNode.data.trim();
        if (!text || owner.closest("script, style, noscript, math") || !shown(owner)) continue;
        if (parseFloat(getComputedStyle(owner).fontSize) < 12) small.add(text.slice(0, 40));
        if (!owner.closest("pre, code") && /\$[^$]*\\[a-z]+[^$]*\$/.test(text)) raw.add(text.slice(0, 40));
    }
    const named = (image) => image.alt.trim() || image.closest("a, .sphx-glr-thumbcontainer")?.innerText.trim();
    const images = [...document.images];
    return {
        "wider than the screen by": Math.max(document.documentElement.scrollWidth - window.innerWidth, 0),
        "too small": [...small],
        "formulas left as they are": [...raw],
        "images without words": images.filter((image) => shown(image) && !named(image)).map((image) => image.src),
        "images without a picture": images.filter((image) => !image.naturalWidth).map((image) => image.src),
    };
}"""
CUT = r"""() => {
    for (const details of document.querySelectorAll("details")) details.open = true;
    const words = (element) => element.textContent.trim().slice(0, 60);
    const found = (where, wrong) =>
        [...document.querySelectorAll(where)].filter((one) => one.checkVisibility()).filter(wrong).map(words);
    const clipped = (element) => {
        const { left, right } = element.getBoundingClientRect();
        for (let around = element.parentElement; around; around = around.parentElement) {
            if (getComputedStyle(around).overflowX === "visible") continue;
            const box = around.getBoundingClientRect();
            if (right > box.right + 1 || left < box.left - 1) return true;
        }
        return right > window.innerWidth + 1 || left < -1;
    };
    return {
        "formulas that are cut": found("math", clipped),
        "bullets that are cut": found("article :is(ul, ol, li)", (e) => getComputedStyle(e).overflowX !== "visible"),
        "code that is cut": found("article pre, dt.sig", (e) => e.scrollWidth > e.clientWidth + 1),
    };
}"""
LOADED = """() => Promise.all([...document.images].map((image) => {
    image.loading = "eager";
    return image.decode().catch(() => 0);
}))"""


@pytest.fixture(scope="session")
def pages(site):
    """Every page of this build; the folder may hold those of builds before."""
    index = (site / "searchindex.js").read_text(encoding="utf-8").removeprefix("Search.setIndex(").removesuffix(")")
    return [f"{name}.html" for name in (*json.loads(index)["docnames"], "genindex", "search")]


def test_every_page_on_a_phone(pages, view):
    """No error, no failed request, none to another host; nothing wider than the screen, too small, or without words.

    Formulas and bullets are whole; code may scroll in its own box.
    """
    tab, wrong = view(PHONE)
    found = {}
    for page in pages:
        tab.goto(page)
        tab.evaluate(LOADED)
        seen = tab.evaluate(SEEN) | tab.evaluate(CUT) | {"wrong": wrong[:], "code that is cut": []}
        wrong.clear()
        if any(seen.values()):
            found[page] = {name: value for name, value in seen.items() if value}
    assert not found, json.dumps(found, indent=1)


def test_nothing_is_cut_on_a_screen(pages, view):
    tab, _ = view(SCREEN)
    found = {}
    for page in pages:
        tab.goto(page)
        if any((cut := tab.evaluate(CUT)).values()):
            found[page] = {name: value for name, value in cut.items() if value}
    assert not found, json.dumps(found, indent=1)


def test_missed_targets_are_marked_in_words(site):
    text = (site / "benchmarks.html").read_text(encoding="utf-8")
    kept = [json.loads(file.read_text()) for file in (ROOT.parent / "benchmarks" / "results").glob("*.json")]
    missed = [[row for row in one["rows"] if row["target"] and row["ratio"] < row["target"]] for one in kept]
    assert text.count("<strong>missed</strong>") == sum(map(len, missed))
    assert all(f" {len(rows)} of " in text for rows in missed)


def test_search_finds_a_paper(view):
    tab, wrong = view()
    tab.goto("search.html?q=reshuffling")
    tab.wait_for_selector("#search-results a[href*='papers/seg_rr']")
    assert not wrong


def test_the_filter_by_keyboard(view):
    tab, wrong = view()
    tab.goto("papers/index.html")
    papers = [tl.papers.find(slug) for slug in tl.papers.slugs()]
    shown = tab.locator(".paper:visible")
    assert shown.count() == len(papers)
    tab.locator("#paper-filter select").first.focus()
    tab.keyboard.type("games")  # selects the option, as in every list
    games = [paper for paper in papers if paper.room == "games"]
    assert shown.count() == len(games) < len(papers)
    tab.keyboard.press("Tab")
    tab.keyboard.type("every")
    kept = [paper.slug for paper in games if paper.status == "holds"]
    assert shown.count() == len(kept) < len(games)
    assert tab.locator("#paper-filter output").inner_text() == f"{len(kept)} of {len(papers)} papers"
    tab.keyboard.press("Tab")
    tab.keyboard.type("cores")
    assert shown.count() == len([paper for paper in games if paper.core and paper.slug in kept])
    tab.keyboard.press("Home")
    shown.first.get_by_role("link").click()
    tab.wait_for_url(f"**/papers/{kept[0]}.html")
    assert not wrong


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_stand_out_from_their_ground(view, theme):
    """The contrast of running text and of verdicts is that of WCAG's level AA, 4.5."""
    tab, _ = view()
    tab.emulate_media(color_scheme=theme)
    tab.goto("papers/lora_gradient_flow.html")
    ground = _luminance(tab, "body", "backgroundColor")
    for where in ("article p", ".verdict.holds", ".verdict.fails", "article a.external"):
        ink = _luminance(tab, where, "color")
        assert (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05) >= 4.5, where


def _luminance(tab, where, what):
    text = tab.locator(where).first.evaluate(f"(element) => getComputedStyle(element).{what}")
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4
              for x in (int(part) / 255 for part in re.findall(r"\d+", text)[:3])]  # fmt: skip
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_paper_has_its_page(site):
    for slug in tl.papers.slugs():
        text = (site / "papers" / f"{slug}.html").read_text(encoding="utf-8")
        for claim in tl.papers.find(slug).claims:
            assert f"claim-{claim.id}".replace("_", "-") in text, f"{slug}: {claim.id}"


def test_every_public_name_is_in_the_reference(site):
    """Those that the stubs list, under the very name by which one imports them, or a longer one."""
    text = "".join(path.read_text(encoding="utf-8") for path in (site / "api").glob("*.html"))
    anchors = set(re.findall(r'id="([\w.-]+)"', text))
    for stub in ROOT.rglob("__init__.pyi"):
        package = ".".join(stub.parent.relative_to(ROOT.parent).parts)
        for node in ast.walk(ast.parse(stub.read_text())):
            for alias in getattr(node, "names", ()):
                names = {f"{package}.{alias.asname}", f"theorylab.{alias.asname}", f"module-{package}.{alias.asname}"}
                names |= {f"{package}.{node.module}.{alias.name}"}  # of a package within a room
                assert anchors & (names | {f"module-theorylab.{alias.asname}"}), f"{package}.{alias.asname}"


def test_links_lead_somewhere(site, pages):
    broken = []
    for page in pages:
        for target in re.findall(r'(?:href|src)="([^"]+)"', (site / page).read_text(encoding="utf-8")):
            parts = urllib.parse.urlsplit(target)
            path = (site / page).parent / urllib.parse.unquote(parts.path)
            if not parts.scheme and parts.path and not path.exists():
                broken.append(f"{page}: {target}")
    assert not broken


def test_every_example_has_a_notebook(site):
    examples = [path for path in (site / "examples").glob("*.html") if path.stem not in ("index", "sg_execution_times")]
    assert examples
    for example in examples:
        (target,) = set(re.findall(r'href="(\.\./_downloads/[^"]+\.ipynb)"', example.read_text(encoding="utf-8")))
        notebook = json.loads((example.parent / target).read_text(encoding="utf-8"))
        assert any(cell["cell_type"] == "code" for cell in notebook["cells"])
