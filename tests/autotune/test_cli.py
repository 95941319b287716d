import json
import runpy
import shutil
import subprocess
import sys

import numpy as np
import pytest

from autotune import cli, commands
from autotune.database import Database, write
from autotune.record import Record
from autotune.workload import parse


def run(capsys, *arguments):
    code = cli.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A log of a real tuning."""
    log = tmp_path_factory.mktemp("log") / "tuned.jsonl"
    assert cli.main(["tune", "matmul:16,16,16", "--trials", "2", "--log", str(log), "--quiet"]) == cli.DONE
    return log


def test_tune_best_and_show_tell_the_same(tuned, capsys):
    code, out, _ = run(capsys, "tune", "matmul:16,16,16", "--trials", 2, "--log", tuned, "--json", "--quiet")
    assert code == 0
    result = json.loads(out)
    assert result["task"] == "matmul:16,16,16"
    assert (result["trials"], result["interrupted"]) == (2, False)
    assert result["best"]["gflops"] > 0

    code, out, _ = run(capsys, "best", "matmul:16,16,16", "--log", tuned, "--json")
    assert code == 0
    assert json.loads(out)["knobs"] == result["best"]["knobs"]

    for command in ("list", "show"):
        code, out, _ = run(capsys, command, tuned, "--json")
        assert code == 0
        assert json.loads(out)[0]["key"] == result["key"]
    assert json.loads(out)[0]["top"][0]["knobs"] == result["best"]["knobs"]


def test_what_people_see(tuned, capsys):
    code, out, _ = run(capsys, "best", "matmul:16,16,16", "--log", tuned, "--trace")
    assert code == 0
    assert "GFLOP/s" in out
    assert "s.split(" in out
    code, out, _ = run(capsys, "list", tuned)
    assert out.splitlines()[0].split() == ["task", "trials", "failed", "best", "GFLOP/s"]
    assert out.splitlines()[1].startswith("matmul:16,16,16")
    code, out, _ = run(capsys, "show", tuned, "matmul", "--top", 1)
    assert code == 0
    assert out.startswith("matmul:16,16,16  [")
    assert out.count("sketch ") == 1
    assert run(capsys, "show", tuned, "softmax")[0] == 1
    code, out, _ = run(capsys, "bench", "matmul:16,16,16", "--log", tuned, "--json")
    assert code == 0
    assert {s["status"] for s in json.loads(out)["schedules"].values()} == {"OK"}
    assert list(json.loads(out)["schedules"]) == ["best known", "without any trial", "unscheduled"]


def test_a_second_run_of_the_same_command_measures_nothing_and_imports_little(tuned):
    before = tuned.read_bytes()
    program = (
        "import sys; from autotune import cli\n"
        f"cli.main(['tune', 'matmul:16,16,16', '--trials', '2', '--log', {str(tuned)!r}]); print(*sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True).stdout
    assert out.startswith("matmul:16,16,16: ")
    assert tuned.read_bytes() == before
    assert not {"xgboost", "rich", "ray", "scipy"} & set(out.splitlines()[-1].split())


def test_the_help_imports_nothing_slow():
    program = "import sys; from autotune import cli; cli.main(['tune', '--help']); print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True).stdout
    assert not {"numpy", "tensorlang", "xgboost", "rich"} & set(out.splitlines()[-1].split())


def test_an_exported_schedule_is_a_program(tuned, tmp_path, capsys):
    script = tmp_path / "matmul.py"
    code, out, _ = run(capsys, "export", "matmul:16,16,16", "--log", tuned, "-o", script)
    assert (code, out) == (0, "")
    done = subprocess.run([sys.executable, str(script)], check=True, stdout=subprocess.PIPE, text=True)
    assert "GFLOP/s" in done.stdout
    names = runpy.run_path(str(script))
    a, b = np.random.default_rng(0).random((2, 16, 16), dtype=np.float32)
    np.testing.assert_allclose(names["kernel"]()(a, b), a @ b, rtol=1e-5)
    assert run(capsys, "export", "matmul:16,16,16", "--log", tuned)[1] == script.read_text()


def test_an_exported_schedule_of_the_users_function_under_other_names(tmp_path, capsys):
    file, log = tmp_path / "mine.py", tmp_path / "log.jsonl"
    file.write_text(FILE)
    renamed = tmp_path / "renamed.py"
    renamed.write_text(FILE.replace('"x"', '"first"').replace('"y"', '"second"'))
    assert run(capsys, "tune", f"{file}:blur:20", "--trials", 1, "--log", log, "--quiet")[0] == 0
    script = tmp_path / "script.py"
    assert run(capsys, "export", f"{renamed}:blur:20", "--log", log, "-o", script)[0] == 0
    assert "renamed(" in script.read_text()
    x = np.arange(22, dtype=np.float32)
    np.testing.assert_allclose(runpy.run_path(str(script))["kernel"]()(x), x[:-2] + x[1:-1] + x[2:])


def records(key, *seconds):
    made = [Record(key, f"task {key}", {}, "tile", {"a": n}, {}, "OK", seconds=t) for n, t in enumerate(seconds)]
    return [*made, Record(key, f"task {key}", {}, "tile", {"a": 99}, {}, "CRASH", reason="boom")]


def test_logs_are_compared(tmp_path, capsys):
    write(tmp_path / "a", [*records("x", 2e-3, 4e-3), *records("y", 1e-3), *records("only a", 1e-3)])
    write(tmp_path / "b", [*records("x", 1e-3), *records("y", 4e-3), *records("only b")])
    code, out, _ = run(capsys, "compare", tmp_path / "a", tmp_path / "b", "--json")
    assert code == 0
    found = json.loads(out)
    assert [(t["key"], t["b_is_faster_by"]) for t in found["tasks"]] == [
        ("x", 2.0),
        ("y", 0.25),
        ("only a", None),
        ("only b", None),
    ]
    assert found["geometric_mean"] == pytest.approx(0.5**0.5)
    code, out, _ = run(capsys, "compare", tmp_path / "a", tmp_path / "b")
    assert out.splitlines()[1].split() == ["task", "x", "2", "ms", "1", "ms", "2.000"]
    write(tmp_path / "c", records("z"))
    assert run(capsys, "compare", tmp_path / "a", tmp_path / "c")[0] == 1


def test_logs_are_merged_with_each_record_once(tmp_path, capsys):
    write(tmp_path / "a", records("x", 2e-3))
    write(tmp_path / "b", [*Database(tmp_path / "a").records(), *records("y", 1e-3)])
    into = tmp_path / "all"
    code, out, _ = run(capsys, "merge", tmp_path / "a", tmp_path / "b", "--into", into, "--json")
    assert (code, json.loads(out)) == (0, {"read": 6, "added": 4, "records": 4})
    assert run(capsys, "merge", tmp_path / "b", into, "--into", into)[1] == "8 read, 0 added, 4 in all\n"
    assert len(Database(into).records()) == 4


def test_failures_are_shown_with_their_reasons_and_nothing_reaches_the_terminal_as_it_is(tmp_path, capsys):
    bad = Record("k", "t\x1b[31m", {}, "tile", {"a": 1}, {}, "CRASH", reason="killed\x1b]0;x\x07 by SIGSEGV")
    write(tmp_path / "log", [bad])
    code, out, _ = run(capsys, "show", tmp_path / "log")
    assert code == 0
    assert "1 CRASH, for example sketch tile: a=1: killed ]0;x  by SIGSEGV" in out
    assert "\x1b" not in out + run(capsys, "list", tmp_path / "log")[1]


def test_several_tasks_take_turns_under_a_config_file(tmp_path, capsys):
    log, config = tmp_path / "log.jsonl", tmp_path / "tuned.toml"
    config.write_text(f'workload = ["matmul:8,8,8", "transpose:8,9"]\ntrials = 1\nquiet = true\nlog = "{log}"\n')
    code, out, _ = run(capsys, "tune", "--config", config, "--json")
    assert code == 0
    assert [(r["task"], r["trials"]) for r in json.loads(out)] == [("matmul:8,8,8", 1), ("transpose:8,9", 1)]
    code, out, _ = run(capsys, "tune", "matmul:8,8,8", "--config", config, "--trials", 2, "--json")
    assert (json.loads(out)["task"], json.loads(out)["trials"]) == ("matmul:8,8,8", 2)


def test_the_time_is_limited(tmp_path, capsys):
    arguments = ["matmul:64,64,64", "--minutes", 0.01, "--trials", 500, "--log", tmp_path / "log", "--json"]
    code, out, _ = run(capsys, "tune", *arguments)
    assert code in (0, 1)
    assert json.loads(out)["trials"] < 500


def test_a_full_disk_is_told_and_loses_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, _, errors = run(capsys, "tune", "matmul:8,8,8", "--trials", 1, "--log", "/dev/full", "--quiet")
    assert code == 3
    assert "/dev/full: No space left on device" in errors
    assert "/dev/full is full; the rest of the records is in" in errors
    (rescued,) = tmp_path.glob("full-*.jsonl")
    assert Database(rescued).records()[0].ok


@pytest.mark.parametrize("shell", cli.SHELLS)
def test_completion(shell, capsys):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    code, out, _ = run(capsys, "completion", shell)
    assert code == 0
    assert "--build-timeout" in out
    assert subprocess.run([shell, "-n"], input=out, text=True, check=False).returncode == 0


def test_plain_lines_when_there_is_no_terminal(tuned, capsys):
    code, _, errors = run(capsys, "tune", "matmul:16,16,16", "--trials", 2, "--log", tuned)
    assert code == 0
    assert "matmul:16,16,16 · 2/2 trials · best" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tune"], "the following arguments are required: WORKLOAD"),
        (["tune", "matmul"], "matmul takes (m, n, k, dtype=float32"),
        (["tune", "matmul:8,8,8,size=3"], "got an unexpected keyword argument 'size'"),
        (["tune", "matmul:8,8,k=8,8"], "expected integers with commas after the colon, then options as name=value"),
        (["tune", "softmax:8,8,dim=0,dim=1"], "the option 'dim' is given twice"),
        (["tune", "softmax:8,8,dim=2"], "softmax refuses 'softmax:8,8,dim=2': dim: expected ints in -2 .. 1, got 2"),
        (["tune", "conv2d:1,8,8,4,4,3,layout=HWCN"], "layout: expected NCHW or NHWC, got 'HWCN'"),
        (["tune", "matmul:8,8"], "got 2 values in 'matmul:8,8'"),
        (["tune", "matmul:8,x,8"], "after the colon, then options as name=value, got 'matmul:8,x,8'"),
        (["tune", "nonsense:8"], "expected operator:shape with an operator of"),
        (["tune", "none.py:f"], "there is no file 'none.py'"),
        (["tune", "matmul:8,8,8", "--trials", "0"], "argument --trials: expected an integer of at least 1, got '0'"),
        (["tune", "matmul:8,8,8", "--seed", "x"], "argument --seed: expected an integer of at least 0, got 'x'"),
        (["tune", "matmul:8,8,8", "--run-timeout", "-1"], "argument --run-timeout"),
        (["tune", "matmul:8,8,8", "--target", "abacus"], "argument --target: expected a target, got 'abacus'"),
        (["best", "matmul:8,8,8", "--log", "none.jsonl"], "--log: there is no file 'none.jsonl'"),
        (["show", "none.jsonl"], "--log: there is no file 'none.jsonl'"),
        (["compare", "none.jsonl", "none.jsonl"], "--log: there is no file 'none.jsonl'"),
        (["merge", "x"], "the following arguments are required: --into"),
        (["tune", "--config", "none.toml"], "--config: [Errno 2] No such file or directory: 'none.toml'"),
        (["tune", "--config", "setup.py"], "--config: setup.py is no TOML file"),
        (["tune", "matmul:8,8,8", "--resources", "CPU=x"], "expected a number of CPU above 0, got 'x'"),
        (["tune", "matmul:8,8,8", "--minutes", "0"], "argument --minutes: expected a number of minutes above 0"),
        (["tune", "matmul:8,8,8", "--log", "no/such/log.jsonl"], "log: there is no folder 'no/such'"),
        (["tune", "matmul:0,8,8", "--log", "/dev/null"], "matmul:0,8,8 has a loop of length 0"),
        (["dance"], "invalid choice: 'dance'"),
    ],
)
def test_errors_name_the_argument_the_expectation_and_what_came(capsys, arguments, message):
    code, out, errors = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in errors


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in commands.COMMANDS)], ids="/".join)
def test_help(capsys, arguments):
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    assert "usage: autotune" in out


def test_operators_are_listed_with_their_options(capsys):
    code, out, _ = run(capsys, "operators", "conv2d")
    assert code == 0
    assert out.splitlines()[0] == "convolution:"
    assert "kernel, stride=1, padding=0, dilation=1, groups=1, layout=NCHW" in out
    assert "matmul" not in out
    code, out, _ = run(capsys, "operators", "softmax", "--json")
    assert code == 0
    assert list(json.loads(out)) == ["normalization"]
    assert run(capsys, "operators", "nonsense")[:2] == (1, "")


FILE = """
import tensorlang as tl

