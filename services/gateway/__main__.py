"""``python -m services.gateway``: the HTTP API."""

from libs.service import main
from services.gateway.app import build
from services.gateway.settings import Settings

if __name__ == "__main__":
    main(build, Settings)
