"""Appliances with a config file: starting one, reloading it, and what the metrics say of that."""

from lab import BIN, run

DROP = "{ name: rule, match: { port: 4000 }, action: drop }"
COUNT = "{ name: rule, match: { port: 4000 }, action: count }"


def start(lab, path, control, *arguments):
    return lab.start_appliance("--config", path, "--control", control, *arguments)


def reload(control):
    return run(BIN / "sluice", "reload", "--control", control, check=False)


def rules(*texts, default="forward"):
    lines = "".join(f"    - {text}\n" for text in texts)
    return f"policy:\n  default: {default}\n  rules:{' []' if not texts else ''}\n{lines}"


def reloads(metrics):
    """Generation, reloads that succeeded, reloads that failed, whether the last succeeded."""
    return (
        metrics.total("sluice_config_generation"),
        metrics.total("sluice_config_reloads_total", result="success"),
        metrics.total("sluice_config_reloads_total", result="failure"),
        metrics.total("sluice_config_last_reload_success"),
    )
