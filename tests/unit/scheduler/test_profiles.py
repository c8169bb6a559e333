"""Cluster profiles: found, extended, refused."""

from __future__ import annotations

import textwrap

import pytest
import yaml
from certificates import make_certificates
from pydantic import ValidationError

from cpflow.errors import ConfigurationError
from cpflow.scheduler.profile_files import load_profile, profile_files
from cpflow.scheduler.profiles import (
    AddressProfile,
    GatewayProfile,
    KubernetesProfile,
    LocalProfile,
    SlurmProfile,
    ThreadsProfile,
)
from cpflow.scheduler.security import dask_security


@pytest.fixture(autouse=True)
def nobody_elses(monkeypatch, tmp_path):
    """No profiles of the person who runs the tests."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("CPFLOW_PATH", raising=False)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def refused(text, path):
    write(path, text)
    with pytest.raises(ConfigurationError) as caught:
        load_profile(str(path))
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("threads", ThreadsProfile), ("local", LocalProfile), ("address", AddressProfile),
        ("slurm", SlurmProfile), ("kubernetes", KubernetesProfile), ("gateway", GatewayProfile),
    ],
)  # fmt: skip
def test_shipped_profiles(name, kind):
    profile = load_profile(name)
    assert type(profile) is kind
    assert profile.description
    assert profile.limits.allowed_failures == 2
    assert profile.worker.threads == 1
    with pytest.raises(ValidationError, match="frozen"):
        profile.workers = 3
    assert load_profile(profile) is profile


def test_dashboards_listen_on_loopback():
    for name in ("local", "slurm"):
        assert load_profile(name).dashboard.startswith("127.0.0.1:")


def test_an_address_is_a_profile():
    profile = load_profile("tcp://head:8786")
    assert isinstance(profile, AddressProfile)
    assert profile.address == "tcp://head:8786"


def test_the_order_of_the_search(tmp_path, monkeypatch):
    repo = tmp_path / "repo"
    assert load_profile("local", repo_root=repo).description == "worker processes on this machine"
    places = [
        tmp_path / "config" / "cpflow" / "clusters", repo / "clusters", tmp_path / "site/clusters",
    ]  # fmt: skip
    monkeypatch.setenv("CPFLOW_PATH", str(tmp_path / "site"))
    for place in places:
        write(place / "local.yaml", f"kind: local\ndescription: {place}")
        assert load_profile("local", repo_root=repo).description == str(place)
    origins = [file.origin for file in profile_files(repo) if file.name == "local"]
    assert origins == ["$CPFLOW_PATH", "repository", "user", "shipped"]


def test_a_site_extends_the_shipped_profile_of_the_same_name(tmp_path):
    write(
        tmp_path / "config/cpflow/clusters/slurm.yaml",
        """
        extends: slurm
        partition: night
        worker: {memory: 4GiB}
        prologue: [module load python]
        """,
    )
    profile = load_profile("slurm")
    assert (profile.partition, profile.worker.memory) == ("night", 4 * 2**30)
    assert profile.walltime == 7200, "the rest of a group stays"
    assert profile.limits.start_timeout == 43200
    assert profile.prologue == ("module load python",)


def test_one_level_of_extends(tmp_path):
    first = write(tmp_path / "config/cpflow/clusters/mine.yaml", "extends: slurm")
    message = refused("extends: mine", tmp_path / "other.yaml")
    assert str(first) in message
    assert "extend slurm and write the rest down" in message
    assert "which there is not" in refused("extends: nothing", tmp_path / "other.yaml")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("kind: local\nwrkers: 3", "unknown key 'wrkers', did you mean 'workers'?"),
        ("kind: slurm\nworker: {memry: 3}", "unknown key 'worker.memry', did you mean 'memory'?"),
        ("kind: threads\npartition: x", "unknown key 'partition'"),
        ("kind: slum", "there is no kind 'slum'; kinds are threads, local, address, slurm"),
        ("workers: 3", "it has no kind"),
        ("kind: local\nworkers: 0", "workers: "),
        ("kind: address", "it has an address, or a scheduler_file"),
        ("kind: slurm\nstop_before: 3h", "stop_before (10800 s) must be less than worker.walltime"),
        ("kind: slurm\nprologue: ['a\n\nb']", "a line has no line break"),
        ("kind: slurm\nworker: {walltime: soon}", "cannot read a time from 'soon'"),
        ("kind: local\nworker: {memory: much}", "worker.memory: "),
        ("kind: kubernetes", "it has an image, or a spec"),
        ("kind: gateway", "address: "),
        ("- kind", "is not a mapping"),
        ("kind: !!python/object/apply:os.getcwd []", "cannot read cluster profile"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, named):
    assert named in refused(text, tmp_path / "bad.yaml")


def test_a_name_that_is_not_there():
    with pytest.raises(ConfigurationError, match="address, gateway, kubernetes, local, slurm, thr"):
        load_profile("nothing")
    with pytest.raises(ConfigurationError, match=r"no cluster profile .*/nothing\.yaml"):
        load_profile("nothing.yaml")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2h", 7200), ("90min", 5400), ("600s", 600), ("1.5h", 5400), ("'00:10:00'", 600),
        ("1-00:00:00", 86400), ("02:00:00", 7200), ("600", 600),
    ],
)  # fmt: skip
def test_times(text, seconds):
    worker = yaml.safe_load(f"{{walltime: {text}}}")
    assert SlurmProfile(worker=worker).walltime == seconds


@pytest.mark.parametrize(("threads", "tasks", "workers"), [(1, 5, 5), (2, 5, 3), (2, 4, 2)])
def test_tasks_at_once_decide_the_workers(tmp_path, threads, tasks, workers):
    path = write(tmp_path / "two.yaml", f"kind: local\nworker: {{threads: {threads}}}")
    profile = load_profile(str(path), workers=tasks)
    assert profile.workers == workers
    assert profile.cores == workers * threads
    assert load_profile("threads", workers=tasks).cores == tasks


def test_an_address_keeps_its_workers(caplog):
    assert load_profile("tcp://head:8786", workers=7).workers is None
    assert "-j 7 has no say" in caplog.text


@pytest.mark.parametrize("extending", [False, True])
def test_files_of_tls_are_beside_the_profile(tmp_path, monkeypatch, extending):
    names = make_certificates(tmp_path / "site")
    first = "extends: address" if extending else "kind: address"
    path = write(
        tmp_path / "site" / "secure.yaml",
        f"{first}\naddress: tls://head:8786\nsecurity: {names}",
    )
    monkeypatch.chdir("/")
    security = load_profile(str(path)).security
    assert security.key == tmp_path / "site" / "key.pem"
    for role in ("client", "scheduler", "worker"):
        config = dask_security(security).get_tls_config_for_role(role)
        assert config["ca_file"] == str(tmp_path / "site" / "ca.pem")
        assert config["key"] == str(security.key)
    assert dask_security(security).require_encryption


def test_a_key_that_everybody_may_read_is_refused(tmp_path):
    names = make_certificates(tmp_path)
    path = write(tmp_path / "secure.yaml", f"kind: local\nsecurity: {names}")
    security = load_profile(str(path)).security
    security.key.chmod(0o644)
    with pytest.raises(ConfigurationError, match="everybody may use"):
        dask_security(security)
    security.key.unlink()
    with pytest.raises(ConfigurationError, match=r"key\.pem is not there"):
        dask_security(security)


@pytest.mark.parametrize("address", ["tcp://10.0.0.7", "tls://scheduler.example/", "tcp://a:b"])
def test_an_address_without_a_port_is_refused(address):
    with pytest.raises(ConfigurationError, match="has no port") as caught:
        load_profile(address)
    assert ":8786" in caught.value.hint
    assert load_profile("tcp://10.0.0.7:8786").address == "tcp://10.0.0.7:8786"