def blur(n=8):
    x = tl.placeholder((n + 2,), "float32", name="x")
    return tl.compute((n,), lambda i: x[i] + x[i + 1] + x[i + 2], name="y")

def broken():
    return {}["missing"]

def negative():
    return tl.placeholder((-1,))

def number():
    return 3
"""


def test_a_function_in_a_file(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(FILE)
    assert parse(f"{file}:blur").flops == 16
    assert parse(f"{file}:blur:100").flops == 200
    code, _, errors = run(capsys, "tune", f"{file}:nothing")
    assert code == 2
    assert "has no function 'nothing'; it has blur, broken, negative, number" in errors
    code, _, errors = run(capsys, "tune", f"{file}:number")
    assert code == 2
    assert "mine.py:number: expected a Tensor, a list of output Tensors or a Func, got 3" in errors


def test_a_file_finds_its_neighbours(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))  # and so sys.path comes back after the test
    (tmp_path / "sizes_of_mine.py").write_text("LENGTH = 8\n")
    file = tmp_path / "with_neighbour.py"
    file.write_text("from sizes_of_mine import LENGTH\n" + FILE.replace("n=8", "n=LENGTH"))
    assert parse(f"{file}:blur").flops == 16


def test_errors_in_the_users_file_are_shown_as_the_users_own(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(FILE)
    code, _, errors = run(capsys, "tune", f"{file}:broken")
    assert code == 2
    assert "KeyError: 'missing'" in errors
    assert 'return {}["missing"]' in errors
    assert "autotune/workload.py" not in errors


def test_a_relative_path_to_the_users_file(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mine.py").write_text(FILE)
    code, _, errors = run(capsys, "tune", "mine.py:negative")
    assert code == 2
    assert "return tl.placeholder((-1,))" in errors
    assert "autotune/workload.py" not in errors


def test_a_log_that_knows_nothing_of_the_task(tmp_path, capsys):
    log = tmp_path / "log.jsonl"
    failed = Record("0", "matmul", {}, "tile", {"a": 1}, {}, "CRASH", reason="killed by SIGSEGV in run")
    write(log, [failed])
    code, _, errors = run(capsys, "best", "matmul:8,8,8", "--log", log)
    assert code == 1
    assert "has no result for matmul:8,8,8" in errors
    code, out, _ = run(capsys, "list", log)
    assert code == 0
    assert out.splitlines()[1].split() == ["matmul", "1", "1", "-", "-"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trails = 3", "no such option: --trails=3"),
        ("workload = 3", "workload: expected a list of strings, got 3"),
        ("trials = [3]", "trials: expected an option of `autotune tune` and its value, got [3]"),
        ('trials = "many"', "argument --trials: expected an integer of at least 1, got 'many'"),
        ("trials = 3", "the following arguments are required: WORKLOAD"),
    ],
)
def test_a_config_file_that_is_wrong(text, message, tmp_path, capsys):
    config = tmp_path / "tuned.toml"
    config.write_text(text)
    code, out, errors = run(capsys, "tune", "--config", config)
    assert (code, out) == (2, "")
    assert message in errors
