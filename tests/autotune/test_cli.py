import json

import pytest

from autotune import cli
from autotune.database import write
from autotune.record import Record
from autotune.task import parse


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

    code, out, _ = run(capsys, "show", tuned, "--json")
    assert code == 0
    assert json.loads(out)[0]["key"] == result["key"]


def test_what_people_see(tuned, capsys):
    code, out, _ = run(capsys, "best", "matmul:16,16,16", "--log", tuned, "--trace")
    assert code == 0
    assert "GFLOP/s" in out
    assert "s.split(" in out
    code, out, _ = run(capsys, "show", tuned)
    assert out.splitlines()[0].split() == ["task", "trials", "failed", "best", "GFLOP/s"]
    assert out.splitlines()[1].startswith("matmul:16,16,16")


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
        (["tune", "matmul:8,8,8", "--log", "no/such/log.jsonl"], "log: there is no folder 'no/such'"),
        (["tune", "matmul:0,8,8", "--log", "/dev/null"], "matmul:0,8,8 has a loop of length 0"),
        (["dance"], "invalid choice: 'dance'"),
    ],
)
def test_errors_name_the_argument_the_expectation_and_what_came(capsys, arguments, message):
    code, out, errors = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in errors


@pytest.mark.parametrize(
    "arguments", [["--help"], ["tune", "--help"], ["best", "--help"], ["show", "--help"], ["operators", "--help"]]
)
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
    assert "autotune/task.py" not in errors


def test_a_relative_path_to_the_users_file(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mine.py").write_text(FILE)
    code, _, errors = run(capsys, "tune", "mine.py:negative")
    assert code == 2
    assert "return tl.placeholder((-1,))" in errors
    assert "autotune/task.py" not in errors


def test_a_log_that_knows_nothing_of_the_task(tmp_path, capsys):
    log = tmp_path / "log.jsonl"
    failed = Record("0", "matmul", {}, "tile", {"a": 1}, {}, "CRASH", reason="killed by SIGSEGV in run")
    write(log, [failed])
    code, _, errors = run(capsys, "best", "matmul:8,8,8", "--log", log)
    assert code == 1
    assert "has no result for matmul:8,8,8" in errors
    code, out, _ = run(capsys, "show", log)
    assert code == 0
    assert out.splitlines()[1].split() == ["matmul", "1", "1", "-", "-"]
