"""Ship a trained network: export it, measure it, and write its folder with a card.

The folder holds the integer network, the floating-point parameters that it comes from, and
``card.md``, which says how it was trained and what was measured.

    python -m model.publish hybnn-mini --run runs/hybnn-mini --date 2026-11-21 \\
        --hardware "2 CPU cores"
"""

import argparse
import json
from pathlib import Path

from model import graph
from model.checkpoint import load_parameters, save_parameters
from model.cli import run_command, write_file, write_report
from model.data import load_split
from model.evaluate import PARAMETERS, evaluate
from model.export import export
from model.networks import NETWORKS, build

__all__ = ["card", "main"]

_CARD = """\
# {name}

{summary}

Trained on the 60,000 training images of Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017; MIT
licence; Debian's `dataset-fashion-mnist`), {held_out}of which were held out to watch the training.
Measured on all {images} test images after the last epoch.

| measured | |
|---|---|
| integer network | {integer:.2f} % |
| PyTorch | {torch:.2f} % |
| labels that differ | {differ} |
| network digest | `{digest}` |

| training | |
|---|---|
| date | {date} |
| command | `{command}` |
| seed | {seed} |
| recipe | {recipe} |
| parameters | {parameters} |
| time | {minutes:.0f} minutes, {hardware}, {threads} thread{plural} |
| PyTorch version | {version} |

`float.npz` holds the floating-point parameters; `python -m model.evaluate {name}` measures both
networks again, `python -m model.export {name} --checkpoint float.npz --out FOLDER` makes the
integer network from them.

| operation | tensor | kind |
|---|---|---|
{tensors}
"""

_RECIPE = (
    "{epochs} epochs, batches of {batch}, {augmented}, Adam, learning rate "
    "{learning_rate:g} after one epoch of warm-up, down to 0 by half a cosine, straight-through "
    "gradients"
)


def card(network: graph.Network, training: dict, measured: dict, summary: str, **facts: str) -> str:
    """The text of a network's card.

    Parameters
    ----------
    training : dict
        Report of :mod:`model.train`.
    measured : dict
        Report of :func:`model.evaluate.evaluate`, PyTorch's figures included.
    summary : str
        What the network is.
    facts : str
        ``date`` and ``hardware``.
    """
    changed = " ".join(
        f"--{key.replace('_', '-')} {training[key]}"
        for key in ("epochs", "seed", "batch", "learning_rate", "validation", "threads")
    )
    changed += " --mirror" * training["mirror"]
    held_out = f"{training['validation']:,} " if training["validation"] else "none "
    return _CARD.format(
        name=network.name,
        summary=summary,
        held_out=held_out,
        images=f"{measured['images']:,}",
        integer=100 * measured["integer_accuracy"],
        torch=100 * measured["torch_accuracy"],
        differ=measured["labels_differ"],
        digest=measured["digest"],
        command=f"python -m model.train {network.name} {changed}",
        seed=training["seed"],
        recipe=_RECIPE.format(
            augmented="half of the images mirrored" if training["mirror"] else "images as they are",
            **training,
        ),
        parameters=f"{training['parameters']:,}",
        minutes=training["seconds"] / 60,
        threads=training["threads"],
        plural="" if training["threads"] == 1 else "s",
        version=training["torch"],
        tensors="\n".join(
            f"| `{op.name}` | {network.types[op.name]} | {type(op).__name__} |"
            for op in network.order
        ),
        **facts,
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model.publish", description=__doc__)
    parser.add_argument("network", choices=sorted(NETWORKS))
    parser.add_argument("--run", required=True, help="folder that model.train wrote")
    parser.add_argument("--date", required=True, help="day of the training")
    parser.add_argument("--hardware", required=True, help='such as "2 CPU cores"')
    parser.add_argument("--data", help="folder of the IDX files")
    parser.add_argument("--out", help="folder to write (default: the shipped network's)")
    options = parser.parse_args(argv)
    run = Path(options.run)
    out = Path(options.out) if options.out else graph.ZOO / options.network
    try:
        training = json.loads((run / "report.json").read_text())
    except FileNotFoundError:
        raise ValueError(f"{run / 'report.json'} is missing: is the training complete?") from None
    except ValueError as error:
        raise ValueError(f"{run / 'report.json'} is not valid JSON: {error}") from None
    if training.get("network") != options.network:
        raise ValueError(
            f"{run} holds a training of {training.get('network')!r}, not {options.network!r}"
        )
    trained = build(options.network)
    if trained.image != (28, 28, 1):
        raise ValueError(f"cards are of networks for Fashion-MNIST, which {options.network} is not")
    load_parameters(trained, run / "checkpoint.pt")
    network = export(trained, options.network)
    images, labels = load_split("test", options.data, trained.image)
    measured = evaluate(network, images, labels, checkpoint=run / "checkpoint.pt")
    summary = " ".join((type(trained).__doc__ or "").split("\n\n")[0].split())
    text = card(network, training, measured, summary, date=options.date, hardware=options.hardware)
    graph.save(network, out)
    save_parameters(trained, out / PARAMETERS)
    write_file(out / "card.md", lambda partial: partial.write_text(text))
    write_report(run / "publish.json", measured)
    print(
        f"{out}: integer network {measured['integer_accuracy']:.2%}, "
        f"PyTorch {measured['torch_accuracy']:.2%}"
    )
    return 0


if __name__ == "__main__":
    run_command(main)
