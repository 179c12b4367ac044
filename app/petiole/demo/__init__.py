"""``petiole demo``: a real graph on real files, two worker processes, one of them killed in mid-run."""
