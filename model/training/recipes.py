"""The options of a training where the command line does not give them, by network.

``python -m model.train NETWORK`` alone is the recipe of that network; every option of the command
line stands over the table. Settings for two CPU cores are the same with fewer ``--epochs``.
"""

__all__ = ["BEFORE", "FIXED", "RECIPES", "complete", "named", "recipe"]

#: Every option that a recipe decides, and what it is where no recipe says otherwise.
_ALWAYS = {
    "epochs": 30,
    "batch": 128,
    "optimizer": "adam",
    "learning_rate": 2e-3,
    "small_rate": 1.0,
    "schedule": "cosine",
    "weight_decay": 0.0,
    "validation": 2000,
    "mirror": False,
    "crop": False,
    "cutout": 0,
    "window": 0,
    "smoothing": 0.0,
    "gate_weight": 1e-5,
    "gate_target": 3.0,
    "warm_start": None,
    "fit_steps": False,
    "teacher": None,
    "teacher_network": "teacher",
    "distill": 0.9,
    "temperature": 4.0,
    "hint": 0.0,
    "ema": 0.0,
    "gradient": "quadratic",
    "head_only": False,
    "last_blocks": 0,
    "orientations": 1,
    "size_loss": 0.0,
    "amp": False,
}

#: FracBNN's two steps as its authors took them; also those of other networks that have two.
_STEPS = {
    1: {"epochs": 250, "learning_rate": 1e-3, "schedule": "linear", "weight_decay": 1e-5},
    2: {"epochs": 250, "learning_rate": 1e-3, "schedule": "steps", "weight_decay": 0.0},
}

_CIFAR = {
    "batch": 256,
    "mirror": True,
    "crop": True,
    # The whole training set, for the figure that is published; hold some out to choose by.
    "validation": 0,
    "amp": True,
}

_SSDD = {
    "epochs": 300,
    "batch": 16,
    "optimizer": "adamw",
    "learning_rate": 2e-3,
    "small_rate": 0.5,
    "validation": 0,
    "schedule": "cosine",
    "weight_decay": 0.05,
    "window": 320,
    "ema": 0.998,
    "fit_steps": True,
    "amp": True,
}


def _learning_from(network: str) -> dict:
    """The options of a detector that learns from another, and from the boxes as much."""
    return {
        "teacher": f"runs/{network}/float.npz",
        "teacher_network": network,
        "distill": 0.5,
    }


_STUDENT = _CIFAR | {
    "epochs": 120,
    "learning_rate": 2e-3,
    "schedule": "cosine",
    "weight_decay": 0.0,
    "teacher": "runs/teacher/checkpoint.pt",
    "fit_steps": True,
    "ema": 0.998,
}

#: Network -> step (0: of a network without steps, or of every step) -> options.
RECIPES: dict[str, dict[int, dict]] = {
    "fracbnn": {0: {"mirror": True, "crop": True}, **_STEPS},
    # Labels stay whole: with smoothed ones a teacher says less of the other classes (Mueller et
    # al., 2019), which is what a student learns from.
    "teacher": {
        0: _CIFAR
        | {
            "epochs": 40,
            "batch": 512,
            "optimizer": "sgd",
            "learning_rate": 0.2,
            "weight_decay": 5e-4,
            "cutout": 8,
        }
    },
    "teacher-quick": {
        0: _CIFAR
        | {
            "epochs": 15,
            "batch": 128,
            "optimizer": "sgd",
            "learning_rate": 0.1,
            "weight_decay": 1e-3,
        }
    },
    "hybnn": {0: _STUDENT},
    "hybnn-3x3": {0: _STUDENT},
    "fourbit": {0: _STUDENT},
    "basebnn": {0: _STUDENT},
    # Begins with what it shares with its teacher, most of its blocks.
    "hybnn-ssdd": {
        0: _SSDD | _learning_from("fourbit-ssdd") | {"warm_start": "runs/fourbit-ssdd/float.npz"}
    },
    "teacher-ssdd": {0: _SSDD | {"learning_rate": 1e-3, "small_rate": 1.0, "epochs": 200}},
    "fourbit-ssdd": {0: _SSDD | _learning_from("teacher-ssdd")},
    "fourbit-ssdd-shallow": {0: _SSDD},
    "basebnn-ssdd": {0: _SSDD | _learning_from("fourbit-ssdd")},
    "basebnn-ssdd-shallow": {0: _SSDD},
}

#: Options that a resumed run must share with the run that it continues.
FIXED = ("network", "seed", "step", *_ALWAYS)

#: What options were before there were such options, in checkpoints of then.
BEFORE = _ALWAYS | {"step": 0}


def recipe(network: str, step: int) -> dict:
    """Every option of the training of a network, in the step given (0 for one without steps)."""
    found = RECIPES.get(network, _STEPS if step else {})
    return _ALWAYS | found.get(0, {}) | found.get(step, {})


def complete(options, step: int) -> None:
    """Fill in what ``options`` leave open: None, or not there at all."""
    for key, value in recipe(options.network, step).items():
        if getattr(options, key, None) is None:
            setattr(options, key, value)


def named(file: str | None) -> bool:
    """Whether an option names a file, and not ``none``."""
    return file not in (None, "none")
