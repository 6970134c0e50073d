"""Photograph the page of ``crossent explore`` in the system's Chromium, light and dark.

    python docs/figures/explore.py     writes docs/figures/explore-light.png and explore-dark.png

The page is the exported file: no server runs, and nothing is loaded.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from playwright.sync_api import sync_playwright

from crossent.explorer import export

OUT = Path(__file__).parent


@dataclass(frozen=True)
class Picture:
    """What is photographed: the view in the address, and the window."""

    name: str
    view: str
    scheme: Literal["light", "dark"]
    width: int
    height: int


SOFT = "q=0.5,0.2,0.3&p=0.2,0.3,0.5"
PICTURES = (
    Picture("explore-light", "story=dog&prediction=2&raise=cat&pay=dog", "light", 1440, 1000),
    Picture(
        "explore-dark",
        f"{SOFT}&raise=bird&pay=nobody&show=euclidean,natural,logit,balls",
        "dark",
        1280,
        980,
    ),
)


def main() -> None:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        raise SystemExit("there is no chromium: apt-get install chromium, or set CHROMIUM to its path")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = export(Path(folder) / "explore.html")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for picture in PICTURES:
            page = browser.new_page(
                viewport={"width": picture.width, "height": picture.height},
                color_scheme=picture.scheme,
                reduced_motion="reduce",
            )
            page.goto(f"{page_file.as_uri()}#{picture.view}")
            page.wait_for_selector("html[data-ready=yes]")
            part = OUT / f".{picture.name}.part.png"
            page.screenshot(path=part)
            part.replace(OUT / f"{picture.name}.png")
            print(OUT / f"{picture.name}.png")
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
