"""Bringing an older registry up to date, in place, with alembic.

`versions/` has one file per schema since the first, each changing the one before. A new registry
is made from `cpflow.registry.schema` directly and marked with its version; a test keeps the two
ways from drifting apart. To change the schema: edit `schema.py`, raise `VERSION`, add a file.
"""
