"""The device-tree overlay by which a Linux kernel loads a design and finds its registers."""

__all__ = ["overlay_source"]

#: Fabric widths of the FIFOs behind AXI ports (UG1085, AFIFM RDCTRL and WRCTRL).
_AFI_WIDTH = {128: 0, 64: 1, 32: 2}

#: Numbers by which the firmware knows the width of S_AXI_HP0_FPD, for reading and for writing, and
#: that of the M_AXI_HPM ports in the FPD.
_AFI_READ, _AFI_WRITE, _AFI_HPM = 4, 5, 14

#: Clock and reset of the programmable logic in the bindings of zynqmp-firmware.
_PL0_CLOCK, _PL0_RESET = 71, 116

#: pl_ps_irq0[0] as a shared peripheral interrupt, active high.
_INTERRUPT = (0, 89, 4)

_TEXT = """\
// {title}
// Compile with: dtc -@ -I dts -O dtb -o {name}.dtbo {name}.dtso
/dts-v1/;
/plugin/;

&fpga_full {{
	#address-cells = <2>;
	#size-cells = <2>;
	firmware-name = "{name}.bin";
	resets = <&zynqmp_reset {reset}>;
}};

&amba {{
	#address-cells = <2>;
	#size-cells = <2>;

	bitwright_afi: bitwright-afi {{
		compatible = "xlnx,afi-fpga";
		// S_AXI_HP0_FPD has {data_bits} bits, M_AXI_HPM0_FPD has 32.
		config-afi = <{read} {width}>, <{write} {width}>, <{hpm} 0x0>;
	}};

	bitwright_clock: bitwright-clock {{
		compatible = "xlnx,fclk";
		clocks = <&zynqmp_clk {clock}>;
		assigned-clocks = <&zynqmp_clk {clock}>;
		assigned-clock-rates = <{hertz}>;
		clock-output-names = "bitwright_clock";
		#clock-cells = <0>;
	}};

	bitwright: bitwright@{base:x} {{
		// Needs uio_pdrv_genirq.of_id=generic-uio among the arguments of the kernel or module.
		compatible = "generic-uio";
		linux,uio-name = "bitwright";
		reg = <0x0 0x{base:x} 0x0 0x{span:x}>;
		interrupt-parent = <&gic>;
		interrupts = <{interrupt}>;
		clocks = <&zynqmp_clk {clock}>;
	}};

	bitwright_buffer: bitwright-buffer {{
		// Memory for images and results; needs the module u-dma-buf.
		compatible = "ikwzm,u-dma-buf";
		device-name = "{buffer}";
		size = <0x0 0x{buffer_bytes:x}>;
	}};
}};
"""


def overlay_source(
    *,
    name: str,
    title: str,
    hertz: float,
    data_bits: int,
    base: int,
    span: int = 0x1_0000,
    buffer: str = "udmabuf0",
    buffer_bytes: int = 16 << 20,
) -> str:
    """The overlay as source text (.dtso).

    Parameters
    ----------
    name : str
        Of the bitstream, which the kernel looks for as ``NAME.bin`` among its firmware.
    title : str
        For the first line.
    hertz : float
        Clock of the design. The kernel takes the nearest that its dividers make, so it is rounded
        up to whole hertz: the clock that is meant must not be below it.
    data_bits : 64 or 128
        Width of the memory port.
    base, span : int
        Of the registers.
    buffer, buffer_bytes : str, int
        Name and size of the memory that the kernel lends to images and results.
    """
    return _TEXT.format(
        name=name,
        title=title,
        hertz=-int(-hertz // 1),
        data_bits=data_bits,
        width=_AFI_WIDTH[data_bits],
        read=_AFI_READ,
        write=_AFI_WRITE,
        hpm=_AFI_HPM,
        clock=_PL0_CLOCK,
        reset=_PL0_RESET,
        base=base,
        span=span,
        interrupt=" ".join(map(str, _INTERRUPT)),
        buffer=buffer,
        buffer_bytes=buffer_bytes,
    )
