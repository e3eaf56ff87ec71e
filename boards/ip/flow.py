"""Writing the block: ``python -m boards.build ip NETWORK``."""

import re
import shutil
from pathlib import Path

from boards.design import make_identity
from boards.flow import write_atomically
from boards.ip.component import describe
from boards.ip.shell import StreamShell
from boards.parameters import STRUCTURE, write_structure
from boards.vivado.project import plain_names

__all__ = ["write_ip"]


def write_ip(network, folding, accelerator, out: Path) -> Path:
    """Write ``component.xml`` and the Verilog that it describes into ``out``.

    Parameters
    ----------
    network : model.graph.Network
    folding : hw.folding.Folding
    accelerator : hw.accelerator.Accelerator

    Returns
    -------
    The path of ``component.xml``, which is written last.
    """
    from hw.verilog import port_widths, to_verilog

    shell = StreamShell(
        accelerator=accelerator,
        identity=make_identity(network, folding, accelerator, board="ip", clock_hz=0),
    )
    name = "bitwright_" + re.sub(r"\W", "_", network.name)
    verilog = plain_names(to_verilog(shell, name))
    ports = {"clk": ("input", 1), "rst": ("input", 1), **port_widths(shell)}
    source = f"src/{name}.v"
    text = describe(
        name=name,
        title=f"{network.name}: a neural network as a pipeline, one result for each image",
        identity=shell.identity,
        ports=ports,
        files=(source,),
    )
    description = out / "component.xml"
    description.unlink(missing_ok=True)
    shutil.rmtree(out / "src", ignore_errors=True)
    (out / "src").mkdir(parents=True)
    write_atomically(out / source, verilog.encode())
    folding.save(out / "folding.json")
    if accelerator.writable:
        write_structure(accelerator, out / STRUCTURE)
    else:
        (out / STRUCTURE).unlink(missing_ok=True)
    write_atomically(description, text.encode())
    return description
