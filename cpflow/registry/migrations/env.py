"""What alembic runs: migrations on a connection that the registry gives, in its transaction."""

from alembic import context

from cpflow.registry import schema

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=schema.metadata,
    version_table=schema.VERSION_TABLE,
    # SQLite cannot alter most things in place: alembic copies the table.
    render_as_batch=connection.dialect.name == "sqlite",
)
context.run_migrations()
