"""The inputs of the primitive PS8 and their widths, pads left out.

Names and widths are those of AMD's library, as Yosys' ``cells_xtra.v`` lists them.
"""

__all__ = ["PS8_INPUTS", "PS8_ONES"]

#: Channel signals that a manager drives, as every subordinate port has them.
_AXI = {
    **{f"{channel}{name}": bits for channel in ("AR", "AW") for name, bits in (
        ("BURST", 2), ("CACHE", 4), ("LEN", 8), ("LOCK", 1), ("PROT", 3), ("QOS", 4), ("SIZE", 3),
        ("VALID", 1),
    )},
    "WDATA": 128, "WSTRB": 16, "WLAST": 1, "WVALID": 1, "BREADY": 1, "RREADY": 1,
}  # fmt: skip
_GENERAL = {
    **_AXI, "ARADDR": 49, "AWADDR": 49, "ARID": 6, "AWID": 6, "ARUSER": 1, "AWUSER": 1,
    "RCLK": 1, "WCLK": 1,
}  # fmt: skip
_COHERENT = {
    **_AXI, "ARADDR": 40, "AWADDR": 40, "ARID": 5, "AWID": 5, "ARUSER": 2, "AWUSER": 2, "ACLK": 1,
}  # fmt: skip
_EXTENDED = {
    **_AXI, "ARADDR": 44, "AWADDR": 44, "ARID": 6, "AWID": 6, "ARUSER": 16, "AWUSER": 16,
    "ARBAR": 2, "AWBAR": 2, "ARDOMAIN": 2, "AWDOMAIN": 2, "ARREGION": 4, "AWREGION": 4,
    "ARSNOOP": 4, "AWSNOOP": 3, "ACREADY": 1, "CDDATA": 128, "CDLAST": 1, "CDVALID": 1,
    "CRRESP": 5, "CRVALID": 1, "RACK": 1, "WACK": 1, "WUSER": 1,
}  # fmt: skip
_MANAGER = {
    "ACLK": 1, "ARREADY": 1, "AWREADY": 1, "BID": 16, "BRESP": 2, "BVALID": 1, "RDATA": 128,
    "RID": 16, "RLAST": 1, "RRESP": 2, "RVALID": 1, "WREADY": 1,
}  # fmt: skip
_ETHERNET = {
    "DMATXSTATUSTOG": 1, "EXTINTIN": 1, "GMIICOL": 1, "GMIICRS": 1, "GMIIRXCLK": 1, "GMIIRXD": 8,
    "GMIIRXDV": 1, "GMIIRXER": 1, "GMIITXCLK": 1, "MDIOI": 1, "RXWOVERFLOW": 1, "TXRCONTROL": 1,
    "TXRDATA": 8, "TXRDATARDY": 1, "TXREOP": 1, "TXRERR": 1, "TXRFLUSHED": 1, "TXRSOP": 1,
    "TXRUNDERFLOW": 1, "TXRVALID": 1,
}  # fmt: skip
_STORAGE = {"CDN": 1, "CMDIN": 1, "DATAIN": 8, "FBCLKIN": 1, "WP": 1}
_SPI = {"MI": 1, "SCLKI": 1, "SI": 1, "SSIN": 1}
_UART = {"CTSN": 1, "DCDN": 1, "DSRN": 1, "RIN": 1, "RX": 1}
_BUFFERS = {"FIFORXCLKFROMPL": 1, "FIFOTXCLKFROMPL": 1, "SIGNALDETECT": 1}

