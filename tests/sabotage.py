"""Makes a child process fail at one place, without a hook in the code: a ``sitecustomize`` that patches on import."""

import os
from pathlib import Path

_FINDER = """
import importlib.abc, importlib.util, sys

class After(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != {module!r}:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            spoil(module)

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, After())
"""


def spoiled(folder: Path, module: str, spoil: str) -> dict[str, str]:
    """Return the environment of a process in which ``spoil`` is called with a module once it is imported.

    ``spoil`` is the source of a function of that name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(spoil + _FINDER.format(module=module))
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))}
