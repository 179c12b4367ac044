"""Who takes part: each peer runs the same workloads and gives figures by the keys of ``workloads.MEASURES``."""
