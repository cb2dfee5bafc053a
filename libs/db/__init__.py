"""PostgreSQL: one transaction per reaction, tenants kept apart by the database, facts in an outbox."""

from libs.db.database import DB_AWAY, Database, Transaction

__all__ = ["DB_AWAY", "Database", "Transaction"]
