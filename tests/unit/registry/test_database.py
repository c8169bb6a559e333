"""Creating, opening, upgrading and checking a registry."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from registries import CAM, exposure, make, prepare, raw, span, waive
from sqlalchemy import inspect, text

from cpflow.errors import CpflowError, UsageError
from cpflow.registry import Lineage, RawUse, Registry, schema
from cpflow.registry.check import network_file_system
from cpflow.registry.database import Database
from cpflow.registry.registry import stored_version
from cpflow.registry.upgrade import MIGRATIONS, upgrade


def test_a_registry_is_made_once(empty: Registry, url: str) -> None:
    with pytest.raises(UsageError, match="already"):
        Registry.create(url)
    assert empty.instruments() == []
    assert empty.problems() == []


def test_opening_what_is_not_there(url: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no registry at"):
        Registry.open(url)
    with pytest.raises(UsageError, match="there is no registry at"):
        Registry.open(tmp_path / "nothing.sqlite")
    assert not (tmp_path / "nothing.sqlite").exists()
    (tmp_path / "text.sqlite").write_text("not a database, but long enough to look at" * 100)
    with pytest.raises(CpflowError, match="not a sound registry"):
        Registry.open(tmp_path / "text.sqlite")
    (tmp_path / "empty.sqlite").touch()
    with pytest.raises(UsageError, match="there is no registry at"):
        Registry.open(tmp_path / "empty.sqlite")


@pytest.mark.parametrize("address", ["mysql://x/y", "sqlite://", "sqlite:///:memory:", "://"])
def test_addresses_that_are_refused(address: str) -> None:
    with pytest.raises(UsageError):
        Registry.open(address)


@pytest.mark.postgresql
def test_a_server_that_does_not_answer() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(CpflowError) as caught:
        Registry.open("postgresql+psycopg://me:secret@127.0.0.1:1/x", timeout=2)
    assert "secret" not in str(caught.value)


def test_a_newer_or_older_schema_is_named(
    registry: Registry, reopen: Callable[[], Registry]
) -> None:
    def mark(version: str) -> None:
        with registry._db.write() as connection:
            connection.execute(schema.version.update().values(version_num=version))

    mark("9999")
    with pytest.raises(UsageError, match="schema 9999, newer than this cpflow"):
        reopen()
    mark("0000")
    with pytest.raises(UsageError, match="schema 0000, this cpflow needs"):
        reopen()


def test_the_newest_migration_is_the_schema() -> None:
    pytest.importorskip("alembic")
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == schema.VERSION


SNAPSHOTS = Path(__file__).parent / "schemas"


def described(database: Database) -> list[str]:
    """Everything that makes up a schema, as text that two databases can be compared by."""
    if database.dialect == "sqlite":
        query = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
    else:
        query = (
            "SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable"
            " FROM information_schema.columns WHERE table_schema = 'public'"
            " UNION ALL SELECT conrelid::regclass || ' ' || conname || ' '"
            " || pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace = 'public'::regnamespace"
            " UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
        )
    with database.read() as connection:
        return [" ".join(str(line).split()) for line in connection.execute(text(query)).scalars()]


def test_the_schema_has_not_drifted(empty: Registry) -> None:
    """A change of the schema needs a migration and a new snapshot, never a change of an old one."""
    database = empty._db
    snapshot = SNAPSHOTS / f"{schema.VERSION}.{database.dialect}.txt"
    found = "\n".join(described(database)) + "\n"
    if not snapshot.exists() and os.environ.get("CPFLOW_WRITE_SCHEMA"):
        snapshot.parent.mkdir(exist_ok=True)
        snapshot.write_text(found)
    assert found == snapshot.read_text()


def first_schema(path: Path) -> None:
    """Make the tables as the first release made them."""
    statements = (SNAPSHOTS / "0001.sqlite.txt").read_text().splitlines()
    with sqlite3.connect(path) as connection:
        for statement in sorted(statements, key=lambda s: not s.startswith("CREATE TABLE")):
            connection.execute(statement)
        connection.execute("INSERT INTO cpflow_schema VALUES ('0001')")
    connection.close()


def test_upgrade_from_the_first_schema(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    first_schema(path)
    assert Registry.upgrade(path) == ("0001", schema.VERSION)
    with Registry.open(path) as old, Registry.create(tmp_path / "new.sqlite") as new:
        assert described(old._db) == described(new._db)
        prepare(old)
        make(old, "r")
        assert old.problems() == []


def test_upgrade_keeps_what_the_first_schema_held(
    registry: Registry, url: str, reopen: Callable[[], Registry]
) -> None:
    """What is certified and from what it was made, through the step that brought waivers."""
    pytest.importorskip("alembic")
    lineage = Lineage((RawUse(CAM, 5, 0, "sha256:5"),), (str(uuid.uuid4()),))
    refs = make(registry, "r", "bias", (0, 1), lineage)
    registry.certify("calib", refs, span("2021-01-01", None), create=True, verdict="v", reason="w")
    new = described(registry._db)
    with registry._db.write() as connection:
        connection.execute(text("DROP TABLE waiver"))
        connection.execute(schema.version.update().values(version_num="0001"))
    first = (SNAPSHOTS / f"0001.{registry._db.dialect}.txt").read_text()
    assert "\n".join(described(registry._db)) + "\n" == first
    registry.close()
    with pytest.raises(UsageError, match="schema 0001, this cpflow needs") as caught:
        reopen()
    assert "doctor --upgrade" in str(caught.value.hint)
    assert Registry.upgrade(url) == ("0001", schema.VERSION)
    assert Registry.upgrade(url) == (schema.VERSION, schema.VERSION)
    with reopen() as opened:
        assert described(opened._db) == new
        assert opened.datasets() == refs
        assert opened.lineage(refs[0].id) == lineage
        held = opened.certified("calib")
        assert [(one.dataset, one.verdict, one.reason) for one in held] == [
            (ref, "v", "w") for ref in refs
        ]
        assert opened.waivers(history=True) == []
        waive(opened)
        assert len(opened.waivers()) == 1
        assert opened.problems() == []


LATER, LATEST = f"{int(schema.VERSION) + 1:04d}", f"{int(schema.VERSION) + 2:04d}"
LATER_STEP = '''
"""A step that a later release could make."""
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = THIS, BEFORE, None, None


def upgrade():
    with op.batch_alter_table("dataset") as batch:
        batch.add_column(sa.Column("note", sa.Text()))
        batch.alter_column("checksum", type_=sa.String(100))
    op.execute("UPDATE dataset SET note = 'upgraded'")
'''


def later_step(this: str, before: str) -> str:
    return LATER_STEP.replace("THIS", repr(this)).replace("BEFORE", repr(before))


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """The migrations of a later release."""
    pytest.importorskip("alembic")
    migrations = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, migrations, ignore=shutil.ignore_patterns("__pycache__"))
    (migrations / "versions" / f"{LATER}_note.py").write_text(later_step(LATER, schema.VERSION))
    return migrations


def test_a_migration_in_place(registry: Registry, later: Path) -> None:
    refs = make(registry, "r", "bias", (0, 1))
    registry.certify("calib", refs, span("2021-01-01", None), create=True)
    database = registry._db
    upgrade(database, later)
    assert stored_version(database) == LATER
    with database.read() as connection:
        assert set(connection.scalars(text("SELECT note FROM dataset"))) == {"upgraded"}
        assert "note" in {column["name"] for column in inspect(connection).get_columns("dataset")}
    assert registry.datasets() == refs
    assert len(registry.certified("calib")) == 2
    assert registry.problems() == []
    upgrade(database, later)


def test_a_migration_that_fails_changes_nothing(registry: Registry, later: Path) -> None:
    refs = make(registry, "r")
    broken = later / "versions" / f"{LATEST}_broken.py"
    broken.write_text(
        later_step(LATEST, LATER).replace("note", "other")
        + "    op.execute('SELECT nothing FROM nowhere')\n"
    )
    database = registry._db
    before = described(database)
    with pytest.raises(CpflowError if database.dialect == "sqlite" else Exception):
        upgrade(database, later)
    assert stored_version(database) == schema.VERSION
    assert described(database) == before
    assert registry.datasets() == refs


def test_sqlite_is_set_up_for_several_processes(tmp_path: Path) -> None:
    with Registry.create(tmp_path / "r.sqlite") as registry, registry._db.read() as connection:
        pragmas = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "foreign_keys", "synchronous")
        }
    assert pragmas == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 1}


def test_a_reader_does_not_wait_for_a_writer(registry: Registry) -> None:
    make(registry, "r")
    with registry._db.write() as connection:
        connection.execute(schema.collection.update().values(doc="unseen"))
        seen = []
        thread = threading.Thread(target=lambda: seen.append(registry.collection("r").doc))
        thread.start()
        thread.join(10)
        assert seen == [""]


def test_a_lock_that_is_not_given_back_is_named(url: str, registry: Registry) -> None:
    make(registry, "r")
    registry.register_collection("calib", "CALIBRATION")
    (one,) = registry.datasets()
    with Registry.open(url, timeout=0.2) as other, registry._db.write() as connection:
        connection.execute(schema.collection.update().values(doc="x"))
        with pytest.raises(CpflowError, match=r"was locked for 0\.2 s"):
            other.certify("calib", [one], span(None, None))


def test_threads_share_a_registry(registry: Registry) -> None:
    errors: list[BaseException] = []

    def work(day: int) -> None:
        try:
            for i in range(10):
                one = exposure(20210101 + day, i)
                registry.add_exposure(one, [raw(one)], f"{CAM}/raw/all")
                registry.exposures(f"day_obs = {20210101 + day}")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(day,)) for day in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(registry.exposures()) == 80


def test_a_forked_process_goes_on(registry: Registry) -> None:
    make(registry, "r")
    pid = os.fork()
    if pid == 0:
        try:
            make(registry, "child")
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert registry.collection_names() == ["child", "r"]


def test_damage_is_found(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    with Registry.create(path) as registry:
        prepare(registry)
        make(registry, "r")
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM collection")
    connection.close()
    with Registry.open(path) as registry:
        assert any("table dataset" in problem for problem in registry.problems())


def test_network_file_systems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mounts = "\n".join(
        [
            "proc /proc proc rw 0 0",
            "/dev/sda / ext4 rw 0 0",
            "server:/home /home nfs4 rw 0 0",
            "/dev/sdb /home/local\\040disk ext4 rw 0 0",
        ]
    )
    real = Path.read_text

    def read_text(path: Path, *args: str | None, **more: str | None) -> str:
        return mounts if str(path) == "/proc/self/mounts" else real(path, *args, **more)

    monkeypatch.setattr(Path, "read_text", read_text)
    assert network_file_system(Path("/home/me/registry.sqlite")) == "nfs4"
    assert network_file_system(Path("/home/local disk/registry.sqlite")) is None
    assert network_file_system(Path("/homes/registry.sqlite")) is None


def test_importing_is_cheap() -> None:
    code = (
        "import sys, cpflow.registry;"
        "heavy = 'numpy astropy xarray dask zarr pydantic lark alembic psycopg sqlalchemy.orm';"
        "print([name for name in heavy.split() if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
