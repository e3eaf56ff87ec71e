"""An accelerator as a block for other people's designs: AXI4-Stream, AXI4-Lite and IP-XACT."""
