"""The lab: data, training, runs, scores, the ledger, sweeps and reports. `from resflow_lite.lab import load_flow`.

The modules of the lab import each other, never this face; what starts with an underscore is a module's own.
"""

from ..faces import face

__getattr__, __dir__ = face(
    __name__,
    {
        "baselines": "gaussian_on_logits independent_pixels",
        "checkpoints": "load_flow load_toy write_whole",
        "claims": "COMPARED paper_claims",
        "costs": "MODES StepCosts measure_costs",
        "data.images": "Images check_images fetch image_names load_images",
        "evaluation": "Evaluation carry_out dequantised evaluate proof_cost run_hybrid run_toy sample_levels",
        "features": "inception train_features",
        "hours": "GPU MEASURED PEAK_FLOPS UTILISATION simulated step_seconds step_tflop",
        "leaderboard": "",
        "ledger": "provenance publish read_entries",
        "machine": "being_trained connect",
        "package_data": "pretrained shipped",
        "parameters": "experiment_from_notebook",
        "released": "import_released",
        "report": "",
        "reported": "REPORTED SECOND_HAND",
        "reproduction": "estimate",
        "runs": "Run load_run",
        "scoring": "estimating_with image_bits",
        "seeds": "by_seed compare group mean_and_error paired_interval",
        "sweeps": "planned published",
        "tables": "",
        "tasks.density": "Experiment",
        "tasks.hybrid": "HybridExperiment hybrid_weights",
        "tasks.hybrid_scores": "auroc calibration_error reliability score_hybrid summary",
        "tasks.plane": "STEPS ToyExperiment point_nats",
        "tasks.task": "noises",
        "training": "fit train_toy",
    },
)
