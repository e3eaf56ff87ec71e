"""Yosys as a program, as SymbiYosys calls it: `yosys -ql LOG SCRIPT`.

The native Yosys of pyosys, since its WebAssembly twin takes most of a minute to compile when it
runs for the first time on a machine.
"""

import sys

from pyosys import libyosys

__all__ = ["main"]


def main(arguments: list[str]) -> None:
    option, log, script = arguments
    if option != "-ql":
        raise ValueError(f"the only option known is -ql, not {option}")
    libyosys.run_pass(f"tee -q -o {log} script {script}", libyosys.Design())


if __name__ == "__main__":
    main(sys.argv[1:])
