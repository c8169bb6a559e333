"""Is the registry sound? What `cpflow doctor` asks of it."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import and_, false, func, insert, or_, select, text

from cpflow.registry import schema
from cpflow.registry.part import RegistryPart

# SQLite's locks and shared memory do not work on these (spec 7, item 19).
_NETWORK = frozenset(
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "lustre",
        "gpfs",
        "beegfs",
        "ceph",
        "afs",
        "9p",
        "glusterfs",
        "panfs",
        "pvfs2",
        "orangefs",
        "fuse.sshfs",
        "fuse.s3fs",
        "fuse.glusterfs",
    ]
)


class Checking(RegistryPart):
    """Checking the registry."""

    def check_writable(self) -> None:
        """Refuse a registry in which the user may register nothing; changes nothing.

        Raises
        ------
        AccessError
            If the user may only read it, or not even that.
        """
        with self._db.write() as connection:
            for table in (schema.collection, schema.dataset):
                nothing = select(table).where(false())
                connection.execute(insert(table).from_select(list(table.c.keys()), nothing))

    def database(self) -> str:
        """Return the kind of database and its version, and that of the schema."""
        if self._db.path is not None:
            found = "SQLite", "select sqlite_version()"
        else:
            found = "PostgreSQL", "SHOW server_version"
        with self._db.read() as connection:
            version = connection.scalar(text(found[1]))
        return f"{found[0]} {version}, schema {schema.VERSION}"

    def problems(self) -> list[str]:
        """Return what is wrong with the database, one sentence each; empty if it is sound."""
        found = []
        path = self._db.path
        if path is not None:
            kind = network_file_system(path)
            if kind is not None:
                found.append(
                    f"{path} lies on a network file system ({kind}): the write-ahead log of SQLite "
                    "(WAL) is kept in step by memory that processes share, which those of two "
                    "machines do not; they may lock each other out, or corrupt it"
                )
        with self._db.read() as connection:
            if path is not None:
                lines = connection.execute(text("PRAGMA quick_check(20)")).scalars()
                found += [f"the file is damaged: {line}" for line in lines if line != "ok"]
                broken = connection.execute(text("PRAGMA foreign_key_check")).all()
                found += [f"table {row[0]}: row {row[1]} refers to nothing" for row in broken[:20]]
            table = schema.certification
            a, b = table.alias("a"), table.alias("b")
            overlap = select(func.count()).where(
                a.c.id < b.c.id,
                a.c.collection_id == b.c.collection_id,
                a.c.type_id == b.c.type_id,
                a.c.data_key == b.c.data_key,
                or_(a.c.begin_ns.is_(None), b.c.end_ns.is_(None), a.c.begin_ns < b.c.end_ns),
                or_(b.c.begin_ns.is_(None), a.c.end_ns.is_(None), b.c.begin_ns < a.c.end_ns),
            )
            count = connection.scalar(overlap)
            if count:
                found.append(f"{count} pairs of certified ranges overlap")
            data = schema.dataset
            lost = connection.execute(
                select(data.c.uuid)
                .join(table, and_(table.c.dataset_id == data.c.id))
                .where(data.c.stored.is_(False))
                .distinct()
            ).scalars()
            found += [f"dataset {one} is certified, but its file was given up" for one in lost]
        return found


def network_file_system(path: Path) -> str | None:
    """Return the kind of network file system that a file lies on, or None."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    target = os.path.realpath(path)
    best, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        mount = fields[1].encode().decode("unicode_escape")
        inside = target == mount or target.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, fields[2]
    return kind if kind in _NETWORK else None
