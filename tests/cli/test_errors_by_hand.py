"""What a hurried user gets wrong: each mistake is named, with what to type instead.

Found by hand, one command after the other. What `test_commands.py` has is not repeated.
"""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest
from commands import cpflow

from cpflow.cli import main

BIASES = "observation_type='bias'"
RUN = "run -b {repo} -p bias -o u/me/x"
QUERY = "records {repo} exposure --where"
CERTIFY = "certify {repo} u/me/biasGen LATISS/calib/X"

# (command, exit code, what standard error says)
REPOSITORIES = [
    ("collections {here}/rep", 2, "there is no"),
    ("collections {here}", 2, "{here}/repo is one"),
    ("collections {repo}/products", 2, "{repo} is one"),
    ("certify u/me/biasGen {repo} LATISS/calib/X bias", 2, "REPO comes first"),
    ("init {a_file} --instrument latiss", 2, "is a file and not a cpflow repository"),
    ("init {a_file}/repo --instrument latiss", 2, "a part of that path is a file"),
    ("init {repo} --db sqlite:///other", 2, "leave --db out"),
    ("init {here}/new --db nonsense", 2, "'nonsense' is not the URL of a database"),
    ("init {here}/new --db oracle://me@host/x", 2, "no registry in 'oracle'"),
    ("init {here}/new --instrument {here}/not.yaml", 2, "cpflow instrument list"),
    ("--log-file {a_file}/log collections {repo}", 2, "--log-file {a_file}/log cannot be written"),
]
QUERIES = [
    (f"{QUERY} observation_type=bias AND detector=0", 2, "what has spaces takes quotes"),
    (f'{QUERY} "observation_type=bias"', 2, "has the shell taken them away?"),
    (f'{QUERY} "exposure IN 1, 2"', 2, "a list takes parentheses"),
    (
        f'{QUERY} "exposure IN ()"',
        2,
        "nothing stands in the parentheses (an unset shell variable?)",
    ),
    (f'{QUERY} "exposure IN (1 2)"', 2, "values of a list by commas"),
    (f'{QUERY} "exposure IN (1,)"', 2, "missing after the last comma"),
    (f'{QUERY} "exposure IN [1]"', 2, "lists take parentheses"),
    (f"{QUERY} 'exposure IN ($EXPOSURES)'", 2, "put double quotes around the query"),
    (f"{QUERY} \"exposure IN ('1')\"", 2, "numbers take no quotes"),
    (f'{QUERY} "day_obs > 2021-01-01"', 2, "looks like a date"),
    (f"{QUERY} \"day_obs > '2021-01-01'\"", 2, "a day is a number: day_obs = 20210121"),
    (f"{QUERY} \"exposure.timespan.begin > '2021-01-01'\"", 2, "T'2021-01-21T12:00:00'"),
    (f'{QUERY} "exposure.timespan OVERLAPS (2021, 2022)"', 2, "T'2021-01-21T12:00:00'"),
    (f'{QUERY} "day_obs => 20210101"', 2, "write >="),
    (f'{QUERY} "day_obs = 1 and and detector = 0"', 2, "AND stands there twice"),
    (f'{QUERY} "day_obs = 1 && detector = 0"', 2, "write AND"),
    (f'{QUERY} "day_obs = 1, detector = 0"', 2, "conditions are joined by AND"),
    (f'{QUERY} "day_obs = 1 OR"', 2, "is missing at the end"),
    (f'{QUERY} "day_obs"', 2, "compare it with something"),
    (f'{QUERY} "exposure_time = 0.0s"', 2, "without units"),
    (f'{QUERY} "observation_type=‘bias’"', 2, "plain single quotes"),
    (f'{QUERY} "airmass < 2"', 2, "names: azimuth, band"),
    ("records {repo} detector --where detector=0", 2, "not records of detector"),
    ("records {repo} exposure --sample 3 --per nightt", 2, "fields: "),
    ("records {repo} exposure --order-by nothing", 2, "fields: "),
    ("records {repo} exposure --order-by ''", 2, "--order-by is empty"),
    ("records {repo} exposure --columns ,", 2, "--columns is empty"),
    ("records {repo} exposure --limit -3", 2, "-3 is not in the range"),
]
RUNS = [
    ("run -b {repo} -p biass", 2, "did you mean bias?"),
    ("run -b {repo} -p {a_file}.py", 2, "cpflow graph copy bias mine.py"),
    (f"{RUN} -i ''", 2, "--input is empty (an unset variable?)"),
    (f"{RUN} -c isr.defect=False,isr.dark=False", 2, "-c a=1 -c b=2"),
    (f"{RUN} -c isr.defect=maybe", 2, "cpflow graph show GRAPH --config"),
    (f"{RUN} -C {{here}}/not.yaml", 2, "not.yaml: No such file or directory"),
    (f"{RUN} -C {{raw}}", 2, "is not YAML"),
    (f"{RUN} -C {{a_file}}", 2, "is not YAML"),
    (f"{RUN} --drop-bad -1", 2, "-1 is not in the range"),
    (f"{RUN} --memory 0", 2, "as in 256MiB"),
    (f"{RUN} --band-rows 0", 2, "0 is not in the range"),
    (f"{RUN} -j 0", 2, "0 is not in the range"),
    ("run -b {repo} -p dark", 3, "is it the right graph?"),
    ("run -b {repo} -p verify/bias -i LATISS/raw/all", 6, "--candidate RUN"),
    ("run -b {repo} -p verify/bias --candidate nothing", 2, "there is no collection 'nothing'"),
    ("graph draw bias -b {repo} -o plan.xyz", 2, ".png .svg .pdf"),
    ("graph copy bias {a_file}/mine.py", 2, "a part of that path is a file"),
    ("daily {repo} 20210121 --config {here}/list.yaml", 2, "configs/daily/latiss.yaml"),
    ("daily {repo} 20210121 --config {here}/keys.yaml", 2, "stepz: extra inputs"),
    ("daily {repo} 20210121 --config {here}/empty.yaml", 2, "where: value error, it is empty"),
    ("daily {repo} 20210121 --config {here}/query.yaml", 2, "a list takes parentheses"),
    ("daily {repo} 20210121 --config {a_file}", 2, "there is no description of a night"),
    ("daily {repo} 20211399", 2, "write it as 20210715"),
]
COLLECTIONS = [
    ("collections {repo} --collection-type RUNN", 2, "types: RUN, TAGGED"),
    ("datasets {repo} --collections ''", 2, "--collections is empty"),
    ("datasets {repo} bias --find-first", 2, "--collections FIRST,SECOND"),
    ("ingest {repo} {here}/raws --output-run u/me/biasGen", 2, "is a CHAINED collection"),
    ("ingest {repo} '{here}/raws/*.fit'", 3, "a pattern that fits nothing"),
    ("ingest {repo} {here}/empty", 3, "holds no FITS files"),
    (f"{CERTIFY} biases", 2, "did you mean bias?"),
    (f"{CERTIFY} bias_verification", 2, "certify what was verified, the bias"),
    (f"{CERTIFY} bias --begin-date 01/02/2020", 2, "write 2021-07-15"),
    (f"{CERTIFY} bias --end-date 9999-01-01", 2, "what is left out is open"),
    ("certify {repo} u/me/biasGen u/me/biasGen bias", 2, "name another collection"),
    ("certify {repo} LATISS/calib/DM-1 u/me/biasGen bias", 2, "name the run"),
    ("chain {repo} u/me/biasGen u/me/biasGen", 2, "would contain itself"),
    ("chain {repo} u/me/biasGen", 2, "needs at least one child"),
    ("chain {repo} u/me/biasGen --mode pop 5", 2, "positions are 0 to"),
    ("chain {repo} u/me/biasGen --mode pop x", 2, "--mode remove takes 'x' out by name"),
    ("lineage {repo} exposure abc", 2, "numbers as 2021012100010"),
    ("lineage {repo} exposure 12", 3, "cpflow records REPO exposure"),
    ("lineage {repo} dataset abc", 2, "cpflow datasets REPO"),
    ("associate {repo} tag --remove", 2, "say what to take out"),
    ("associate {repo} tag --datasets raw --where exposure=1", 3, "no raw frames"),
    ("associate {repo} u/me/biasGen --datasets bias", 2, "name another collection"),
    ("remove-run {repo} u/me/biasGen --yes", 2, "'u/me/biasGen/*', in quotes"),
    ("waivers {repo} --product biass", 2, "did you mean bias?"),
    (
        "waive {repo} bias NOISE --category permanent --comment x --until 2001-01-01",
        2,
        "give --until a date to come",
    ),
    ("waive {repo} bias NOISE --category permanent --comment x --filter g", 2, "leave --filter"),
    ("curated {repo} {here}/not", 3, "defects/DETECTOR/*.ecsv"),
]
FILES = [
    ("compare {repo} u/me/biasGen -o new.xyz", 2, ".png .svg .pdf .html"),
    ("compare {repo} u/me/biasGen -o {here}/not/new.html", 2, "there is no directory"),
    ("compare {repo} u/me/biasGen u/me/biasGen", 2, "is compared with itself"),
    ("compare {repo} u/me/biasGen --product dark", 6, "u/me/biasGen holds no dark"),
    (f'validity {{repo}} u/me/biasGen --exposures "{BIASES}" --plot v.xyz', 2, ".png .svg .pdf"),
    (
        f'validity {{repo}} u/me/biasGen --exposures "{BIASES}" --pass-fraction 80',
        2,
        "not in the range",
    ),
    ("report {repo} u/me/biasGen -o {a_file}/bias.html", 2, "a part of that path is a file"),
    ("report {repo} LATISS/raw/all", 6, "LATISS/raw/all holds no product"),
    ("export {repo} u/me/biasGen {here}/bias.ecsv", 2, "name the file .fits"),
    ("export {repo} u/me/biasGen {here} --overwrite", 2, "name a file in it"),
    ("export-collections {repo} {a_file}/out u/me/biasGen", 2, "a part of that path is a file"),
    ("import-collections {repo} {a_file}", 2, "cpflow export-collections"),
    ("logs {repo} --events --log", 2, "give one of them"),
    ("logs {repo} LATISS/raw/all", 3, "there are no logs"),
    ("simulate {here}/new --bias 1 --day-obs 20211399", 2, "write it as 20210121"),
    ("simulate {a_file}/new --bias 1 --scale 16", 2, "a part of that path is a file"),
    ("simulate {here}/new --sequence {here}/not.yaml", 2, "--bias 20"),
    ("demo {here}/new --exposures 0", 2, "not in the range"),
    ("instrument check {here}/list.yaml", 2, "cpflow instrument new"),
]


