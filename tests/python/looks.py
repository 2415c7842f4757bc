"""Opens a page that `hfget --report` wrote in headless Chromium and looks at it: looks.py PAGE REPOS FOLDER

The page may make no request, no script may fail, and hostile names must stay text. Sorting and filtering must work with
the keyboard alone. At 320 pixels nothing may be wider than the screen. Screenshots go into FOLDER.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from playwright.sync_api import TimeoutError as TooLong

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def hold(right: bool, what: str) -> None:
    if not right:
        sys.exit(f"the page is not right: {what}")


def names(page: Page) -> list[str]:
    return [row.inner_text() for row in page.locator("#matrix tbody tr:not([hidden]) th").all()]


def look(page: Page, repos: int, folder: Path) -> None:
    hold(page.locator("#matrix tbody tr").count() == repos, "a row for each repo")
    hold(page.locator("img, iframe, object, embed, link, svg").count() == 0, "no element comes from a name")
    hold(page.locator("script").count() == 1, "one script")
    hold(page.locator("html[lang]").count() == 1 and page.title().startswith("hfget "), "language and title")
    # With the keyboard: to the heading of the first column, and sort by it.
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Repo":
            break
    hold(page.evaluate("document.activeElement.tagName") == "BUTTON", "a heading is reached with Tab")
    page.keyboard.press("Enter")
    up = names(page)
    hold(page.locator("th[aria-sort=ascending]").inner_text().startswith("Repo"), "the order is announced")
    page.keyboard.press("Enter")
    hold(names(page) == list(reversed(up)) and len(up) == repos, f"sorted the other way: {up}")
    page.locator("#text").focus()
    page.keyboard.type(up[0][:12])
    shown = names(page)
    hold(up[0] in shown and len(shown) < repos, f"the filter leaves {shown}")
    hold("shown" in page.locator("#count").inner_text(), "the number of shown rows is announced")
    page.locator("#text").fill("")
    page.locator("#tone").select_option("bad")
    hold(0 < len(names(page)) < repos, "only rows that are not right")
    page.locator("#tone").select_option("")
    page.locator("#matrix tbody a").first.click()
    # The browser reports the new address to the page later, sometimes much later on a busy machine.
    opened = "document.getElementById(location.hash.slice(1))?.querySelector('details')?.open"
    try:
        page.wait_for_function(opened, timeout=20_000)
    except TooLong:
        hold(False, "a link to a repo opens it")
    back = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        back[scheme] = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        shot = page.screenshot(path=str(folder / f"{scheme}.png"), full_page=True)
        hold(len(shot) > 5000, "something is drawn")
    hold(back["light"] != back["dark"], f"light and dark differ: {back}")
    page.set_viewport_size({"width": 320, "height": 640})
    wide = page.evaluate("document.scrollingElement.scrollWidth")
    hold(wide <= 320, f"at 320 pixels it is {wide} wide")
    page.screenshot(path=str(folder / "narrow.png"), full_page=True)
    page.emulate_media(media="print")
    hold(not page.locator("#filter").is_visible(), "controls are not printed")
    hold(len(page.pdf(path=str(folder / "print.pdf"))) > 5000, "it can be printed")


def main() -> None:
    address, repos, folder = Path(sys.argv[1]).resolve().as_uri(), int(sys.argv[2]), Path(sys.argv[3])
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    hold(browser is not None, "there is no browser")
    said: list[str] = []
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = running.new_page(viewport={"width": 1200, "height": 800})
        page.on("console", lambda message: said.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: request.url == address or said.append(f"request: {request.url}"))
        page.goto(address)
        look(page, repos, folder)
        running.close()
    hold(not said, "; ".join(said))
    print(f"looked at {repos} repos")


if __name__ == "__main__":
    main()
