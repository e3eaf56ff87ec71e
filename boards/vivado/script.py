"""The Tcl by which Vivado builds a design: one text for every version from 2022.2 on."""

from boards.vivado.tool import OLDEST

__all__ = ["CLOCK", "MARK", "RESULT", "build_script"]

#: Name of the design's clock in Vivado.
CLOCK = "pl_clk0"

#: Lines that begin so are meant for whoever watches the build.
MARK = "@bitwright"

#: What the script writes last: that the build is complete, and how it went.
RESULT = "result.txt"

_PRELUDE = """\
# Builds {top} in batch: vivado -mode batch -source build.tcl
# Reports, and the bitstream where timing is met, are beside this file afterwards.

cd [file dirname [file normalize [info script]]]

set top {top}
set part {part}
set clock {clock}
set design {digest}

proc tell {{args}} {{
    puts "{mark} [join $args]"
    flush stdout
}}

# "2023.1" or "2023.1.1".
lassign [split [version -short] .] year release
if {{100 * $year + $release < {oldest}}} {{
    tell failed this needs Vivado {oldest_name} or newer, not [version -short]
    exit 1
}}

# What an earlier run left must not be taken for results of this one.
file delete -force {result} $top.bit $top.partial.bit

# Slack and ends of the worst path of a kind, setup or hold.
proc worst_path {{kind}} {{
    set path [lindex [get_timing_paths -$kind -max_paths 1 -nworst 1] 0]
    if {{$path eq ""}} {{
        error "there is no $kind path to check, so its timing is unchecked"
    }}
    return [list [get_property SLACK $path] [get_property STARTPOINT_PIN $path] \\
        [get_property ENDPOINT_PIN $path]]
}}

proc setup_slack {{}} {{ return [lindex [worst_path setup] 0] }}

proc write_reports {{}} {{
    report_utilization -hierarchical -file utilization.rpt
    report_utilization -file utilization_summary.rpt
    report_timing_summary -max_paths 10 -file timing.rpt
{power}    report_power -file power.rpt
}}

# Written whole or not at all, as everything reads it as the sign that all is done.
proc write_result {{lines}} {{
    set file [open {result}.partial w]
    puts $file [join $lines "\\n"]
    close $file
    file rename -force {result}.partial {result}
}}

proc check_clock {{}} {{
    if {{[llength [get_clocks -quiet $::clock]] != 1}} {{
        error "the constraint of the clock $::clock found no pin, so timing would be unchecked"
    }}
}}
"""

_SYNTHESIS = """
proc build {{}} {{
    tell begin synthesis
    read_verilog $::top.v
    read_xdc $::top.xdc
    synth_design -top $::top -part $::part {mode}
    check_clock
    tell begin optimisation
    opt_design
"""

_IMPLEMENTATION = """\
    tell begin placement
    place_design
    phys_opt_design
    tell begin routing
    route_design
    if {[setup_slack] < 0} {
        tell begin repair of paths that are too long
        phys_opt_design
    }
    write_checkpoint -force routed.dcp
"""

_ENDING = """\
    tell begin reports
    write_reports
    set lines [list "design $::design" "vivado [version -short]"]
    set missed ""
    foreach kind {{{kinds}}} {{
        lassign [worst_path $kind] slack from to
        lappend lines "$kind $slack $from $to"
        if {{$slack < 0 && $missed eq ""}} {{
            set missed "$kind $slack ns from $from to $to"
        }}
    }}
    if {{$missed ne ""}} {{
        write_result $lines
        error "timing is not met: $missed"
    }}
{bitstream}    write_result $lines
    tell done
}}

if {{[catch build message]}} {{
    tell failed $message
    exit 1
}}
exit 0
"""

_BITSTREAM = """\
    tell begin bitstream
    write_bitstream -force $::top.partial.bit
    file rename -force $::top.partial.bit $::top.bit
"""


def build_script(
    *, top: str, part: str, digest: str, out_of_context: bool, saif: str | None
) -> str:
    """The text of ``build.tcl``.

    Parameters
    ----------
    top, part : str
        Outermost module, and device.
    digest : str
        Of the design; the result names it.
    out_of_context : bool
        End after synthesis; hold is not checked, as only routing mends it.
    saif : str or None
        What to leave out at the front of the names in ``switching.saif``, which is read if this is
        not None.
    """
    power = "" if saif is None else f"    read_saif -strip_path {{{saif}}} switching.saif\n"
    mode = "-flatten_hierarchy rebuilt"
    if out_of_context:
        mode += " -mode out_of_context"
    return (
        _PRELUDE.format(
            top=top,
            part=part,
            clock=CLOCK,
            digest=digest,
            mark=MARK,
            result=RESULT,
            power=power,
            oldest=100 * OLDEST[0] + OLDEST[1],
            oldest_name=".".join(map(str, OLDEST)),
        )
        + _SYNTHESIS.format(mode=mode)
        + ("" if out_of_context else _IMPLEMENTATION)
        + _ENDING.format(
            kinds="setup" if out_of_context else "setup hold",
            bitstream="" if out_of_context else _BITSTREAM,
        )
    )
