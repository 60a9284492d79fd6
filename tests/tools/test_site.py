"""The site, as `tutorials/site/build.py` has built it: its pages, links and pictures, in a browser.

    python tutorials/site/build.py --quick
    python -m pytest -n 0 -m slow tests/tools/test_site.py -rP

With ``-rP`` the addresses outside of the site are listed; nobody visits them.
"""

import functools
import http.server
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

import every_tutorial
from minisd.experiments.catalogue import EXPERIMENTS
from minisd.tutorial import notebooks

ROOT = Path(__file__).parents[2]
HTML = Path(os.environ.get("MINISD_SITE", ROOT / "build" / "site" / "html"))
if not (HTML / "index.html").is_file():
    pytest.skip("no site: python tutorials/site/build.py builds it", allow_module_level=True)
pytestmark = pytest.mark.slow
LESSONS = [script.stem for script in notebooks.scripts(every_tutorial.FOLDER)]
RESULTS = sorted((ROOT / "tutorials" / "results").glob("*/*.csv"))


class Page(HTMLParser):
    """What a page links to, its anchors, pictures and text."""

    def __init__(self, path: Path):
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.pictures: list[dict[str, str]] = []
        self.classes: list[str] = []
        self.tags: list[str] = []
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.classes += found.get("class", "").split()
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "img":
            self.pictures.append(found)
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        self.loaded += [found["src"]] if "src" in found else []
        if tag == "link" and found.get("rel") != "canonical":
            self.loaded += [found["href"]]


@functools.cache
def page(path: Path) -> Page:
    return Page(path)


PAGES = sorted(HTML.rglob("*.html"))


def lesson(stem: str) -> Page:
    return page(HTML / "tutorials" / f"{stem}.html")


def test_no_link_is_broken():
    broken, outside = [], set()
    for path in PAGES:
        for link in page(path).links:
            address, anchor = urldefrag(link)
            if urlsplit(link).scheme:
                outside.add(address)
                continue
            target = (path.parent / unquote(address)).resolve() if address else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or (
                anchor and target.suffix == ".html" and unquote(anchor) not in page(target).anchors
            ):
                broken.append(f"{path.relative_to(HTML)}: {link}")
    print(f"{len(PAGES)} pages. Not visited:", *sorted(outside), sep="\n")
    assert not broken, "\n".join(broken)
    assert {urlsplit(address).scheme for address in outside} <= {"https", "http"}


def test_nothing_is_loaded_from_elsewhere():
    for path in PAGES:
        for source in page(path).loaded:
            if source.startswith("#"):  # of the page itself
                continue
            assert not urlsplit(source).netloc, f"{path}: {source}"
            assert (path.parent / unquote(urlsplit(source).path)).is_file(), f"{path}: {source}"


def test_every_picture_has_an_alternative_text():
    for path in PAGES:
        for picture in page(path).pictures:
            assert len(picture.get("alt", "")) > 10, f"{path}: {picture}"
            assert not picture["alt"].endswith(".png"), f"{path}: {picture}"


@pytest.mark.parametrize("stem", LESSONS)
def test_a_tutorial_has_its_outputs_and_figures(stem):
    found, script = lesson(stem), (every_tutorial.FOLDER / f"{stem}.py").read_text(encoding="utf-8")
    alts = {picture["alt"] for picture in found.pictures}
    assert found.text.count("holds   ") >= 5
    assert "exercise 3 is yours to write" in found.text
    assert len(alts) == len(found.pictures) == script.count("    alt=")
    assert found.classes.count("hide") == found.tags.count("details") == len(alts)  # folded
    assert found.tags.count("math") > 5 or stem[:2] == "09"


def test_the_gallery_has_every_experiment_with_figures_captions_and_numbers():
    found = page(HTML / "tutorials" / "site" / "experiments.html")
    assert {name.replace("_", "-") for name in EXPERIMENTS} <= found.anchors
    for numbers in RESULTS:
        caption = numbers.read_text(encoding="utf-8").split(". ")[0].removeprefix("# ")
        assert caption.split(";")[0].split("(")[0].strip()[:40] in found.text
        assert any(link.endswith(f"/{numbers.name}") for link in found.links), numbers
    assert found.tags.count("figcaption") == len(RESULTS)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_the_paper_s_equations_lead_to_the_lines_that_implement_them(number):
    found = page(HTML / "tutorials" / "site" / "paper.html")
    part = found.text.partition(f'id="equation-{number}"')[2].partition("<section")[0]
    assert "<math" in part
    lines = re.findall(r'href="[./]*(_modules/[\w/]+\.html)#L(\d+)"', part)
    assert lines
    for module, line in lines:
        text = page(HTML / module).text.partition(f'id="L{line}"')[2].partition("\n")[0]
        before = page(HTML / module).text.partition(f'id="L{int(line) - 1}"')[2][:400]
        assert re.search(rf"eqs?\. .*{number}", re.sub("<[^>]+>", "", before + text)), (
            module,
            line,
        )


