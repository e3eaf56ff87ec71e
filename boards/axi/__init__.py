"""Between an accelerator and AXI: registers, and engines that read images and write results."""
