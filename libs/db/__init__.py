"""PostgreSQL: one transaction per reaction, tenants kept apart by the database, facts in an outbox."""

from libs.db.database import Database, Transaction

__all__ = ["Database", "Transaction"]
