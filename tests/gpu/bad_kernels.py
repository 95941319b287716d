"""Builders of candidates that do to a GPU what they should not."""

import base64
import json
from pathlib import Path

from autotune.task import Task
from tensorlang.backend import nvrtc

TEXTS = {
    "address": "out[1ull << 40] = x[0];",
    "hang": 'for (;;) asm volatile("nanosleep.u32 1000;");',
    "wrong": "out[0] = 1.0f;",
}


def build(setup):
    task = Task.from_json(setup["task"])

    def run(job, built):
        value = task.build(task.plain()).packed()
        if job.get("bad"):
            (launch,) = value["launches"]
            text = f'extern "C" __global__ void {launch["name"]}(const float* x, float* out) {{ {TEXTS[job["bad"]]} }}'
            value["cubin"] = base64.b64encode(nvrtc.compile(text, "bad", value["arch"]).cubin).decode()
        Path(job["file"]).write_text(json.dumps(value))
        return {}

    return run
