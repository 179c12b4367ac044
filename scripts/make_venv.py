"""Make a virtual environment with a current pip, also where Debian has split ``ensurepip`` off.

Only the standard library is used: this runs before anything is installed. In order of preference: ``venv`` with
its own pip; a bare ``venv`` filled by the interpreter's pip; filled by a pip wheel from the configured package
index; Debian's ``python3-venv`` where apt may be used. Otherwise it says what to install.
"""

from __future__ import annotations

import configparser
import hashlib
import html.parser
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import venv
from pathlib import Path

OLDEST = (3, 11)
# `pip install --group` came with 25.1.
PIP = "pip>=25.1"


class Links(html.parser.HTMLParser):
    """The targets of the links of a package index's page."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.targets += [value for name, value in attrs if name == "href" and value]


def configured_index() -> str | None:
    """The index that pip would use here: ``PIP_INDEX_URL``, else pip's configuration files, else ``None``."""
    if url := os.environ.get("PIP_INDEX_URL"):
        return url
    home = Path.home()
    for path in (home / ".config/pip/pip.conf", home / ".pip/pip.conf", Path("/etc/pip.conf")):
        settings = configparser.ConfigParser(interpolation=None, strict=False)
        settings.read(path)
        if url := settings.get("global", "index-url", fallback=None):
            return url
    return None


def fetch_pip(index: str, folder: Path) -> Path:
    """Download the newest pip wheel from ``index`` into ``folder`` and give its path."""
    page = index.rstrip("/") + "/pip/"
    parser = Links()
    with urllib.request.urlopen(page, timeout=60) as answer:
        parser.feed(answer.read().decode())
    wheels = {}
    for target in parser.targets:
        if match := re.search(r"/?(pip-(\d+(?:\.\d+)+)-py3-none-any\.whl)(?:#|$)", target):
            wheels[tuple(map(int, match[2].split(".")))] = (match[1], urllib.parse.urljoin(page, target))
    if not wheels:
        raise LookupError(f"{page} lists no wheel of pip")
    name, url = wheels[max(wheels)]
    wheel = folder / name
    with urllib.request.urlopen(url, timeout=60) as answer:
        content = answer.read()
    # The page names the digest in the link's fragment; this file is about to be run.
    if (match := re.search(r"#sha256=([0-9a-f]{64})", url)) and hashlib.sha256(content).hexdigest() != match[
        1
    ]:
        raise LookupError(f"{url} is damaged: its digest is not the one that {page} names")
    wheel.write_bytes(content)
    return wheel


def install_pip(python: Path) -> bool:
    """Put pip into the environment of ``python`` without ``ensurepip``; false if there is no way to."""
    if importlib.util.find_spec("pip") is not None:
        # `--python` needs pip 22.3; a target folder works with every pip.
        site = subprocess.check_output(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
        )
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", site.strip(), PIP]
        return subprocess.run(command, check=False).returncode == 0
    if index := configured_index():
        with tempfile.TemporaryDirectory() as folder:
            try:
                wheel = fetch_pip(index, Path(folder))
            except (OSError, LookupError, urllib.error.URLError) as error:
                print(f"make_venv: no pip from the package index: {error}", file=sys.stderr)
                return False
            command = [str(python), f"{wheel}/pip", "install", "--quiet", "--no-index", str(wheel)]
            return subprocess.run(command, check=False).returncode == 0
    return False


def apt_install_venv() -> bool:
    """Install Debian's ``python3-venv``, if this is root on a machine with apt."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update"], ["apt-get", "install", "--yes", "python3-venv"]):
        if subprocess.run(command, env=environment, check=False, stdout=sys.stderr).returncode != 0:
            return False
    return True


def main(target: Path) -> None:
    """Make the environment ``target``, or leave with a remedy."""
    if sys.version_info < OLDEST:
        found = ".".join(map(str, sys.version_info[:3]))
        sys.exit(
            f"Petiole needs Python 3.11 or newer; this is {found}. Name another: make PYTHON=python3.12 …"
        )
    python = target / "bin" / "python"
    if importlib.util.find_spec("ensurepip") is not None:
        venv.create(target, with_pip=True, clear=True)
    else:
        venv.create(target, with_pip=False, clear=True)
        if not install_pip(python):
            if not apt_install_venv():
                shutil.rmtree(target, ignore_errors=True)
                sys.exit(
                    f"{sys.executable} has neither ensurepip nor pip, so no virtual environment can be filled.\n"
                    "On Debian or Ubuntu: sudo apt-get install python3-venv\n"
                    "or set PIP_INDEX_URL to your package index, or name another interpreter: make PYTHON=…"
                )
            # A new process: this one has already looked in vain for the module that apt has just brought.
            subprocess.run([sys.executable, "-m", "venv", "--clear", target], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--upgrade", PIP], check=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_venv.py FOLDER")
    main(Path(sys.argv[1]))
