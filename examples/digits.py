"""From a search to a bundle on the built-in digits: front, network, latency. Takes two minutes on two cores.

python examples/digits.py [FOLDER]      # `# %%` marks the cells of a notebook; studies go to FOLDER/results
"""

# %% Networks and their exact costs, before anything is built
import sys
from pathlib import Path

import mfsearch as mf

config = mf.preset("mf-26m")
print(config.table())
print(f"{mf.count_costs(config).madds:,} multiply-adds")

# %% A search: six networks of at most 30M multiply-adds, trained for seconds each
folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
study = mf.search(
    "mobile_former_small", budget="30M", data="digits", trials=6, study="digits-example", results=folder / "results"
)

# %% Its front, as trials and as a table
for trial in study.front():
    top1, madds = trial.metric("top1"), trial.metric("madds")
    print(f"trial {trial.number}: {top1:.1%} top1, {madds / 1e6:.1f}M multiply-adds, {trial.origin}")
print(study.frame()[["number", "outcome", "top1", "madds", "num_params"]])
mf.plot_front(study).write_html(folder / "front.html")

# %% The best network as a torch module with its trained weights, and its latency here
best = max(study.front(), key=lambda trial: trial.metric("top1"))
network = study.network(best.number, weights=True)
print(f"{sum(parameter.numel() for parameter in network.parameters()):,} parameters")
latency = mf.measure_latency(network)
print(f"{latency.latency_ms:.2f} ms [{latency.latency_low_ms:.2f}, {latency.latency_high_ms:.2f}]")

# %% A bundle of it: code, weights, ONNX, training, card
bundle = mf.export_bundle(study, trial=best.number, to=folder / "found", classes=10)
print(sorted(path.name for path in bundle.iterdir()))
again = mf.load_bundle(bundle)
