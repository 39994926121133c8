"""Times one ONNX network with ONNX Runtime and prints its latency as JSON: what `mfsearch --latency-cmd` runs.

    mfsearch latency mf-52m --latency-cmd 'ssh pi python3 run_onnx.py'         # the network on standard input
    mfsearch latency mf-52m --latency-cmd 'python3 examples/run_onnx.py {onnx}'    # or as a file

Copy this file to the device; it needs numpy and onnxruntime there, and nothing of mfsearch. For another runtime keep
the last line and write the rest anew.
"""

import json
import math
import platform
import sys
import time

import numpy as np
import onnxruntime

WARM_UPS, RUNS = 20, 100

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
network = open(sys.argv[1], "rb").read() if len(sys.argv) > 1 else sys.stdin.buffer.read()  # noqa: SIM115, PTH123
session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
image = session.get_inputs()[0]
feed = {image.name: np.random.default_rng(0).standard_normal(image.shape, dtype=np.float32)}

times_ms = []
for _ in range(WARM_UPS + RUNS):
    start = time.perf_counter()
    session.run(None, feed)
    times_ms.append((time.perf_counter() - start) * 1e3)
ordered = sorted(times_ms[WARM_UPS:])
k = math.floor(RUNS / 2 - 0.98 * math.sqrt(RUNS))  # the 95 % interval of the median, by the sign test
print(
    json.dumps(
        {
            "latency_ms": (ordered[RUNS // 2 - 1] + ordered[RUNS // 2]) / 2,
            "latency_low_ms": ordered[k - 1],
            "latency_high_ms": ordered[RUNS - k],
            "device": f"{platform.node()} {platform.machine()}, onnxruntime {onnxruntime.__version__}, 1 thread",
        }
    )
)
