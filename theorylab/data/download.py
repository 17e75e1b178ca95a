"""Files from the network: where they are kept, and a download that leaves a whole, checked file or none."""

import hashlib
import os
import uuid
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

BLOCK = 1 << 18  # bytes


def cache_folder() -> Path:
    """Where downloaded data sets are kept: `$THEORYLAB_DATA`, else `theorylab/data` in the user's cache.

    The user's cache is `$XDG_CACHE_HOME`, else `~/.cache`.

    **Returns** a path; the folder need not exist.

    **Source**: the XDG base directory specification.

        >>> import theorylab as tl
        >>> tl.data.cache_folder().is_absolute()
        True
    """
    given = os.environ.get("THEORYLAB_DATA")
    if given:
        return Path(given).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "theorylab" / "data"


def fetch(name: str, *, mirrors: Sequence[str], checksum: str, folder: str | os.PathLike[str]) -> Path:
    """The file of a name in a folder, downloaded if it is not there, and its checksum tested either way.

    It is written under another name, tested and renamed: what bears the name is whole, whoever downloads it at the
    same time or is stopped half-way. A bar on stderr shows the progress.

    **Arguments**: `name`, of the file; `mirrors`, addresses that end in a slash, to which the name is added, tried in
    turn; `checksum`, as `"sha256:..."`, or another kind that `hashlib` knows, in hexadecimal digits; `folder`, made if
    need be.

    **Returns** the file's path.

    **Raises** `ConnectionError` where no mirror gives the file, with what each one said; `ValueError` where the file is
    there already and has another checksum.

    **Source**: derived here.

        >>> import hashlib, pathlib, tempfile, theorylab as tl
        >>> here = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (here / "three").write_bytes(b"abc")
        >>> checksum = "sha256:" + hashlib.sha256(b"abc").hexdigest()
        >>> tl.data.fetch("three", mirrors=[here.as_uri() + "/"], checksum=checksum, folder=here / "kept").read_bytes()
        b'abc'
    """
    path = Path(folder) / name
    kind = checksum.partition(":")[0]
    if path.exists():
        with open(path, "rb") as file:
            found = f"{kind}:{hashlib.file_digest(file, kind).hexdigest()}"
        if found != checksum:
            raise ValueError(
                f"{path} has the checksum {found} where {checksum} is expected: delete it, and it is downloaded anew"
            )
        return path
    failures = []
    for mirror in mirrors:
        try:
            return _download(mirror + name, path, checksum)
        except (OSError, HTTPException) as error:
            failures.append(f"  {mirror + name}: {error}")
    raise ConnectionError(
        "\n".join([f"{name} could not be downloaded. Tried:", *failures])
        + f"\nDownload it elsewhere and put it into {path.parent}, or pass a folder that has it as root="
    )


def _download(url: str, path: Path, checksum: str) -> Path:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    kind = checksum.partition(":")[0]
    digest, received = hashlib.new(kind), 0
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    try:
        with (
            urlopen(url, timeout=30) as response,
            open(temporary, "wb") as file,
            Progress(*columns, console=Console(stderr=True), transient=True) as bar,
        ):
            length = response.headers["Content-Length"]
            length = None if length is None else int(length)
            task = bar.add_task(path.name, total=length)
            while block := response.read(BLOCK):
                file.write(block)
                digest.update(block)
                received += len(block)
                bar.update(task, completed=received)
            if length is not None and received != length:
                raise OSError(f"it ended after {received:,} of {length:,} bytes")
            found = f"{kind}:{digest.hexdigest()}"
            if found != checksum:
                raise OSError(f"its checksum is {found} where {checksum} is expected")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def find(root: str | os.PathLike[str], places: Sequence[str]) -> Path:
    """The first of some places under a user's folder where there is a file.

    **Raises** `FileNotFoundError`, with what was looked for.
    """
    for place in places:
        if (path := Path(root) / place).is_file():
            return path
    raise FileNotFoundError(
        f"root = {os.fspath(root)!r} has none of {', '.join(places)}: name a folder that has one, or leave root"
        " out to download it"
    )
