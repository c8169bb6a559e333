"""TAB in real shells: what is offered, and that nothing else is ever printed or waited for."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import cpflow
from registries import postgresql_database

from cpflow.cli.app import ALIASES, COMMANDS
from cpflow.cli.completing import VARIABLE
from cpflow.cli.completing.shells import last_word, script
from cpflow.repo import Repository

BREAKS = " \t\n\"'><=;|&(:"
PROGRAMS = Path(sys.executable).parent


@pytest.fixture
def environment(tmp_path):
    """A shell finds the command, and no files of the user."""
    return {
        **os.environ,
        "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "LC_ALL": "C.UTF-8",
    }


@pytest.fixture
def bash(environment, tmp_path):
    """What bash would offer for a line that the cursor is at the end of."""

    def complete(line, *, more=""):
        words = re.findall(r"""(?:[^\s=:"']|"[^"]*"?|'[^']*'?)+|[=:]+""", line)
        if line.endswith(" ") or not words:
            words.append("")
        text = (
            script("bash", VARIABLE)
            + f"""
            COMP_LINE={shlex.quote(line)}{shlex.quote(more)} COMP_POINT={len(line)}
            COMP_WORDS=({" ".join(map(shlex.quote, words))}) COMP_CWORD={len(words) - 1}
            COMP_WORDBREAKS={shlex.quote(BREAKS)}
            compopt() {{ printf 'compopt %s\\n' "$2"; }}
            _cpflow_completion cpflow "${{COMP_WORDS[COMP_CWORD]}}"
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        )
        done = subprocess.run(
            ["bash", "--norc", "-c", text],
            env=environment, cwd=tmp_path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stderr == ""
        return [one for one in done.stdout.splitlines() if one]

    return complete


def answered(environment, line, *options):
    """What the command itself answers, with options of Python."""
    return subprocess.run(
        [sys.executable, *options, "-m", "cpflow"],
        env={**environment, VARIABLE: "fish_complete", "COMP_LINE": line,
             "COMP_COMMAND": "cpflow"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_commands_and_options(bash):
    assert bash("cpflow ") == list(COMMANDS)
    assert bash("cpflow cert") == ["certify", "certified"]
    assert bash("cpflow query-c") == ["query-collections"]
    assert bash("cpflow graph ") == ["copy", "draw", "show"]
    assert "--data-query" in bash("cpflow run --")
    assert bash("cpflow run --dry") == ["--dry-run"]
    assert bash("cpflow datasets repo --format ") == ["table", "csv", "json"]
    assert bash("cpflow --log-level DEBUG completion ") == ["bash", "zsh", "fish"]
    # In the middle of a line; what follows is left alone.
    assert bash("cpflow certi", more=" repo") == ["certify", "certified"]


def test_graphs_instruments_and_clusters(bash, tmp_path):
    assert bash("cpflow run -p verify/bi") == ["verify/bias"]
    assert bash("cpflow graph show sk") == ["sky"]
    assert bash("cpflow init repo --instrument lat") == ["latiss"]
    assert bash("cpflow run --cluster lo") == ["local"]
    assert bash("cpflow run --cluster=lo") == ["local"], "bash completes what is behind the ="
    assert "slurm" in bash("cpflow run --cluster=")
    own = tmp_path / "config" / "cpflow"
    for directory, name in (("graphs", "mine.py"), ("clusters", "mysite.yaml")):
        (own / directory).mkdir(parents=True)
        (own / directory / name).touch()
    assert bash("cpflow doctor --cluster my") == ["mysite"]
    assert bash("cpflow run -p mi") == ["mine"]
    assert bash("cpflow run -p ./mi") == ["compopt default"], "a file"


def test_names_of_the_repository(bash, root, run_name):
    assert bash(f"cpflow run -b {root} -i LATISS/r") == ["LATISS/raw/all"]
    assert bash(f"cpflow run -b {root} -i LATISS/raw/all,u/me/biasGen/") == [
        f"LATISS/raw/all,{run_name}"
    ]
    assert bash(f"cpflow certify {root} u/me/biasGen LATISS/cal") == ["LATISS/calib/DM-1"]
    assert bash(f"cpflow certify {root} u/me/biasGen LATISS/calib/DM-1 bia") == [
        "bias", "bias_verification",
    ]  # fmt: skip
    assert bash(f"cpflow query-datasets {root} --collections u/me/biasGen --where x dar") == [
        "dark", "dark_verification",
    ]  # fmt: skip
    assert bash(f"cpflow explain {root} 1 --instrument ") == ["LATISS"]
    (root / "graphs").mkdir()
    (root / "graphs" / "special.py").touch()
    assert bash(f"cpflow run -b {root} -p sp") == ["special"]
    # Without a repository there is nothing to offer; and an exposure is a number.
    assert bash("cpflow run -i LATISS/r") == []
    assert bash(f"cpflow explain {root} ") == []


def test_odd_names(bash, root):
    cpflow("chain", root, "u/my name/it's (a)", "u/me/biasGen")
    cpflow("chain", root, "u/a:b=c", "u/me/biasGen")
    assert bash(f"cpflow logs {root} u/my") == [r"u/my\ name/it\'s\ \(a\)"]
    assert bash(f'cpflow logs {root} "u/my na') == ["u/my name/it's (a)"]
    assert bash(f"cpflow logs {root} u/a:b") == ["b=c"], "bash has split at the colon"
    assert bash(f"cpflow logs {root} --log u/a") == ["u/a:b=c"]
    odd = root.parent / "my repo $x"
    root.rename(odd)
    assert bash(f"cpflow logs {shlex.quote(str(odd))} u/a") == ["u/a:b=c"]


def test_files_elsewhere(bash, root):
    assert bash("cpflow ingest ") == ["compopt dirnames"], "a repository"
    assert bash(f"cpflow ingest {root} /da") == ["compopt default"]
    assert bash("cpflow run -C ") == ["compopt default"]
    assert bash("cpflow report repo run -o ") == ["compopt default"]
    assert bash("cpflow run -d ") == []


@pytest.mark.parametrize(
    "line",
    [
        "cpflow run -b /nonexistent -i ",
        "cpflow nothing of this ",
        "cpflow run -b 'unclosed -i ",
        'cpflow run "',
        "cpflow datasets /proc/self ",
        "",
        "\\",
        "cpflow run -b /dev/null/x -p x",
    ],
)
def test_failures_are_silent(environment, bash, line):
    bash(line)
    done = answered(environment, line)
    assert done.stderr == ""
    assert done.returncode in (0, 1)


def test_a_damaged_repository_is_silent(environment, bash, root):
    (root / "registry.sqlite").write_bytes(b"x" * 5000)
    assert bash(f"cpflow logs {root} u/") == []
    (root / "cpflow.yaml").write_text("a: [")
    assert bash(f"cpflow logs {root} u/") == []
    assert bash(f"cpflow run -b {root} -p verify/bi") == ["verify/bias"]
    assert answered(environment, f"cpflow logs {root} u/").stderr == ""


def test_a_locked_registry_is_not_waited_for(bash, root):
    import sqlite3

    with sqlite3.connect(root / "registry.sqlite", isolation_level=None) as connection:
        connection.execute("BEGIN IMMEDIATE")
        assert bash(f"cpflow certify {root} u/me/bi")[0] == "u/me/biasGen"
        connection.execute("ROLLBACK")
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        assert bash(f"cpflow certify {root} u/me/bi") == []
        connection.execute("ROLLBACK")
    connection.close()


def test_an_unreachable_server_is_not_waited_for(environment, bash, root):
    """It takes the connection and never says a word."""
    import socket

    pytest.importorskip("psycopg", reason="needs the extra cpflow[postgresql]")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (root / "cpflow.yaml").write_text(f"registry: postgresql+psycopg://me@127.0.0.1:{port}/x")
        begin = time.monotonic()
        assert bash(f"cpflow logs {root} u/") == []
        # The patience of a second, and what it takes to start; a driver waits for ever.
        assert time.monotonic() - begin < 10


@pytest.mark.postgresql
def test_names_in_postgresql(bash, tmp_path):
    with postgresql_database() as url:
        cpflow("init", tmp_path / "repo", "--instrument", "generic", "--db", url)
        with Repository(tmp_path / "repo") as repository:
            repository.registry.register_collection("u/my/chain", "CHAINED")
        assert bash(f"cpflow certify {tmp_path}/repo u/m") == ["u/my/chain"]
        assert bash(f"cpflow datasets {tmp_path}/repo bias_") == ["bias_verification"]


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("cpflow ", ""),
        ("cpflow run --", ""),
        ("cpflow logs {root} u/", "yaml sqlite3"),
        ("cpflow run -b {root} -p ver", "yaml pydantic"),
        ("cpflow run -b {root} --cluster lo", "yaml pydantic"),
    ],
)
def test_little_is_imported(environment, root, line, allowed):
    """What takes time: half a second is for a TAB, and `import numpy` alone may be a third."""
    done = answered(environment, line.format(root=root), "-X", "importtime")
    names = {text.rpartition("|")[2].strip() for text in done.stderr.splitlines()}
    assert "click.shell_completion" in names
    slow = {
        *("numpy", "numba", "scipy", "dask", "distributed", "xarray", "zarr", "astropy"),
        *("sqlalchemy", "psycopg", "matplotlib", "rich", "pydantic", "yaml", "sqlite3"),
    }
    assert names & slow <= set(allowed.split())
    commands = {name for name in names if name.startswith("cpflow.cli.")}
    assert len(commands) < 10, "not all commands"


def test_every_command_and_alias_offers_its_options(environment):
    """In one process of its own: the types of parameters are changed for this."""
    text = """
import json
from cpflow.cli.app import ALIASES, COMMANDS, root
from cpflow.cli.completing import VARIABLE
from cpflow.cli.completing.shells import SHELLS
shell = SHELLS["fish"](root, {}, "cpflow", VARIABLE)
print(json.dumps({
    name: [item.value for item in shell.get_completions([name], "--")]
    for name in (*COMMANDS, *ALIASES)
}))
"""
    done = subprocess.run(
        [sys.executable, "-c", text], env=environment, capture_output=True, text=True, check=True
    )
    offered = json.loads(done.stdout)
    assert set(offered) == {*COMMANDS, *ALIASES}
    assert [name for name, options in offered.items() if "--help" not in options] == []


def test_words_are_split_as_a_shell_does():
    assert last_word("a b") == (["a"], "b", False)
    assert last_word("a b ") == (["a", "b"], "", False)
    assert last_word("a 'b c") == (["a"], "b c", True)
    assert last_word('a "b c" d\\ e') == (["a", "b c"], "d e", False)
    assert last_word("") == ([], "", False)


# -- real shells ---------------------------------------------------------------------------------

SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "--interactive"],
}
SETUP = {
    "bash": 'eval "$(cpflow completion bash)"',
    "zsh": 'autoload -Uz compinit; compinit -u -D; eval "$(cpflow completion zsh)"',
    "fish": "cpflow completion fish | source",
}
# A test of a shell that is not there is none: this list says which were found.
FOUND = [name for name in SHELLS if shutil.which(name)]


class Terminal:
    """A shell on a terminal, as somebody types."""

    def __init__(self, arguments, environment, directory):
        self.parent, child = pty.openpty()
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *arguments], stdin=child, stdout=child, stderr=child,
            cwd=directory,
            env={**environment, "TERM": "dumb", "PS1": "$ ", "COLUMNS": "200", "LINES": "50"},
        )  # fmt: skip
        os.close(child)
        self.shown = ""

    def type(self, text):
        os.write(self.parent, text.encode())

    def wait(self, pattern, seconds=20.0):
        """Read until something is shown; return what was."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.shown):
            assert time.monotonic() < deadline, self.shown
            if select.select([self.parent], [], [], 0.1)[0]:
                self.shown += os.read(self.parent, 65536).decode(errors="replace")
        shown, self.shown = self.shown, ""
        return shown

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.parent)


@pytest.mark.parametrize("shell", FOUND)
def test_tab_in_a_terminal(environment, root, shell):
    terminal = Terminal(SHELLS[shell], environment, root.parent)
    try:
        terminal.type(f"{SETUP[shell]}; echo rea''dy\r")
        terminal.wait("ready")
        terminal.type("cpflow run -p verify/bi\t")
        terminal.wait(r"verify/bias ")
        terminal.type(f"-b {root.name} -i LATISS/r\t")
        terminal.wait(r"LATISS/raw/all ")
        terminal.type("--cluster=loc\t")
        terminal.wait(r"local ")
        terminal.type("--dry-\t")
        terminal.wait(r"run ")
    finally:
        terminal.close()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_printed_and_are_good_syntax(environment, shell):
    printed = cpflow("completion", shell).stdout
    assert printed == script(shell, VARIABLE)
    assert "2>/dev/null" in printed
    assert "cpflow" in printed
    if shell in FOUND:
        done = subprocess.run(
            [shell, "-n", "/dev/stdin"], input=printed, text=True, capture_output=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
    if shell == "fish" and shell in FOUND:
        # It shows what commands do; so does zsh, in a terminal only.
        done = subprocess.run(
            ["fish", "--no-config", "-c", f"{printed}\ncomplete -C 'cpflow certi'"],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stderr == ""
        assert done.stdout.splitlines()[0] == f"certify\t{COMMANDS['certify'][1]}"


def test_the_help_says_how_to_install_it_in_one_line():
    text = cpflow("completion", "--help").stdout
    assert "echo 'eval \"$(cpflow completion bash)\"' >> ~/.bashrc" in text
    assert "~/.config/fish/completions/cpflow.fish" in text
    cpflow("completion", "tcsh", code=2)
