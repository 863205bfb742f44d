"""Caption metrics, and paired statistics for ablation tables."""
