"""The hardware handoff file (.hwh) that ``pynq.Overlay`` reads beside a bitstream.

Vivado writes one for block designs alone. PYNQ takes from it the dividers of the clocks to the
programmable logic and the widths of the AXI ports, both of which it sets, and where which registers
are. This writes just that, in the form that PYNQ's parser (pynqmetadata) reads.
"""

from xml.etree import ElementTree

from boards.registers import Register

__all__ = ["handoff"]

_WRITE_ONLY = ("CONTROL", "SUBMIT")
_READ_ONLY = (
    *("MAGIC", "VERSION", "IDENTITY_BYTES", "STATUS", "FAULT", "BATCHES", "FRAMES_IN"),
    *("FRAMES_OUT", "CYCLES_LOW", "CYCLES_HIGH", "BUSY_LOW", "BUSY_HIGH", "PARAMETER_WORDS"),
)

_PS, _CORE = "zynq_ultra_ps_e_0", "bitwright_0"
_MANAGER, _SUBORDINATE = "M_AXI_HPM0_FPD", "S_AXI_CONTROL"
_AXIMM = "xilinx.com:interface:aximm:1.0"


def _element(parent, tag: str, **attributes: object):
    return ElementTree.SubElement(parent, tag, {k: str(v) for k, v in attributes.items()})


def handoff(
    *,
    part: str,
    network: str,
    divisors: tuple[int, int],
    hertz: float,
    data_bits: int,
    base: int,
    span: int = 0x1_0000,
) -> str:
    """The file as text.

    Parameters
    ----------
    part : str
        Such as ``xczu9eg-ffvb1156-2-e``.
    network : str
        What the design was made for.
    divisors : tuple of int
        Of PL clock 0, from the IOPLL.
    hertz : float
        What comes of them.
    data_bits : 64 or 128
        Width of the memory port.
    base, span : int
        Of the registers.
    """
    device, package, speed = part.split("-", 2)
    root = ElementTree.Element("EDKSYSTEM", {"EDWVERSION": "1.2", "VIVADOVERSION": ""})
    _element(
        root,
        "SYSTEMINFO",
        ARCH="zynquplus",
        DEVICE=device,
        NAME="bitwright",
        PACKAGE=package,
        SPEEDGRADE=f"-{speed.partition('-')[0]}",
    )
    _element(root, "EXTERNALPORTS")
    _element(root, "EXTERNALINTERFACES")
    modules = _element(root, "MODULES")
    parameters = {
        "C_MAXIGP0_DATA_WIDTH": 32,
        "C_SAXIGP2_DATA_WIDTH": data_bits,
        "PSU__CRL_APB__PL0_REF_CTRL__ACT_FREQMHZ": f"{hertz / 1e6:.6f}",
    }
    for clock in range(4):
        prefix = f"PSU__CRL_APB__PL{clock}_REF_CTRL__"
        parameters |= {
            f"PSU__FPGA_PL{clock}_ENABLE": int(clock == 0),
            f"{prefix}DIVISOR0": divisors[0] if clock == 0 else 1,
            f"{prefix}DIVISOR1": divisors[1] if clock == 0 else 1,
            f"{prefix}SRCSEL": "IOPLL",
        }
    ps = _module(modules, _PS, "zynq_ultra_ps_e", "xilinx.com:ip:zynq_ultra_ps_e:3.5", parameters)
    ps.set("IS_PL", "FALSE")
    bus = "accelerator_control"
    _interface(ps, _MANAGER, "MASTER", bus)
    memory_map = _element(ps, "MEMORYMAP")
    _element(
        memory_map,
        "MEMRANGE",
        ADDRESSBLOCK="registers",
        BASENAME="C_BASEADDR",
        BASEVALUE=f"0x{base:08X}",
        HIGHNAME="C_HIGHADDR",
        HIGHVALUE=f"0x{base + span - 1:08X}",
        INSTANCE=_CORE,
        IS_DATA="TRUE",
        IS_INSTRUCTION="TRUE",
        MASTERBUSINTERFACE=_MANAGER,
        MEMTYPE="REGISTER",
        SLAVEBUSINTERFACE=_SUBORDINATE,
    )
    core = _module(
        modules, _CORE, "bitwright", "bitwright:accelerator:bitwright:1.0", {"NETWORK": network}
    )
    core.set("IS_PL", "TRUE")
    # The parser finds the port of an address block by the name of its interface.
    block = _element(
        _element(core, "ADDRESSBLOCKS"),
        "ADDRESSBLOCK",
        ACCESS="",
        INTERFACE=_SUBORDINATE,
        NAME="registers",
        RANGE=span,
        USAGE="register",
    )
    registers = _element(block, "REGISTERS")
    for register in Register:
        access = "read-write"
        if register.name in _WRITE_ONLY:
            access = "write-only"
        elif register.name in _READ_ONLY:
            access = "read-only"
        entry = _element(registers, "REGISTER", NAME=register.name)
        for name, value in {
            "DESCRIPTION": register.name.replace("_", " ").lower(),
            "ADDRESS_OFFSET": f"0x{register.value:X}",
            "SIZE": 32,
            "ACCESS": access,
            "IS_ENABLED": "true",
        }.items():
            _element(entry, "PROPERTY", NAME=name, VALUE=value)
    _interface(core, _SUBORDINATE, "SLAVE", bus)
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8" standalone="no" ?>\n{body}\n'


def _module(modules, instance: str, kind: str, vlnv: str, parameters: dict):
    module = _element(
        modules,
        "MODULE",
        COREREVISION=1,
        FULLNAME=f"/{instance}",
        HWVERSION=vlnv.rpartition(":")[2],
        INSTANCE=instance,
        IPTYPE="PERIPHERAL",
        IS_ENABLE=1,
        MODCLASS="PERIPHERAL",
        MODTYPE=kind,
        NAME=kind,
        VLNV=vlnv,
    )
    listed = _element(module, "PARAMETERS")
    for name, value in parameters.items():
        _element(listed, "PARAMETER", NAME=name, VALUE=value)
    _element(module, "PORTS")
    _element(module, "BUSINTERFACES")
    return module


def _interface(module, name: str, kind: str, bus: str) -> None:
    interfaces = module.find("BUSINTERFACES")
    interface = _element(
        interfaces, "BUSINTERFACE", BUSNAME=bus, DATAWIDTH=32, NAME=name, TYPE=kind, VLNV=_AXIMM
    )
    _element(interface, "PARAMETER", NAME="DATA_WIDTH", VALUE=32)
