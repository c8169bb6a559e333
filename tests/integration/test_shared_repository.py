"""Several users build in one repository at once: real Unix users, one group, any umask.

Each of them is a process of its own; `unix_users` says how.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import tempfile
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from registries import postgresql_database
from unix_users import GROUP, User, Users, unreadable

from cpflow.errors import BuildError, ConflictError, ProductError, UsageError
from cpflow.repo import Repository
from cpflow.scheduler.opening import open_run

QUERY = "instrument='LATISS' AND detector=0"
CALIB = "LATISS/calib/DM-1"
KINDS = ["sqlite", pytest.param("postgresql", marks=[pytest.mark.postgresql, pytest.mark.slow])]
QUICKLY = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]

# One opens nothing to others, the other what everybody may read: neither is a group's umask.
ANN, BOB = User("ann", 61001, umask=0o077), User("bob", 61002, umask=0o022)
EVE = User("eve", 61003, groups=())


def build(root, output, *more):
    """Return the command; `output` is a chain, or with a colon before it a RUN."""
    where = ("--output-run", output[1:]) if output.startswith(":") else ("-o", output)
    return ("run", "-b", root, "-p", "bias", *where, "-d", QUERY, "--json", *more)


def certify(root, run, begin, end, *more):
    return ("certify", root, run, CALIB, "bias", "--begin-date", begin, "--end-date", end, *more)


# So many bands that another user can come in between.
SLOWLY = ("--band-rows", "3", "-j", "1")


@contextmanager
def open_directory():
    """A directory that every user can reach, as pytest's are not."""
    path = Path(tempfile.mkdtemp(prefix="cpflow-shared-"))
    try:
        path.chmod(0o755)
        yield path
    finally:
        shutil.rmtree(path)


@pytest.fixture(scope="module")
def users(biases):
    """Runs commands; every command has been used once, so that no module is read any more."""
    with open_directory() as here, ExitStack() as stack:
        root = here / "repo"
        driver = []
        if os.environ.get("CPFLOW_TEST_POSTGRESQL"):
            url = stack.enter_context(postgresql_database())
            driver = [["init", str(here / "postgresql"), "--db", url]]
        run = Users(
            *driver,
            ["init", str(root), "--instrument", str(biases.instrument)],
            ["ingest", str(root), str(biases.raws), "--transfer", "copy"],
            [str(word) for word in build(root, "u/root/bias")],
            [str(word) for word in certify(root, "u/root/bias", "2021-01-01", "2022-01-01")],
            ["datasets", str(root), "bias"],
            ["records", str(root), "exposure"],
            ["doctor", str(root), "--checksum"],
            ["remove-run", str(root), "u/root/bias/*", "--force", "--yes"],
        )
        try:
            yield run
        finally:
            run.close()


@pytest.fixture(scope="module")
def people(users):
    if os.geteuid() != 0:
        pytest.skip("two Unix users need root")
    if (closed := unreadable()) is not None:
        pytest.skip(f"other users may not read cpflow's own files: {closed} is closed to them")
    return users


@dataclass(frozen=True)
class Database:
    """What `cpflow init` takes, who the users are to it, and how its owner reaches it."""

    options: tuple[str, ...] = ()
    roles: Mapping[int, str] = field(default_factory=dict)
    url: str = ""

    def user(self, user):
        environment = {"PGUSER": self.roles[user.uid]} if self.roles else {}
        return replace(user, environment=environment)


@pytest.fixture(params=KINDS)
def database(request):
    if request.param == "sqlite":
        yield Database()
        return
    with postgresql_database() as url, roles(url) as names:
        server = url.partition("@")[2]
        yield Database(("--db", f"postgresql+psycopg://{server}"), names, url)


def execute(url, *statements):
    import psycopg

    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


@contextmanager
def roles(url):
    """Roles as configs/clusters/README.md has them, in an empty database."""
    some = uuid.uuid4().hex[:8]
    group, ann, bob, eve = (f"{name}_{some}" for name in ("calib", "ann", "bob", "eve"))
    name = url.rpartition("/")[2]
    try:
        execute(
            url,
            f"CREATE ROLE {group}",
            *(f"CREATE ROLE {one} LOGIN" for one in (ann, bob, eve)),
            f"GRANT {group} TO {ann}, {bob}",
            f"ALTER DATABASE {name} OWNER TO {group}",
            *(f"ALTER ROLE {one} IN DATABASE {name} SET role = {group}" for one in (ann, bob)),
        )
        yield {61001: ann, 61002: bob, 61003: eve}
    finally:
        execute(url, f"REASSIGN OWNED BY {group} TO CURRENT_USER")
        for one in (ann, bob, eve, group):
            execute(url, f"DROP OWNED BY {one}", f"DROP ROLE {one}")