#: Those of which there are several alike: their names up to what `dict` says, and that.
_GROUPS = [
    *((f"SAXIGP{k}", _GENERAL) for k in range(7)),
    ("SAXIACP", _COHERENT),
    ("SACEFPD", _EXTENDED),
    *((f"MAXIGP{k}", _MANAGER) for k in range(3)),
    *((f"EMIOENET{k}", _ETHERNET) for k in range(4)),
    *((f"EMIOGEM{k}", {"TSUINCCTRL": 2}) for k in range(4)),
    *((f"FMIOGEM{k}", _BUFFERS) for k in range(4)),
    *((f"EMIOSDIO{k}", _STORAGE) for k in range(2)),
    *((f"EMIOSPI{k}", _SPI) for k in range(2)),
    *((f"EMIOUART{k}", _UART) for k in range(2)),
    *((f"EMIOI2C{k}", {"SCLI": 1, "SDAI": 1}) for k in range(2)),
    *((f"EMIOCAN{k}", {"PHYRX": 1}) for k in range(2)),
    *((f"EMIOWDT{k}", {"CLKI": 1}) for k in range(2)),
    *((f"EMIOTTC{k}", {"CLKI": 3}) for k in range(4)),
    *((f"EMIOHUBPORTOVERCRNTUSB{k}", {"": 1}) for k in (20, 21, 30, 31)),
    *((f"N{kind}{k}LPDRPU", {"": 1}) for kind in ("FIQ", "IRQ") for k in range(2)),
    *((f"RPUEVENTI{k}", {"": 1}) for k in range(2)),
    *((f"DDRCEXTREFRESHRANK{k}REQ", {"": 1}) for k in range(2)),
    *((f"DPEXTERNALCUSTOMEVENT{k}", {"": 1}) for k in (1, 2)),
    *((f"PLPSIRQ{k}", {"": 8}) for k in range(2)),
    *((f"AIBPMUAFIFM{part}ACK", {"": 1}) for part in ("FPD", "LPD")),
]

#: Width of each input, by its name.
PS8_INPUTS: dict[str, int] = {
    **{f"{prefix}{name}": bits for prefix, names in _GROUPS for name, bits in names.items()},
    "ADMAFCICLK": 8, "DDRCREFRESHPLCLK": 1, "DPAUXDATAIN": 1, "DPEXTERNALVSYNCEVENT": 1,
    "DPHOTPLUGDETECT": 1, "DPLIVEGFXALPHAIN": 8, "DPLIVEGFXPIXEL1IN": 36, "DPLIVEVIDEOINDE": 1,
    "DPLIVEVIDEOINHSYNC": 1, "DPLIVEVIDEOINPIXEL1": 36, "DPLIVEVIDEOINVSYNC": 1,
    "DPMAXISMIXEDAUDIOTREADY": 1, "DPSAXISAUDIOCLK": 1, "DPSAXISAUDIOTDATA": 32,
    "DPSAXISAUDIOTID": 1, "DPSAXISAUDIOTVALID": 1, "DPVIDEOINCLK": 1, "EMIOENETTSUCLK": 1,
    "EMIOGPIOI": 96, "FMIOGEMTSUCLKFROMPL": 1, "FTMGPI": 32, "GDMAFCICLK": 8, "PL2ADMACVLD": 8,
    "PL2ADMATACK": 8, "PL2GDMACVLD": 8, "PL2GDMATACK": 8, "PLACECLK": 1, "PLACPINACT": 1,
    "PLFPGASTOP": 4, "PLLAUXREFCLKFPD": 3, "PLLAUXREFCLKLPD": 2, "PLPMUGPI": 32,
    "PLPSAPUGICFIQ": 4, "PLPSAPUGICIRQ": 4, "PLPSEVENTI": 1, "PLPSTRACECLK": 1, "PLPSTRIGACK": 4,
    "PLPSTRIGGER": 4, "PMUERRORFROMPL": 4, "STMEVENT": 60,
}  # fmt: skip

#: Those that rest at 1, as in AMD's own wrapper of this primitive: interrupts and selects that are
#: active low, write protection, and packet ends of the Ethernet FIFOs.
PS8_ONES = frozenset(
    [
        *(f"N{kind}{k}LPDRPU" for kind in ("FIQ", "IRQ") for k in range(2)),
        *(f"EMIOENET{k}TXR{end}" for end in ("SOP", "EOP") for k in range(4)),
        *(f"EMIOSDIO{k}WP" for k in range(2)),
        *(f"EMIOSPI{k}SSIN" for k in range(2)),
    ]
)
