"""The history of the database's schema. Versions are numbered; a released one never changes."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

HEAD = "0001"
"""The schema that this version of the program reads and writes."""


SCRIPTS = Path(__file__).parent
"""Where alembic finds them."""


def schema_version(connection: sa.Connection) -> str | None:
    """Return the version of a database's schema, None if it has none."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def upgrade(connection: sa.Connection) -> None:
    """Bring a database to `HEAD`, within the caller's transaction."""
    from alembic import command  # slow to import, and rarely needed
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
