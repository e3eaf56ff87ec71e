# Stands in for Vivado's Tcl: sourced before a script, it gives that the tool's commands. Each writes
# what it was called with to a log and checks it as far as that is possible. A command that is not
# here ends the script with an error, as it would in Vivado if it did not exist.

set here [file dirname [file normalize [info script]]]
source design.tcl ;# pins, ports and clocks of the design, slacks, and a command that fails

set ::log [open commands.log w]
proc note {args} { puts $::log [join $args "\t"] ; flush $::log }

proc command {name} {
    proc $name {args} [string map [list NAME $name] {
        note NAME {*}$args
        if {$::failing eq "NAME"} {
            error "ERROR: \[Common 17-39\] 'NAME' failed due to earlier errors."
        }
        set file [lsearch $args -file]
        if {$file >= 0} { close [open [lindex $args $file+1] w] }
    }]
}
foreach name {
    synth_design opt_design place_design phys_opt_design route_design report_utilization
    report_timing_summary report_power write_checkpoint
} { command $name }

proc existing {name args} {
    if {![file exists $name]} { error "file $name does not exist" }
}
proc read_verilog {args} { note read_verilog {*}$args ; existing {*}$args }
proc read_saif {args} { note read_saif {*}$args ; existing [lindex $args end] }
proc read_xdc {args} {
    note read_xdc {*}$args
    existing {*}$args
    uplevel #0 [list source [lindex $args 0]]
}
proc write_bitstream {args} {
    note write_bitstream {*}$args
    close [open [lindex $args end] w]
}
proc version {args} { return $::version }

proc get_clocks {args} { return $::clocks }
proc get_timing_paths {kind args} {
    note get_timing_paths $kind {*}$args
    return [expr {[dict exists $::slacks $kind] ? $kind : ""}]
}
proc get_property {name object} {
    switch $name {
        SLACK {
            # A list is what it is the first time, the second time and so on.
            set all [dict get $::slacks $object]
            if {[llength $all] > 1} { dict set ::slacks $object [lrange $all 1 end] }
            return [lindex $all 0]
        }
        STARTPOINT_PIN { return shell/probed/accelerator/a_reg/C }
        ENDPOINT_PIN { return shell/probed/accelerator/b_reg/D }
    }
    error "no property $name"
}

# Constraints.

proc among {objects pattern} {
    # Vivado takes brackets as they are.
    set pattern [string map {\[ \\\[ \] \\\]} $pattern]
    set found [lsearch -all -inline -glob $objects $pattern]
    if {![llength $found]} { error "no object matches $pattern" }
    return [join $found]
}
proc get_pins {option filter_option filter} {
    if {$option ne "-hierarchical" || $filter_option ne "-filter"} { error "get_pins $option" }
    if {![regexp {^NAME =~ (\S+)$} $filter whole pattern]} { error "filter $filter" }
    return [among $::pins $pattern]
}
proc get_ports {pattern} { return [among $::ports $pattern] }
proc current_design {} { return design }
proc create_clock {args} { note create_clock {*}$args }
proc set_false_path {args} { note set_false_path {*}$args }
proc set_property {args} { note set_property {*}$args }
