"""The example graphs, importable wherever Petiole is installed: ``petiole.examples.wordcount:graph``.

The files are in ``examples/`` at the top of the repository. A wheel carries them in this package; in a checkout this
package looks for them there.
"""

from pathlib import Path

_CHECKOUT = Path(__file__).parents[3]
if (_CHECKOUT / "pyproject.toml").is_file() and (_CHECKOUT / "app" / "petiole" / "examples").is_dir():
    __path__.append(str(_CHECKOUT / "examples"))
