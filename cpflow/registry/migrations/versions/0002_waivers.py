"""Waivers: failed tests that somebody documented. A new table; nothing else changes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# As they were in this version, whatever `cpflow.registry.schema` says by now.
_Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_Name = sa.Text().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "waiver",
        sa.Column("id", _Id, nullable=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("product", _Name, nullable=False),
        sa.Column("test", _Name, nullable=False),
        sa.Column("instrument_id", _Id, nullable=False),
        sa.Column("detector", sa.Integer),
        sa.Column("amp", _Name),
        sa.Column("exposure", sa.BigInteger),
        sa.Column("physical_filter", _Name),
        sa.Column("candidate", sa.String(80)),
        sa.Column("category", sa.String(32), nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("reference", sa.Text),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("expires_ns", sa.BigInteger),
        sa.Column("revoked", sa.BigInteger),
        sa.Column("revoked_by", sa.Text),
        sa.Column("revoked_comment", sa.Text),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_waiver")),
        sa.CheckConstraint(
            "category IN ('permanent', 'uncorrectable', 'below-science-impact', 'threshold-wrong')",
            name=op.f("ck_waiver_category"),
        ),
        sa.UniqueConstraint("uuid", name=op.f("uq_waiver_uuid")),
        sa.ForeignKeyConstraint(
            ["instrument_id"],
            ["instrument.id"],
            name=op.f("fk_waiver_instrument_id"),
            ondelete="RESTRICT",
        ),
    )
    op.create_index("ix_waiver_product", "waiver", ["instrument_id", "product"])
