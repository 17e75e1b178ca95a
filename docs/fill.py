"""Run the Python blocks of pages, and fill in what they print and draw: `python docs/fill.py docs/start/*.md`.

A block that prints is followed by a `text` block, which holds what it printed. A block that draws is followed by an
image, the drawing that it calls `figure`. The blocks of a page run in order and share their names.
"""

import contextlib
import io
import os
import re
import sys
import tempfile
import time
from pathlib import Path

PART = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<text>.*?)^```\n)?(?:\n!\[[^\]]*\]\((?P<image>[^)]*\.png)\)\n)?",
    re.DOTALL | re.MULTILINE,
)


def fill(page: Path) -> str:
    """The page's text with all that its blocks print; the figures are saved beside it."""
    names: dict = {}

    def filled(match: re.Match) -> str:
        start = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()) as said:
            exec(compile(match["code"], str(page), "exec"), names)
        if match["image"]:
            save(names["figure"], page.parent / match["image"])
        print(f"{page.name}: {time.process_time() - start:.1f} CPU seconds", file=sys.stderr)
        if match["text"] is None:
            if said.getvalue():
                raise ValueError(f"{page}: this block prints, but no text block follows it:\n{match['code']}")
            return match[0]
        return match[0].replace(f"```text\n{match['text']}", f"```text\n{said.getvalue()}")

    text, home = page.read_text(encoding="utf-8"), Path.cwd()
    page = page.resolve()
    with tempfile.TemporaryDirectory() as folder:  # blocks may write files
        os.chdir(folder)
        try:
            return PART.sub(filled, text)
        finally:
            os.chdir(home)


def save(figure, path: Path) -> None:
    """In 256 colours: few are used, and the file is a third of the size."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, pil_kwargs={"optimize": True})
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        one = Path(name)
        one.write_text(fill(one), encoding="utf-8")