@pytest.fixture
def shared(people, database, biases):
    """A repository that Ann has made for the group, and how Ann, Bob and Eve use it."""
    ann, bob, eve = (database.user(one) for one in (ANN, BOB, EVE))
    with open_directory() as here:
        root, raws = prepared(here, biases)
        instrument = raws / "instrument.yaml"
        people.run(
            ann, "init", root, "--instrument", instrument, "--shared", GROUP, *database.options
        )
        people.run(ann, "ingest", root, raws, "--transfer", "copy")
        yield root, ann, bob, eve


def prepared(here, biases):
    """A place for a repository of Ann's, and raws that all may read."""
    home, raws = here / "home", here / "raws"
    home.mkdir()
    os.chown(home, ANN.uid, ANN.uid)
    shutil.copytree(biases.raws, raws)
    raws.chmod(0o755)
    return home / "repo", raws


@contextmanager
def stopped_in_the_middle(root, begun):
    """Let a build that goes on stand still while something else is done."""
    deadline = time.monotonic() + 60
    while not list((root / ".staging").glob("*/bands/*/band-*.json")):
        assert begun.is_running, begun.wait(None)
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(begun.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(begun.pid, signal.SIGCONT)


def checksums(*done):
    return {dataset["checksum"] for one in done for dataset in one.json["datasets"]}


def in_force(people, user, root):
    rows = people.run(user, "certified", root, CALIB, "--format", "json").json
    return [row for row in rows if not row["gap"]]


def everything(root):
    return [Path(d, name) for d, names, files in os.walk(root) for name in (*names, *files)]


def check_access(root):
    """All that is there is the group's: files to read, directories to make and remove files in."""
    for path in everything(root):
        found = path.lstat()
        needed = stat.S_ISGID | 0o070 if stat.S_ISDIR(found.st_mode) else 0o040
        if path.name.startswith("registry.sqlite"):
            needed = 0o060
        assert found.st_gid == GROUP, path
        assert found.st_mode & needed == needed, f"{stat.filemode(found.st_mode)} {path}"


# -- two users -----------------------------------------------------------------------------------


def test_two_users_build_and_certify_at_once(people, shared):
    root, ann, bob, _ = shared
    both = [people.begin(u, *build(root, f"u/{u.name}/bias")) for u in (ann, bob)]
    made = [one.wait() for one in both]
    assert len(checksums(*made)) == 1, "the same bits"
    check_access(root)

    # Into one chain: each has its run in it.
    clips = [
        people.begin(u, *build(root, "u/both", "-c", f"combine.clip={clip}"))
        for u, clip in ((ann, 3), (bob, 4))
    ]
    runs = {one.wait().json["run"] for one in clips}
    assert len(runs) == 2
    rows = people.run(bob, "datasets", root, "bias", "--format", "json").json
    assert {row["run"] for row in rows} == runs | {one.json["run"] for one in made}
    flat = people.run(ann, "collections", root, "u/both", "--chains", "flatten", "--format", "json")
    assert runs < {row["collection"] for row in flat.json}

    # Over the same time one of them is in force, the other is told what is.
    spans = (ann, "2021-01-01", "2022-01-01"), (bob, "2021-06-01", "2023-01-01")
    ends = [
        one.wait(None)
        for one in [people.begin(u, *certify(root, f"u/{u.name}/bias", *s)) for u, *s in spans]
    ]
    assert sorted(one.code for one in ends) == [0, 2]
    (refused,) = (one for one in ends if one.code)
    assert "overlap" in refused.stderr
    assert "--replace" in refused.stderr
    # Over times of their own both are.
    spans = (ann, "2031-01-01", "2032-01-01"), (bob, "2032-01-01", "2033-01-01")
    for one in [people.begin(u, *certify(root, f"u/{u.name}/bias", *s)) for u, *s in spans]:
        one.wait()
    assert len(in_force(people, bob, root)) == 3
    # Bob reads every file of Ann's.
    done = people.run(bob, "doctor", root, "--checksum")
    assert "nothing is wrong" in done.stdout, done.stdout
    check_access(root)


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_same_plan_and_the_same_run(people, shared):
    """Who is at it is said; nobody's products are lost; and what is left can be taken up."""
    root, ann, bob, _ = shared
    begun = people.begin(ann, *build(root, ":u/both/run", *SLOWLY))
    with stopped_in_the_middle(root, begun):
        same = people.run(bob, *build(root, ":u/both/run", *SLOWLY), code=2)
        other = people.run(bob, *build(root, ":u/both/run", "-c", "combine.clip=4"), code=2)
        kept = sorted(path.name for path in (root / ".staging").iterdir())
        assert len(kept) == 1, "only Ann's is there"
    for refused in (same, other):
        assert f"is being run by another process (pid {begun.pid} on " in refused.stderr
        assert "wait for it" in refused.stderr
    assert "another plan for the same run" in other.stderr
    (made,) = begun.wait().json["datasets"]
    again = people.run(bob, *build(root, ":u/both/run", *SLOWLY), code=2)
    assert "run u/both/run exists" in again.stderr

    # Of a chain there is a second run.
    runs = {people.run(one, *build(root, "u/both/chain")).json["run"] for one in (ann, bob)}
    assert len(runs) == 2

    # Ann's process dies. Bob gives the same command.
    begun = people.begin(ann, *build(root, "u/both/killed", *SLOWLY))
    with stopped_in_the_middle(root, begun):
        os.kill(begun.pid, signal.SIGKILL)
    assert begun.wait(None).code == -signal.SIGKILL
    taken_up = people.run(bob, *build(root, "u/both/killed", *SLOWLY))
    assert "resuming run" in taken_up.stderr
    assert "parts are done already" in taken_up.stderr
    assert checksums(taken_up) == {made["checksum"]}
    assert "nothing is wrong" in people.run(ann, "doctor", root, "--checksum").stdout
    check_access(root)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_one_removes_his_run_while_the_other_builds(people, shared):
    root, ann, bob, _ = shared
    people.run(ann, *build(root, "u/both"))
    begun = people.begin(bob, *build(root, "u/both", *SLOWLY))
    with stopped_in_the_middle(root, begun):
        people.run(bob, "remove-run", root, "u/both/*", "--unlink", "--yes")
        assert not list((root / "products").rglob("*.zarr")), "Bob may remove what Ann made"
    (made,) = begun.wait().json["datasets"]
    (row,) = people.run(ann, "datasets", root, "bias", "--format", "json").json
    assert row["id"] == made["id"]
    assert "nothing is wrong" in people.run(ann, "doctor", root, "--checksum").stdout


@pytest.mark.parametrize("database", QUICKLY, indirect=True)
def test_a_stranger_is_told_what_he_lacks_and_changes_nothing(people, shared, database):
    root, ann, _, eve = shared
    before = everything(root)
    # Not even in the group's directory; and where he sees it all, in the database.
    done = people.run(eve, "datasets", root, code=2)
    assert f"{root}/cpflow.yaml: Permission denied for user {eve.uid}" in done.stderr
    assert "cpflow init REPO --shared GROUP" in done.stderr
    for directory in (root.parent, root, root / "products", root / ".staging"):
        directory.chmod(directory.stat().st_mode | 0o005)
    (root / "cpflow.yaml").chmod(0o664)
    done = people.run(eve, *build(root, "u/eve/bias"), code=2)
    assert re.search("registry sqlite:.* cannot be used: |refuses: permission denied", done.stderr)
    assert "hint: " in done.stderr
    if database.roles:
        # Who may read the database reads, and no more.
        grants = f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {database.roles[eve.uid]}"
        execute(database.url, grants)
        assert people.run(eve, "records", root, "exposure", "--format", "json").json
        done = people.run(eve, *build(root, "u/eve/bias"), code=2)
        assert f"{root}/.staging: Permission denied for user {eve.uid}" in done.stderr
    assert everything(root) == before
    assert people.run(ann, "datasets", root, "bias", "--format", "json").json == []


def test_who_may_not_build_is_told_before_anything_is_computed(people, database, biases):
    """A repository of Ann's alone, until she shares it; what is in it then is the group's."""
    ann, bob = (replace(database.user(one), umask=0o022) for one in (ANN, BOB))
    with open_directory() as here:
        root, raws = prepared(here, biases)
        people.run(ann, "init", root, "--instrument", raws / "instrument.yaml", *database.options)
        people.run(ann, "ingest", root, raws, "--transfer", "link")
        people.run(ann, *build(root, "u/ann/bias"))
        linked = list((root / "raw").rglob("*.fits"))
        assert {path.stat().st_uid for path in linked} == {0}
        before = everything(root)
        refused = people.run(bob, *build(root, "u/bob/bias"), code=2)
        assert "tasks" not in refused.stderr
        if database.roles:
            # He may change the registry, and has nowhere to put a product.
            what = f"{root}/.staging: Permission denied for user {bob.uid}; it belongs to {ann.uid}"
        else:
            what = f"a readonly database; it belongs to {ann.uid}, group {ann.uid}, -rw-r--r--"
        assert what in refused.stderr
        assert "`cpflow init REPO --shared" in refused.stderr
        people.run(bob, "remove-run", root, "u/ann/bias/*", "--unlink", "--yes", code=2)
        assert everything(root) == before
        assert people.run(ann, "datasets", root, "bias", "--format", "json").json
        assert not people.run(ann, "collections", root, "u/bob/*", "--format", "json").json
        refused = people.run(bob, "init", root, "--shared", GROUP, code=2)
        assert f"belongs to {ann.uid}" in refused.stderr
        refused = people.run(ann, "init", root, "--shared", "no such group", code=2)
        assert "there is no group" in refused.stderr

        people.run(ann, "init", root, "--shared", GROUP)
        people.run(bob, *build(root, "u/bob/bias"))
        people.run(bob, *certify(root, "u/ann/bias", "2021-01-01", "2022-01-01"))
        people.run(bob, "remove-run", root, "u/ann/bias/*", "--force", "--yes")
        assert {path.stat().st_gid for path in linked} == {0}, "raws that are linked are not ours"
        # With a database elsewhere nobody but Ann needs to write where graphs and profiles are.
        assert bool(root.stat().st_mode & stat.S_IWGRP) != bool(database.roles)


# -- one name, one run ---------------------------------------------------------------------------


def test_runs_that_begin_in_one_second_have_names_of_their_own(repo):
    """Two of one name would replace each other's files before the registry refuses one."""
    plans = [
        repo.plan("bias", QUERY, config={"combine.clip": clip}) for clip in (3.0, 4.0, 5.0, 6.0)
    ]
    stagings = [repo.store.staging(plan.identity) for plan in plans]
    with ExitStack() as stack:
        names = []
        for plan, staging in zip(plans, stagings, strict=True):
            stack.enter_context(repo.store.locked(staging))
            names.append(open_run(staging, plan, "u/me/bias", None)["run"])
        assert len(set(names)) == len(names)
        # One of these runs is interrupted: taken up, it has its name.
        assert open_run(stagings[1], plans[1], "u/me/bias", None)["run"] == names[1]
        # A name that is given is refused while it is in use.
        other = repo.store.staging("other")
        stack.enter_context(repo.store.locked(other))
        with pytest.raises(UsageError, match="another plan for the same run is being run"):
            open_run(other, plans[0], "u/me/bias", names[0])
        assert not other.path.exists()


def test_files_that_the_registry_knows_are_not_replaced(repo):
    """As when a run of that name was imported while another one was built."""
    first = repo.plan("bias", QUERY).run(output_run="u/me/other")
    plan = repo.plan("bias", QUERY, config={"combine.clip": 4.0})

    def listener(event):
        if event.kind == "started":
            (ref,) = first.datasets
            target = repo.store.relative("u/me/run", Path(ref.path).name)
            shutil.copytree(repo.store.absolute(ref.path), repo.store.absolute(target))
            taken = replace(ref, id=str(uuid.uuid4()), run="u/me/run", path=target)
            repo.registry.publish("u/me/run", [taken])

    with pytest.raises(ConflictError, match="another process has put it there"):
        plan.run(output_run="u/me/run", listener=listener)
    assert repo.get("bias", collections="u/me/run", detector=0).equals(first.product)


def test_a_calibration_that_is_removed_while_it_is_used_is_an_error(repo):
    """To zarr it would be NaN, and its mask zero: a product of that would look like any other."""
    candidate = repo.plan("bias", QUERY).run(output_run="u/me/bias")
    plan = repo.plan("verify/bias", QUERY, candidate="u/me/bias")
    lazy = candidate.product
    with Repository(repo.root) as other:
        from cpflow.repo.removal import remove_runs

        remove_runs(other, "u/me/bias")
    with pytest.raises(ProductError, match="is not there, or no longer"):
        lazy["mask"].values  # noqa: B018
    with pytest.raises(BuildError, match="is not there, or no longer"):
        plan.run(output_run="u/me/verifyBias")
    assert repo.registry.datasets("bias_verification") == []


# -- many ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("count", [8])
def test_many_builds_at_once(people, shared, count):
    """On either database none waits in vain, and each product is certified."""
    root, ann, bob, _ = shared
    names = [f"u/{i}/bias" for i in range(count)]
    who = [(ann, bob)[i % 2] for i in range(count)]
    begun = [people.begin(u, *build(root, name)) for u, name in zip(who, names, strict=True)]
    assert len(checksums(*(one.wait() for one in begun))) == 1
    spans = [(f"{2021 + i}-01-01", f"{2022 + i}-01-01") for i in range(count)]
    begun = [
        people.begin(u, *certify(root, name, *span))
        for u, name, span in zip(who, names, spans, strict=True)
    ]
    for one in begun:
        assert "locked" not in one.wait().stderr
    rows = in_force(people, ann, root)
    assert len(rows) == len({row["id"] for row in rows}) == count
    assert "nothing is wrong" in people.run(bob, "doctor", root, "--checksum").stdout
    check_access(root)
