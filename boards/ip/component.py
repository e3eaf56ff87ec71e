"""The description of a block that Vivado's IP catalogue reads: IP-XACT (IEEE 1685-2009)."""

from xml.etree import ElementTree

from boards.registers import (
    ADDRESS_BITS,
    FIFO_MARKS,
    IDENTITY,
    INSIDE,
    STREAM_STRIDE,
    STREAMS,
    Identity,
    Register,
    StreamCounter,
)

__all__ = ["SPIRIT", "describe"]

#: Namespaces.
SPIRIT = "http://www.spiritconsortium.org/XMLSchema/SPIRIT/1685-2009"
_XILINX = "http://www.xilinx.com"
_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"

_STREAMS = ("s_axis", "m_axis")
_CONTROL = "s_axi"

#: Families that the catalogue offers the block for: the sources are plain Verilog.
_FAMILIES = ("zynquplus", "kintexuplus", "virtexuplus", "zynq", "artix7", "kintex7", "versal")

_VIEWS = (
    ("xilinx_anylanguagesynthesis", ":vivado.xilinx.com:synthesis"),
    ("xilinx_anylanguagebehavioralsimulation", ":vivado.xilinx.com:simulation"),
)


class _Tree:
    """An element to which others are added."""

    def __init__(self, element: ElementTree.Element):
        self.element = element

    def add(
        self, tag: str, text: object = None, *, namespace: str = SPIRIT, **attributes
    ) -> "_Tree":
        """Add an element, and return it; attributes get the namespace of its tag."""
        child = ElementTree.SubElement(
            self.element,
            f"{{{namespace}}}{tag}",
            {f"{{{namespace}}}{name}": str(value) for name, value in attributes.items()},
        )
        if text is not None:
            child.text = str(text)
        return _Tree(child)

    def add_parameter(self, name: str, value: object) -> None:
        parameter = self.add("parameter")
        parameter.add("name", name)
        parameter.add("value", value)


