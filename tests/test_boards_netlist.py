"""A composed network after synthesis: the mapped cells answer as golden does."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Shape
from amaranth.lib import data

from boards.synthesis import RUN, safe_names, synthesis_script
from boards.tools import run_tool
from hw.accelerator import Accelerator
from hw.folding import choose
from model import golden
from tests.networks import tiny

FRAMES = 3

_BENCH = """
module bench;
  reg clk = 0, rst = 1, take;
  reg [{width}:0] beats [0:{last}];
  integer next = 0, cycle = 0;
  wire i_ready;
{wires}
  accelerator dut (.clk(clk), .rst(rst), .i__valid(next <= {last}), .i__ready(i_ready),
    .i__payload(beats[next <= {last} ? next : 0]){ports});
  initial begin
    $readmemh("beats.hex", beats);
    repeat (4) begin #5 clk = 1; #5 clk = 0; end
    rst = 0;
    while (cycle < {cycles}) begin
      #5 take = i_ready && next <= {last};
{shows}
      clk = 1;
      #1 if (take === 1) next = next + 1;
      #4 clk = 0;
      cycle = cycle + 1;
    end
    $finish;
  end
endmodule
"""


def cell_models() -> str:
    """Models of the mapped cells, from Yosys, without what Icarus does not read."""
    import pyosys

    folder = Path(pyosys.__file__).parent / "share" / "ecp5"
    text = "\n".join(
        (folder / name).read_text() for name in ("cells_sim.v", "common_sim.vh", "ccu2c_sim.vh")
    )
    text = re.sub(r"specify.*?endspecify", "", text, flags=re.S)
    modules = re.findall(r"^(module (\w+).*?^endmodule)", text, re.M | re.S)
    wanted = ("LUT4", "LUT2", "INV", "CCU2C", "TRELLIS_FF", "TRELLIS_DPR16X4")
    return "\n".join(model for model, name in modules if name in wanted)


def elements(shape: object, word: int) -> list[int]:
    """The numbers in a beat."""
    if not isinstance(shape, data.ArrayLayout):
        return [word]
    kind = Shape.cast(shape.elem_shape)
    numbers = [word >> lane * kind.width & (1 << kind.width) - 1 for lane in range(shape.length)]
    return [n - (n >> kind.width - 1 << kind.width) if kind.signed else n for n in numbers]


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus Verilog is not installed")
def test_mapped_network_answers_as_golden(tmp_path):
    network = tiny(3)
    accelerator = Accelerator(network=network, folding=choose(network, target_cycles=500))
    # Yosys has no models of block RAMs and DSPs, so everything is mapped to LUTs.
    *before, synthesis, check = synthesis_script("ecp5", "accelerator")
    text = safe_names(rtlil.convert(accelerator, name="accelerator", emit_src=False))
    (tmp_path / "unit.il").write_text(re.sub(r'  attribute \\r[ao]m_style "block"\n', "", text))
    script = [
        "read_rtlil unit.il",
        *before,
        f"{synthesis} -nobram -nodsp",
        check,
        "write_verilog -noattr mapped.v",
    ]
    (tmp_path / "unit.ys").write_text("\n".join(script) + "\n")
    log = tmp_path / "log"
    code = run_tool([sys.executable, "-c", RUN, "unit.ys"], cwd=tmp_path, log=log)
    assert code == 0, log.read_text()[-1000:]

    image = network.types[network.input.name]
    shape = (FRAMES, image.height, image.width, image.channels)
    images = np.random.default_rng(7).integers(0, 256, shape).astype(np.uint8)
    lanes = accelerator.i.payload.shape().length
    beats = [bytes(beat[::-1]).hex() for beat in images.reshape(-1, lanes)]
    (tmp_path / "beats.hex").write_text("\n".join(beats) + "\n")
    outputs = {port: getattr(accelerator, port).payload.shape() for port in accelerator.outputs}
    bits = {port: Shape.cast(shape).width for port, shape in outputs.items()}
    bench = _BENCH.format(
        width=8 * lanes - 1,
        last=len(beats) - 1,
        cycles=(FRAMES + 1) * accelerator.interval + accelerator.latency + 100,
        wires="\n".join(
            f"  wire {port}_valid; wire [{width - 1}:0] {port}_payload;"
            for port, width in bits.items()
        ),
        ports="".join(
            f", .{port}__valid({port}_valid), .{port}__payload({port}_payload)"
            f", .{port}__ready(1'b1)"
            for port in bits
        ),
        shows="\n".join(
            f'      if ({port}_valid === 1) $display("{port} %0d", {port}_payload);'
            for port in bits
        ),
    )
    (tmp_path / "bench.v").write_text(bench)
    (tmp_path / "cells.v").write_text(cell_models())
    compile_it = ["iverilog", "-g2012", "-o", "bench", "bench.v", "mapped.v", "cells.v"]
    subprocess.run(compile_it, cwd=tmp_path, check=True)
    lines = subprocess.run(
        ["vvp", "-n", "bench"], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout.splitlines()

    expected = golden.run(network, images)
    for name, (port, shape) in zip(network.outputs, outputs.items(), strict=True):
        words = [line.split()[1] for line in lines if line.startswith(f"{port} ")]
        found = [number for word in words for number in elements(shape, int(word))]
        assert found == expected[name].ravel().tolist()
