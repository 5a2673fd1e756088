"""Checks the built site: `python docs/check_site.py build/docs [--screenshots FOLDER]`.

Every internal link and anchor must exist, and every page must be reachable from the first. No page may load anything
from another host. If Chromium is there, it opens some pages from a server on this machine, without any other host: no
error may be logged, and the search must find a family.
"""

import argparse
import http.server
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADING = {"script": "src", "img": "src", "source": "src", "iframe": "src", "video": "src", "audio": "src"}
LOADING |= {"link": "href", "embed": "src", "object": "data", "use": "href", "image": "href"}
NOT_LOADED = {
    "index",
    "search",
    "next",
    "prev",
    "author",
    "canonical",
}  # links that a browser does not follow by itself
IN_CSS = re.compile(r"""(?:url\(|@import)\s*["']?\s*((?:https?:)?//[^"')\s]+)""")
SHOWN = ["index", "reference/gallery", "reference/families/tanh_normal", "reference/policy", "notebooks/ppo_taxi"]
WIDTHS = (1280, 390)
OPTIONS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
OPTIONS += ["--enable-logging=stderr", "--virtual-time-budget=10000"]
OPTIONS += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]  # no other host answers


class Page(HTMLParser):
    """The anchors of a page, its links, and what a browser loads to show it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors, self.links, self.loaded = {"", "top"}, list[str](), list[str]()
        text = path.read_text()
        self.feed(text)
        self.loaded += IN_CSS.findall(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if LOADING.get(tag) in given and given.get("rel") not in NOT_LOADED:
            self.loaded.append(given[LOADING[tag]])
        self.loaded += [part.split()[0] for part in given.get("srcset", "").split(",") if part.strip()]


def is_elsewhere(url: str) -> bool:
    """Return whether a URL names another host or scheme, `data:` excepted."""
    parts = urlsplit(url)
    return bool(parts.netloc) or parts.scheme not in ("", "data")


def problems_of_files(site: Path) -> Iterator[str]:
    """Yield what is wrong with links, anchors and loaded files."""
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob("*.html"))}
    reached = {(site / "index.html").resolve()}
    count = 0
    for path, page in pages.items():
        here = path.relative_to(site.resolve())
        for url in (url for url in page.loaded if is_elsewhere(url)):
            yield f"{here} loads {url}"
        for url in [*page.links, *page.loaded]:
            if is_elsewhere(url) or url.startswith("data:"):
                continue
            count += 1
            parts = urlsplit(url)
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                yield f"{here} links to {url}, which does not exist"
            elif target in pages:
                reached.add(target)
                if unquote(parts.fragment) not in pages[target].anchors:
                    yield f"{here} links to {url}, a page without that anchor"
    yield from (f"{path.relative_to(site.resolve())}: no page links to it" for path in pages if path not in reached)
    for path in sorted(site.rglob("*.css")):
        yield from (f"{path.relative_to(site)} loads {url}" for url in IN_CSS.findall(path.read_text()))
    print(f"{len(pages)} pages, {count} links within the site", flush=True)


# ------------------------------------------------------------------------------------------------------------- browser
class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line for each."""

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def browse(chromium: str, url: str, *options: str) -> tuple[str, list[str]]:
    """Return the page as the browser shows it, and the messages of its console."""
    with tempfile.TemporaryDirectory() as profile:
        run = subprocess.run(
            [chromium, *OPTIONS, f"--user-data-dir={profile}", *options, url],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    return run.stdout, [line for line in run.stderr.splitlines() if "CONSOLE" in line]


def problems_in_browser(chromium: str, site: Path, screenshots: Path | None) -> Iterator[str]:
    """Yield what the console of a browser says, and whether the search finds nothing."""
    handler = partial(QuietHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        for page in SHOWN:
            _, messages = browse(chromium, f"{base}/{page}.html", "--dump-dom")
            yield from (f"{page}: {message}" for message in messages)
            for width in WIDTHS if screenshots else ():
                name = screenshots / f"{page.replace('/', '_')}_{width}.png"
                browse(chromium, f"{base}/{page}.html", f"--screenshot={name}", f"--window-size={width},1600")
        found, messages = browse(chromium, f"{base}/search.html?q=truncated", "--dump-dom")
        yield from (f"search: {message}" for message in messages)
        if "reference/families/truncated_normal.html" not in found:
            yield "the search does not find truncated_normal"
        server.shutdown()
    print(f"{len(SHOWN)} pages and the search in Chromium", flush=True)


def main() -> int:
    """Check the site; print the problems, and return 1 if there are any."""
    parser = argparse.ArgumentParser(description="Check the links, the loaded files and the console of the built site.")
    parser.add_argument("site", type=Path)
    parser.add_argument("--screenshots", type=Path, help="folder for pictures of pages at two widths")
    args = parser.parse_args()
    problems = list(problems_of_files(args.site))
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium:
        if args.screenshots:
            args.screenshots.mkdir(parents=True, exist_ok=True)
        problems += problems_in_browser(chromium, args.site, args.screenshots)
    else:
        print("no Chromium here: consoles and search are not checked")
    print("\n".join(problems) or "no problems")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