def describe(
    *,
    name: str,
    title: str,
    identity: Identity,
    ports: dict[str, tuple[str, int]],
    files: tuple[str, ...],
) -> str:
    """``component.xml`` as text.

    Parameters
    ----------
    name : str
        Of the outermost module, and of the block.
    title : str
        A sentence for the catalogue.
    identity : boards.registers.Identity
        For the registers that depend on the accelerator.
    ports : dict
        Direction, "input" or "output", and width of every port of the module, clk and rst included.
    files : tuple of str
        Paths of the Verilog sources, seen from where the description lies.
    """
    for prefix, space in (("spirit", SPIRIT), ("xilinx", _XILINX), ("xsi", _INSTANCE)):
        ElementTree.register_namespace(prefix, space)
    root = _Tree(ElementTree.Element(f"{{{SPIRIT}}}component"))
    for tag, text in (
        ("vendor", "bitwright"),
        ("library", "accelerator"),
        ("name", name),
        ("version", "1.0"),
    ):
        root.add(tag, text)
    _add_interfaces(root.add("busInterfaces"), ports)
    _add_registers(root.add("memoryMaps"), identity)
    _add_model(root.add("model"), name, ports)
    file_sets = root.add("fileSets")
    for view, _ in _VIEWS:
        file_set = file_sets.add("fileSet")
        file_set.add("name", f"{view}_view_fileset")
        for path in files:
            file = file_set.add("file")
            file.add("name", path)
            file.add("fileType", "verilogSource")
    root.add("description", title)
    parameter = root.add("parameters").add("parameter")
    parameter.add("name", "Component_Name")
    parameter.add("value", f"{name}_v1_0", resolve="user", id="PARAM_VALUE.Component_Name", order=1)
    _add_extensions(root.add("vendorExtensions"), name, title)
    ElementTree.indent(root.element)
    body = ElementTree.tostring(root.element, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _add_interfaces(interfaces: _Tree, ports: dict[str, tuple[str, int]]) -> None:
    def add(name, kind, library, role, mapped, parameters, reference=None):
        interface = interfaces.add("busInterface")
        interface.add("name", name)
        bus = {"vendor": "xilinx.com", "library": library, "version": "1.0"}
        interface.add("busType", **{**bus, "name": kind})
        interface.add("abstractionType", **{**bus, "name": f"{kind}_rtl"})
        end = interface.add(role)
        if reference is not None:
            end.add("memoryMapRef", memoryMapRef=reference)
        maps = interface.add("portMaps")
        for logical, physical in mapped.items():
            port_map = maps.add("portMap")
            port_map.add("logicalPort").add("name", logical)
            port_map.add("physicalPort").add("name", physical)
        if parameters:
            listed = interface.add("parameters")
            for parameter, value in parameters.items():
                listed.add_parameter(parameter, value)

    def of(prefix):
        return {
            port.removeprefix(f"{prefix}_").upper(): port
            for port in ports
            if port.startswith(f"{prefix}_")
        }

    for name in _STREAMS:
        role = "slave" if ports[f"{name}_tvalid"][0] == "input" else "master"
        facts = {
            "TDATA_NUM_BYTES": ports[f"{name}_tdata"][1] // 8,
            "HAS_TLAST": int(f"{name}_tlast" in ports),
        }
        add(name, "axis", "interface", role, of(name), facts)
    facts = {"PROTOCOL": "AXI4LITE", "DATA_WIDTH": 32, "ADDR_WIDTH": ADDRESS_BITS}
    add(_CONTROL, "aximm", "interface", "slave", of(_CONTROL), facts, reference=_CONTROL)
    facts = {"ASSOCIATED_BUSIF": ":".join((*_STREAMS, _CONTROL)), "ASSOCIATED_RESET": "rst"}
    add("clk", "clock", "signal", "slave", {"CLK": "clk"}, facts)
    add("rst", "reset", "signal", "slave", {"RST": "rst"}, {"POLARITY": "ACTIVE_HIGH"})
    facts = {"SENSITIVITY": "LEVEL_HIGH"}
    add("interrupt", "interrupt", "signal", "master", {"INTERRUPT": "interrupt"}, facts)


def _registers(identity: Identity) -> list[tuple[str, int, str, str]]:
    """Name, address, access and description of every register."""
    fixed = ("MAGIC", "VERSION", "IDENTITY_BYTES", "STATUS", "FAULT", "BATCHES", "PARAMETER_WORDS")
    found = []
    for register in Register:
        counting = register.name.startswith(("FRAMES_", "CYCLES_", "BUSY_"))
        access = "read-only" if register.name in fixed or counting else "read-write"
        access = "write-only" if register.name in ("CONTROL", "SUBMIT") else access
        words = 8 if register is Register.NETWORK else 1
        for word in range(words):
            name = register.name if words == 1 else f"{register.name}_{word}"
            found.append((name, register + 4 * word, access, ""))
    for index, stream in enumerate(identity.streams):
        for counter in StreamCounter:
            name = f"STREAM_{index}_{counter.name}"
            address = STREAMS + STREAM_STRIDE * index + counter
            found.append((name, address, "read-only", f"{counter.name.lower()} of {stream}"))
    for index, (fifo, depth) in enumerate(identity.fifos):
        text = f"most beats in {fifo}, which has room for {depth}"
        found.append((f"FIFO_{index}_MARK", FIFO_MARKS + 4 * index, "read-only", text))
    for index in range(-(-len(identity.inside) // 16)):
        text = "valid and ready of streams inside"
        found.append((f"INSIDE_{index}", INSIDE + 4 * index, "read-only", text))
    for index in range(len(identity.pack()) // 4):
        text = "what the accelerator is"
        found.append((f"IDENTITY_{index}", IDENTITY + 4 * index, "read-only", text))
    return found


def _add_registers(maps: _Tree, identity: Identity) -> None:
    memory_map = maps.add("memoryMap")
    memory_map.add("name", _CONTROL)
    block = memory_map.add("addressBlock")
    block.add("name", "registers")
    block.add("baseAddress", 0, format="long")
    block.add("range", 1 << ADDRESS_BITS, format="long")
    block.add("width", 32, format="long")
    block.add("usage", "register")
    block.add("access", "read-write")
    for name, address, access, text in _registers(identity):
        register = block.add("register")
        register.add("name", name)
        if text:
            register.add("description", text)
        register.add("addressOffset", f"0x{address:X}")
        register.add("size", 32)
        register.add("access", access)
    memory_map.add("addressUnitBits", 8)


def _add_model(model: _Tree, name: str, ports: dict[str, tuple[str, int]]) -> None:
    views = model.add("views")
    for view, environment in _VIEWS:
        entry = views.add("view")
        entry.add("name", view)
        entry.add("envIdentifier", environment)
        entry.add("language", "verilog")
        entry.add("modelName", name)
        entry.add("fileSetRef").add("localName", f"{view}_view_fileset")
    listed = model.add("ports")
    for port, (direction, width) in ports.items():
        entry = listed.add("port")
        entry.add("name", port)
        wire = entry.add("wire")
        wire.add("direction", "in" if direction == "input" else "out")
        if width > 1:
            vector = wire.add("vector")
            vector.add("left", width - 1, format="long")
            vector.add("right", 0, format="long")


def _add_extensions(extensions: _Tree, name: str, title: str) -> None:
    core = extensions.add("coreExtensions", namespace=_XILINX)
    families = core.add("supportedFamilies", namespace=_XILINX)
    for family in _FAMILIES:
        families.add("family", family, namespace=_XILINX, lifeCycle="Production")
    core.add("taxonomies", namespace=_XILINX).add("taxonomy", "/UserIP", namespace=_XILINX)
    core.add("displayName", name, namespace=_XILINX)
    core.add("vendorDisplayName", "Bitwright", namespace=_XILINX)
    core.add("coreRevision", 1, namespace=_XILINX)