def test_the_reference_has_what_the_package_exports():
    import minisd

    anchors = set().union(*(page(path).anchors for path in (HTML / "api").glob("*.html")))
    for name in minisd.__all__:
        thing = getattr(minisd, name)
        if hasattr(thing, "__qualname__"):
            assert f"{thing.__module__}.{name}" in anchors


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Serve the site on this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    serve = functools.partial(Quiet, directory=str(HTML))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window, and without a network but this machine."""
    webdriver = pytest.importorskip("selenium.webdriver")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (program and driver):
        pytest.skip("no browser: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.chrome.service.Service(driver)
    running = webdriver.Chrome(options=options, service=service)
    yield running
    running.quit()


def look(browser: Any, width: int, colours: str) -> None:
    """Give the page a width, and light or dark colours."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": colours}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


FORMULAS = """
const drawn = [...document.querySelectorAll('article math')].map(m => m.getBoundingClientRect());
const left = [...document.querySelectorAll('article p, article li, article td')].filter(e =>
  [...e.childNodes].some(n => n.nodeType === 3 && /\\$|\\\\(frac|mathrm|sum|text)/.test(n.data)));
return {
  invisible: drawn.filter(box => box.width < 2 || box.height < 4).length,
  font: !drawn.length || document.fonts.check("16px 'STIX Two Math'"),
  errors: document.querySelectorAll('article merror').length,
  left: left.map(e => e.textContent.slice(0, 80)),
};
"""
CUT = """
const scrolls = e => ['auto', 'scroll'].includes(getComputedStyle(e).overflowX);
const cut = [...document.querySelectorAll('article *')].filter(e => {
  const box = e.getBoundingClientRect();
  if (!box.width || !box.height || box.right <= innerWidth + 1) return false;
  for (let a = e.parentElement; a && a.tagName !== 'ARTICLE'; a = a.parentElement)
    if (scrolls(a)) return false;
  return true;
});
return cut.map(e => `${e.tagName}.${e.className} ${e.textContent.slice(0, 40)}`);
"""
FAINT = """
const parse = colour => {
  const found = colour.match(/[\\d.]+/g).map(Number);
  return colour.startsWith('color(srgb')
    ? [found[0] * 255, found[1] * 255, found[2] * 255, found[3] ?? 1]
    : [found[0], found[1], found[2], found[3] ?? 1];
};
const over = (top, bottom) => [0, 1, 2].map(i => top[i] * top[3] + bottom[i] * (1 - top[3]));
const light = c => {
  const [r, g, b] = c.slice(0, 3).map(v => {
    v /= 255;
    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = element => {
  const above = [];
  for (let e = element; e; e = e.parentElement) {
    const colour = parse(getComputedStyle(e).backgroundColor);
    if (colour[3] > 0) above.push(colour);
    if (colour[3] === 1) break;
  }
  return above.reverse().reduce((bottom, top) => over(top, bottom), [255, 255, 255]);
};
const faint = new Map();
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  const style = getComputedStyle(element), box = element.getBoundingClientRect();
  if (!walker.currentNode.data.trim() || !box.width || !box.height) continue;
  if (style.visibility === 'hidden' || element.closest('script, style, svg, noscript')) continue;
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && parseInt(style.fontWeight) >= 700);
  const back = ground(element), front = over(parse(style.color), back);
  const [high, low] = [light(front), light(back)].sort((a, b) => b - a);
  const contrast = (high + 0.05) / (low + 0.05);
  const name = `${element.tagName}.${element.className}`;
  if (contrast < (large ? 3 : 4.5)) {
    const what = `${name} ${style.color} on ${back.map(Math.round)}`;
    faint.set(what, [contrast.toFixed(2), walker.currentNode.data.trim().slice(0, 30)]);
  }
}
return [...faint];
"""


def test_every_page_can_be_read_in_a_browser_on_a_phone_and_in_the_dark(browser, address):
    wrong = []
    for path in PAGES:
        name = path.relative_to(HTML).as_posix()
        look(browser, 390, "dark")
        browser.get(f"{address}/{name}")
        told = browser.get_log("browser")
        formulas = browser.execute_script(FORMULAS)
        width = browser.execute_script("return document.documentElement.scrollWidth")
        cut = browser.execute_script(CUT)
        faint = browser.execute_script(FAINT)
        look(browser, 1280, "light")
        faint += browser.execute_script(FAINT)
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        told += browser.get_log("browser")
        if told or width > 390 or wide > 1280 or cut or faint:
            wrong.append((name, told, width, wide, cut, faint))
        if formulas["invisible"] or formulas["errors"] or formulas["left"] or not formulas["font"]:
            wrong.append((name, formulas))
    assert not wrong, "\n".join(map(str, wrong))


def test_a_browser_that_tells_of_errors_is_heard(browser, address):
    look(browser, 390, "light")
    browser.get(f"{address}/index.html")
    browser.execute_script(
        "document.querySelector('article p').innerHTML ="
        "'<img src=\"no.png\"><span style=\"color: #bbb; white-space: pre\">' + 'w'.repeat(200)"
    )
    assert browser.execute_script(FAINT)
    assert browser.execute_script(CUT)
    deadline, said = time.monotonic() + 10, ""
    while "no.png" not in said:
        assert time.monotonic() < deadline, said
        time.sleep(0.1)
        said += "".join(line["message"] for line in browser.get_log("browser"))
