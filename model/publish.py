"""Ship a trained network: export it, measure it, and write its folder with a card.

The folder holds the integer network, the floating-point parameters that it comes from, and
``card.md``, which says how it was trained and what was measured.

    python -m model.publish hybnn-mini --run runs/hybnn-mini --date 2026-11-21 \\
        --hardware "2 CPU cores"

A fused network is published with the run that it was made from:

    python -m model.publish fusebnn --run runs/basebnn --parameters runs/fusebnn/float.npz ...
"""

import argparse
from pathlib import Path

from model import graph
from model.card import figures, macs, weight_bits
from model.checkpoint import load_parameters, save_parameters
from model.cli import run_command, write_file, write_report
from model.evaluate import PARAMETERS
from model.export import export
from model.fusion import FUSED
from model.networks import NETWORKS, build, is_detector
from model.training.lineage import command_line, lineage, read_report
from model.training.recipes import named
from model.zoo_check import measure

__all__ = ["card", "main"]

_CARD = """\
# {name}

{summary}

Trained on {data}, {held_out}of which were held out to watch the training.
Measured on all {images} test images after the last epoch{exact}.

| measured | |
|---|---|
{figures}
| network digest | `{digest}` |

| training | |
|---|---|
| date | {date} |
{before}| command | `{command}` |
| seed | {seed} |
| recipe | {recipe} |
| parameters | {parameters} |
| weights | {weights} |
| multiply-accumulates a frame | {macs} |
| time | {minutes:.0f} minutes, {hardware}, {threads} thread{plural} |
| PyTorch version | {version} |

`float.npz` holds the floating-point parameters; `python -m model.evaluate {name}` measures both
networks again, `python -m model.export {name} --checkpoint float.npz --out FOLDER` makes the
integer network from them.

| operation | tensor | kind |
|---|---|---|
{tensors}
"""

#: What a network was trained on, by the size of its images.
_DATA = {
    (
        28,
        28,
        1,
    ): "the 60,000 training images of Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017; "
    "MIT\nlicence; Debian's `dataset-fashion-mnist`)",
    (416, 416, 1): "the 928 training images of SSDD (T. Zhang et al., Remote Sensing 13(18) 3690,\n"
    "2021; official split; repository Apache-2.0), brought to 416x416",
    (32, 32, 3): "the 50,000 training images of CIFAR-10 (Krizhevsky, 2009; no licence stated)",
}

_RECIPE = (
    "{epochs} epochs, batches of {batch}, {augmented}, {optimizer}, learning rate "
    "{learning_rate:g}{schedule}, straight-through gradients"
)

_SCHEDULES = {
    "cosine": " after one epoch of warm-up, down to 0 by half a cosine",
    "linear": ", down to 0 linearly",
    "steps": ", a tenth of it at 40 %, 60 % and 80 % of the epochs",
}

_OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}


def _augmented(training: dict) -> str:
    """What became of the images before the network saw them."""
    if is_detector(training["network"]):
        side = training.get("window")
        seen = f"squares of {side} pixels of the images" if side else "images"
        return f"{seen}, turned, mirrored, stretched, moved, brighter or darker"
    found = [
        text
        for key, text in (("mirror", "half of the images mirrored"), ("crop", "images cropped"))
        if training.get(key)
    ]
    return " and ".join(found) or "images as they are"


def _recipe(training: dict) -> str:
    text = _RECIPE.format(
        epochs=training["epochs"],
        batch=training["batch"],
        augmented=_augmented(training),
        optimizer=_OPTIMIZERS[training.get("optimizer", "adam")],
        learning_rate=training["learning_rate"],
        schedule=_SCHEDULES[training.get("schedule", "cosine")],
    )
    if named(training.get("warm_start")):
        text += f", starting from what it shares with `{training['warm_start']}`"
    if named(training.get("teacher")):
        text += f", {training['distill']:.0%} of the loss from {training['teacher_network']}"
        if not is_detector(training["network"]):
            text += f" at temperature {training['temperature']:g}"
    if training.get("ema"):
        text += f", parameters averaged with a decay of {training['ema']:g}"
    return text


def card(
    network: graph.Network, run: Path, training: dict, measured: dict, summary: str, **facts: str
) -> str:
    """The text of a network's card.

    Parameters
    ----------
    run : Path
        Folder of the training.
    training : dict
        Its report.
    measured : dict
        Report of :func:`model.evaluate.evaluate`, PyTorch's figures included.
    summary : str
        What the network is.
    facts : str
        ``date`` and ``hardware``.
    """
    before = "".join(f"| before | {line} |\n" for line in lineage(training))
    held_out = f"{training['validation']:,} " if training["validation"] else "none "
    exact = ""
    if "exact_images" in measured:
        exact = f",\nand on those {measured['exact_images']:,} of them whose pixels are exact"
    rows = [f"| {row} | {value:.2f} % |" for row, value in figures(measured).items()]
    if "labels_differ" in measured:
        rows.append(f"| labels that differ | {measured['labels_differ']} |")
    weights = weight_bits(network)
    shape = network.types[network.input.name].shape
    return _CARD.format(
        name=network.name,
        summary=summary,
        data=_DATA.get(shape, f"images of {'x'.join(map(str, shape))}"),
        held_out=held_out,
        exact=exact,
        figures="\n".join(rows),
        weights=", ".join(
            f"{count:,} of {bits} bit{'s' * (bits > 1)}" for bits, count in weights.items()
        )
        + f": {sum(bits * count for bits, count in weights.items()):,} bits",
        macs=", ".join(f"{count:,} of {key} bits" for key, count in macs(network).items()),
        images=f"{measured['images']:,}",
        digest=measured["digest"],
        before=before,
        command=command_line(training, run),
        seed=training["seed"],
        recipe=_recipe(training),
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
    parser.add_argument("--parameters", help="of a fused network, by model.fusion")
    parser.add_argument("--date", required=True, help="day of the training")
    parser.add_argument("--hardware", required=True, help='such as "2 CPU cores"')
    parser.add_argument("--data", help="folder of the data sets")
    parser.add_argument("--out", help="folder to write (default: the shipped network's)")
    options = parser.parse_args(argv)
    run = Path(options.run)
    out = Path(options.out) if options.out else graph.ZOO / options.network
    training = read_report(run)
    made_from = training.get("network")
    if options.network not in (made_from, FUSED.get(made_from)):
        raise ValueError(f"{run} holds a training of {made_from!r}, not {options.network!r}")
    lineage(training)  # Says at once what is missing.
    trained = build(options.network)
    if options.network != made_from and not options.parameters:
        raise ValueError(f"--parameters must name what model.fusion made of {run}")
    parameters = Path(options.parameters or run / "checkpoint.pt")
    load_parameters(trained, parameters)
    if hasattr(trained, "compact"):
        trained.compact()
    network = export(trained, options.network)
    # Measured is what is shipped.
    save_parameters(trained, out / PARAMETERS)
    measured = measure(network, options.data, out / PARAMETERS)
    summary = " ".join((type(trained).__doc__ or "").split("\n\n")[0].split())
    facts = {"date": options.date, "hardware": options.hardware}
    text = card(network, run, training, measured, summary, **facts)
    graph.save(network, out)
    write_file(out / "card.md", lambda partial: partial.write_text(text))
    write_report(run / "publish.json", measured)
    print(f"{out}: {', '.join(f'{row} {value:.2f} %' for row, value in figures(measured).items())}")
    return 0


if __name__ == "__main__":
    run_command(main)
