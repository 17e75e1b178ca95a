"""The documentation: `python -m sphinx -W --keep-going docs docs/_build/html`, from committed results, offline."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent), str(HERE.parent / "benchmarks")]

import api  # noqa: E402
import table  # noqa: E402

import theorylab  # noqa: E402
from theorylab.report import pages  # noqa: E402

project, author, copyright = "theorylab", "The theorylab developers", "The theorylab developers"
release = theorylab.__version__
html_title = "theorylab"

extensions = ["myst_nb", "sphinx_gallery.gen_gallery", "mathml"]
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "attrs_inline", "attrs_block"]
myst_heading_anchors = 3
myst_update_mathjax = False
nb_execution_mode = "off"  # blocks of guides run as tests
html_math_renderer = "mathml"
default_role = "literal"  # what stands in single backticks in examples, as in Markdown

exclude_patterns = ["_build", "gallery", "results", "examples/*.ipynb"]
nitpicky = True
nitpick_ignore_regex = [(r"py:(class|exc|data)", ".*")]  # types in signatures are other libraries'
add_module_names = False
python_maximum_signature_line_length = 80
highlight_language = "python"

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "examples",
    "filename_pattern": r"^(?!.*_slow\.py).*\.py$",
    "plot_gallery": True,
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 5,
    "write_computation_times": False,
}

html_theme = "sphinx_book_theme"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/favicon.svg"
html_context = {"default_mode": "auto"}
html_js_files = ["filter.js"]
html_theme_options = {
    "show_navbar_depth": 1,
    "navbar_persistent": [],
    "use_download_button": False,
    "use_fullscreen_button": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_show_sourcelink = False


def write_pages(app):
    """Pages that are made: one a paper, one a package, and the benchmarks."""
    made = {f"papers/{name}.md": text for name, text in pages.pages(HERE / "results").items()}
    made |= {f"api/{name}.md": text for name, text in api.pages().items()}
    made["benchmarks.md"] = table.page(table.contents())
    for folder in ("papers", "api"):
        (HERE / folder).mkdir(exist_ok=True)
        for old in (HERE / folder).glob("*.md"):
            if f"{folder}/{old.name}" not in made:
                old.unlink()
    for name, text in made.items():
        path = HERE / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:  # what did not change is not built again
            path.write_text(text, encoding="utf-8")


def setup(app):
    app.connect("builder-inited", write_pages)
