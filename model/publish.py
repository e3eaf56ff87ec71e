"""Ship a trained network: export it, measure it, and write its folder with a card.

The folder holds the integer network, the floating-point parameters that it comes from, and
``card.md``, which says how it was trained and what was measured.

    python -m model.publish hybnn-mini --run runs/hybnn-mini --date 2026-11-21 \\
        --hardware "2 CPU cores"

A fused network is published with the run that it was made from:

    python -m model.publish fusebnn --run runs/basebnn --parameters runs/fusebnn/float.npz ...

What is shipped is exported and measured again, where the exporter has changed; what its card says
of the training stays:

    python -m model.publish hybnn-mini --again
"""

import argparse
import re
import tempfile
from pathlib import Path

from model import graph
from model.card import figures, macs, read_before, read_card, weight_bits
from model.checkpoint import load_parameters, save_parameters
from model.cli import run_command, write_file, write_report
from model.evaluate import PARAMETERS
from model.export import export
from model.fusion import FUSED
from model.networks import NETWORKS, build, is_detector
from model.training.lineage import command_line, lineage, read_report
from model.training.recipes import named
from model.zoo_check import measure

__all__ = ["card", "main", "trained", "trained_before"]

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
| time | {time} |
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
    if training.get("head_only"):
        blocks, turned = training.get("last_blocks", 0), training.get("orientations", 1)
        part = f"the head and the last {blocks} blocks alone" if blocks else "the head alone"
        seen = "as it is" if turned == 1 else f"in {turned} orientations"
        return f"{part}, of all of each image {seen}"
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
    if named(training.get("start")):
        text += f", starting from `{training['start']}`"
    if named(training.get("warm_start")):
        text += f", starting from what it shares with `{training['warm_start']}`"
    if named(training.get("teacher")):
        text += f", {training['distill']:.0%} of the loss from {training['teacher_network']}"
        if not is_detector(training["network"]):
            text += f" at temperature {training['temperature']:g}"
    if training.get("hint"):
        text += f", hints of that one's residuals with a weight of {training['hint']:g}"
    if training.get("size_loss"):
        text += f", squared logarithms of sides with a weight of {training['size_loss']:g}"
    if training.get("ema"):
        text += f", parameters averaged with a decay of {training['ema']:g}"
    return text


def _before(lines: list[str]) -> str:
    return "".join(f"| before | {line} |\n" for line in lines)


def trained(training: dict, run: Path, date: str, hardware: str) -> dict[str, str]:
    """What a card says of a training, from its report."""
    threads = training["threads"]
    return {
        "held_out": f"{training['validation']:,} " if training["validation"] else "none ",
        "date": date,
        "before": _before(lineage(training)),
        "command": command_line(training, run),
        "seed": training["seed"],
        "recipe": _recipe(training),
        "parameters": f"{training['parameters']:,}",
        "time": f"{training['seconds'] / 60:.0f} minutes, {hardware}, "
        f"{threads} thread{'' if threads == 1 else 's'}",
        "version": training["torch"],
    }


def trained_before(folder: Path) -> dict[str, str]:
    """The same from the card that is in a folder.

    Raises
    ------
    ValueError
        There is none, or it has no such rows.
    """
    rows = read_card(folder)
    text = (folder / "card.md").read_text()
    held_out = re.search(
        r"^Trained on .*?, ([\d,]+ |none )of which were held out", text, re.M | re.S
    )
    names = ("date", "command", "seed", "recipe", "parameters", "time")
    missing = [name for name in (*names, "PyTorch version") if name not in rows]
    if missing or not held_out:
        what = ", ".join(missing) or "held out"
        raise ValueError(f"{folder / 'card.md'} does not say how it was trained: {what} is missing")
    return {
        **{name: rows[name] for name in names},
        "held_out": held_out[1],
        "before": _before(read_before(folder)),
        "command": rows["command"].strip("`"),
        "version": rows["PyTorch version"],
    }


def card(network: graph.Network, training: dict[str, str], measured: dict, summary: str) -> str:
    """The text of a network's card.

    Parameters
    ----------
    training : dict of str to str
        Of :func:`trained` or :func:`trained_before`.
    measured : dict
        Report of :func:`model.evaluate.evaluate`, PyTorch's figures included.
    summary : str
        What the network is.
    """
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
        exact=exact,
        figures="\n".join(rows),
        weights=", ".join(
            f"{count:,} of {bits} bit{'s' * (bits > 1)}" for bits, count in weights.items()
        )
        + f": {sum(bits * count for bits, count in weights.items()):,} bits",
        macs=", ".join(f"{count:,} of {key} bits" for key, count in macs(network).items()),
        images=f"{measured['images']:,}",
        digest=measured["digest"],
        tensors="\n".join(
            f"| `{op.name}` | {network.types[op.name]} | {type(op).__name__} |"
            for op in network.order
        ),
        **training,
    )


def _from_run(options: argparse.Namespace) -> tuple[dict[str, str], Path]:
    """What the card says of the training, and the file of its parameters."""
    if not (options.run and options.date and options.hardware):
        raise ValueError("--run, --date and --hardware must be given, or --again")
    run = Path(options.run)
    training = read_report(run)
    made_from = training.get("network")
    if options.network not in (made_from, FUSED.get(made_from)):
        raise ValueError(f"{run} holds a training of {made_from!r}, not {options.network!r}")
    if options.network != made_from and not options.parameters:
        raise ValueError(f"--parameters must name what model.fusion made of {run}")
    parameters = Path(options.parameters or run / "checkpoint.pt")
    return trained(training, run, options.date, options.hardware), parameters


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m model.publish",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", choices=sorted(NETWORKS))
    parser.add_argument("--run", help="folder that model.train wrote")
    parser.add_argument("--parameters", help="of a fused network, by model.fusion")
    parser.add_argument("--date", help="day of the training")
    parser.add_argument("--hardware", help='such as "2 CPU cores"')
    parser.add_argument("--again", action="store_true", help="export and measure what is there")
    parser.add_argument("--data", help="folder of the data sets")
    parser.add_argument("--out", help="folder to write (default: the shipped network's)")
    options = parser.parse_args(argv)
    for option in ("run", "parameters", "date", "hardware"):
        if options.again and getattr(options, option):
            parser.error(f"--again keeps what the card says: --{option} is not for it")
    out = Path(options.out) if options.out else graph.ZOO / options.network
    if options.again:
        training, parameters = trained_before(out), out / PARAMETERS
    else:
        training, parameters = _from_run(options)
    torch_network = build(options.network)
    load_parameters(torch_network, parameters)
    if not options.again and hasattr(torch_network, "compact"):
        torch_network.compact()
    network = export(torch_network, options.network)
    # What is shipped is measured before anything of it lies where shipped networks do.
    with tempfile.TemporaryDirectory() as folder:
        shipped = Path(folder) / PARAMETERS
        save_parameters(torch_network, shipped)
        measured = measure(network, options.data, shipped)
    measured["checkpoint"] = str(out / PARAMETERS)
    summary = " ".join((type(torch_network).__doc__ or "").split("\n\n")[0].split())
    text = card(network, training, measured, summary)
    if not options.again:
        save_parameters(torch_network, out / PARAMETERS)
    graph.save(network, out)
    write_file(out / "card.md", lambda partial: partial.write_text(text))
    # Beside the training; what is shipped has its figures in the card alone.
    write_report(Path(options.run or f"runs/{options.network}") / "publish.json", measured)
    print(f"{out}: {', '.join(f'{row} {value:.2f} %' for row, value in figures(measured).items())}")
    return 0


if __name__ == "__main__":
    run_command(main)