@pytest.fixture(scope="module")
def places(built):
    """A repository, and what is none."""
    (built / "empty").mkdir()
    (built / "list.yaml").write_text("- 1\n")
    (built / "keys.yaml").write_text("instrument: LATISS\nstepz: []\n")
    night = "instrument: LATISS\nsteps: [{{product: bias, where: {}}}]\n"
    (built / "empty.yaml").write_text(night.format("''"))
    (built / "query.yaml").write_text(night.format("exposure IN 1"))
    (built / "file").write_text("a: [")
    (built / "file.py").write_text("def broken(:\n")
    raw = min((built / "raws").glob("*.fits"))
    return {"here": built, "repo": built / "repo", "a_file": built / "file", "raw": raw}


@pytest.mark.parametrize(
    ("command", "code", "said"), [*REPOSITORIES, *QUERIES, *RUNS, *COLLECTIONS, *FILES]
)
def test_a_mistake_is_named_with_what_to_type_instead(places, command, code, said):
    words = [word.format(**places) for word in shlex.split(command)]
    done = cpflow(*words, code=code)
    assert said.format(**places) in done.stderr
    assert "hint: " in done.stderr or "Try 'cpflow" in done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) <= 12


@pytest.mark.parametrize("text", ["a: [", "5", ""])
def test_a_damaged_configuration_is_no_missing_repository(root, text):
    (root / "cpflow.yaml").write_text(text)
    assert "cpflow.yaml is damaged" in cpflow("collections", root, code=2).stderr


