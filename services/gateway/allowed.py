"""What may be done under a path: the ``Allow`` header that OPTIONS and a refused method answer with."""

import re

from litestar import Litestar
from litestar.routes import HTTPRoute

PARAMETER = re.compile(r"\{[^}]*\}")


def allowed(app: Litestar, path: str) -> str:
    """Return the methods with which something answers under a path."""
    routes = [route for route in app.routes if isinstance(route, HTTPRoute)]
    fitting = [route for route in routes if re.fullmatch(PARAMETER.sub("[^/]+", route.path_format), path)]
    return ", ".join(sorted({str(method) for route in fitting for method in route.methods}))
