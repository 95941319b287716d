"""Against a real Ray cluster of two machines, both of them on this one, started and stopped here."""

import importlib.util
import json
import threading
import time
from pathlib import Path

import pytest

from autotune import cli
from autotune.database import Database
from autotune.measure.outcome import Limits, Status, WorkerError
from autotune.measure.ray_runner import RayRunner

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'tensorlang[ray]'"
)
FAKES = "tests.autotune.fakes:entry"
LIMITS = Limits(build_seconds=60, run_seconds=60, memory_bytes=1 << 30)
NODE = {"num_cpus": 1, "resources": {"board": 1}, "object_store_memory": 80 << 20}


@pytest.fixture(scope="module")
def cluster():
    """Two machines with a board each."""
    import ray
    from ray import cluster_utils

    head = {
        **NODE,
        "node_ip_address": "127.0.0.2",  # Ray gives 127.0.0.1 a meaning of its own
        "include_dashboard": False,
        "include_log_monitor": False,
    }
    made = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    try:
        made.second = made.add_node(**NODE, node_ip_address="127.0.0.3", include_log_monitor=False)
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def test_a_lost_machine_costs_only_its_candidate(cluster, tmp_path, capsys):
    """One test, as starting the cluster is what takes time: tune by the command line, then lose a machine."""
    log = tmp_path / "log.jsonl"
    where = ["--runner", "ray", "--address", cluster.address, "--resources", "CPU=1,board=1"]
    code = cli.main(["tune", "matmul:16,16,16", "--trials", "3", "--log", str(log), "--json", *where])
    assert code == 0
    assert json.loads(capsys.readouterr().out)["trials"] == 3
    records = Database(log).records()
    assert {r.status for r in records} == {"OK"}
    assert all(r.machine["peak_gflops"] > 0 for r in records)

    with pytest.raises(WorkerError, match=r"no machine of the Ray cluster has .*'unicorn'"):
        RayRunner({}, LIMITS, cluster.address, {"unicorn": 1}, entry=FAKES)
    runner = RayRunner({"broken": True}, LIMITS, cluster.address, {"board": 1}, entry=FAKES)
    with pytest.raises(WorkerError, match="no such task"):
        list(runner.measure([{}]))
    runner.close()

    runner = RayRunner({}, LIMITS, cluster.address, {"board": 1}, entry=FAKES)
    assert len(runner._places) == 2
    jobs = [{"run": "segfault"}, {"run": "wrong"}, {"seconds": 0.5}, {}]
    ends = dict(runner.measure(jobs))
    assert [ends[n].status for n in range(4)] == [Status.CRASH, Status.WRONG_ANSWER, Status.OK, Status.OK]
    assert ends[2].seconds == 0.5

    marks = [tmp_path / "a", tmp_path / "b"]
    jobs = [{"build": f"say {mark}", "run": f"wait for {tmp_path}/gone"} for mark in marks] + [{}] * 4

    def lose_a_machine():
        """The other machine goes on once the lost one's worker process is gone."""
        while not all(mark.exists() and mark.read_text() for mark in marks):
            time.sleep(0.05)
        cluster.remove_node(cluster.second, allow_graceful=False)
        while all(Path("/proc", mark.read_text()).exists() for mark in marks):
            time.sleep(0.05)
        (tmp_path / "gone").touch()

    thread = threading.Thread(target=lose_a_machine)
    thread.start()
    ends = dict(runner.measure(jobs))
    thread.join()
    runner.close()
    assert sorted(o.status for o in ends.values()) == [Status.CRASH] + [Status.OK] * 5
    (lost,) = (n for n, o in ends.items() if o.status is Status.CRASH)
    assert lost in (0, 1)
    assert ends[lost].reason.startswith("the worker was lost: ")