def test_a_repository_that_cannot_be_made_leaves_nothing(tmp_path):
    pytest.importorskip("psycopg", reason="asks a server: pip install 'cpflow[postgresql]'")
    nobody = "postgresql+psycopg://me@127.0.0.1:1/none"
    cpflow("init", tmp_path / "repo", "--db", nobody, code=1)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_a_database_is_found_from_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cpflow("init", "repo", "--db", "sqlite:///registry.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert "no instrument yet" in cpflow("init", tmp_path / "repo").stdout
    assert list(tmp_path.rglob("registry.db")) == [tmp_path / "registry.db"]


def test_a_span_of_one_nanosecond_is_warned_of(root):
    span = ("--begin-date", "2030-01-01", "--end-date", "2030-01-01")
    done = cpflow("certify", root, "u/me/biasGen", "LATISS/calib/X", "bias", *span)
    assert "WARNING: the span is one nanosecond" in done.stderr


def test_a_date_in_the_text_of_a_query_is_none(built):
    done = cpflow("records", built / "repo", "exposure", "--where", "target_name='2021-01-01'")
    assert done.stdout == "no exposures are selected\n"


def test_a_log_file_on_a_full_disk_ends_the_log_not_the_command(root):
    done = cpflow("--log-file", "/dev/full", "certify", root, "u/me/biasGen", "X", "bias")
    assert done.stderr.count("no more is logged in /dev/full") == 1
    assert "bias" in done.stdout


def test_letters_that_the_terminal_does_not_have(built):
    """What a name is where Python reads arguments as ASCII: PYTHONUTF8=0, LC_ALL=C."""
    done = cpflow("records", built / "repo", "exposure", "--where", "target_name='\udcc3'", code=2)
    assert "LC_ALL=C.UTF-8" in done.stderr


def test_a_failed_notification_is_told(root, tmp_path):
    config = tmp_path / "night.yaml"
    config.write_text("instrument: LATISS\nsteps: [{product: dark, where: day_obs=1}]\n")
    options = ("--config", config, "--notify-command", "exit 3")
    assert "ended with code 3" in cpflow("daily", root, 20210121, *options).stderr


def test_what_nobody_foresaw_is_no_traceback(monkeypatch, capsys):
    def broken(arguments=None):
        raise ValueError("port missing\nand more")

    monkeypatch.setattr("cpflow.cli.app.run", broken)
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[0] == "error: ValueError: port missing"
    assert "please report it" in shown.err


@pytest.mark.parametrize("command", ["-h", "completion bash"])
@pytest.mark.parametrize(
    ("redirected", "code", "said"), [("| true", 0, ""), ("> /dev/full", 4, "make room")]
)
def test_nobody_or_nothing_takes_the_output(command, redirected, code, said):
    script = f'set -o pipefail; "{sys.executable}" -m cpflow {command} {redirected}'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
