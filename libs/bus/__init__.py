"""NATS: facts on JetStream, questions on request/reply, and nothing else between services."""

from libs.bus.connection import Bus
from libs.bus.router import Router

__all__ = ["Bus", "Router"]
