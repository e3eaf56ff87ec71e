// A manager on a 64-bit AXI port that writes and reads bursts of four words for ever, and does one
// thing wrong: what the simulated memory must notice.
module manager(
    input clk, input rst, input [3:0] fault,
    output [0:0] memory_awid, output reg [39:0] memory_awaddr, output [7:0] memory_awlen,
    output [2:0] memory_awsize, output [1:0] memory_awburst, output reg memory_awvalid,
    input memory_awready,
    output reg [63:0] memory_wdata, output [7:0] memory_wstrb, output memory_wlast,
    output reg memory_wvalid, input memory_wready,
    input [0:0] memory_bid, input [1:0] memory_bresp, input memory_bvalid, output memory_bready,
    output [0:0] memory_arid, output reg [39:0] memory_araddr, output [7:0] memory_arlen,
    output [2:0] memory_arsize, output [1:0] memory_arburst, output reg memory_arvalid,
    input memory_arready,
    input [0:0] memory_rid, input [63:0] memory_rdata, input [1:0] memory_rresp, input memory_rlast,
    input memory_rvalid, output memory_rready,
    output reg [15:0] bursts, output reg [63:0] sum
);
    localparam [39:0] GOOD = 40'h8_0000_0fc0, CROSSING = 40'h8_0000_0ff0;
    localparam AW_CROSSES = 1, AW_CHANGES = 2, W_CHANGES = 3, W_LAST = 4, AR_CROSSES = 5,
               AR_CHANGES = 6, NARROW = 7, W_GIVES_UP = 8, FIXED = 9, OTHER_ID = 10;
    reg [1:0] beat;
    reg started;
    assign memory_awid = 0;
    assign memory_arid = fault == OTHER_ID;
    assign memory_awlen = 3, memory_arlen = 3;
    assign memory_awsize = fault == NARROW ? 2 : 3;
    assign memory_arsize = 3;
    assign memory_awburst = 1;
    assign memory_arburst = fault == FIXED ? 0 : 1;
    assign memory_wstrb = 8'hff;
    assign memory_wlast = (beat == 3) ^ (fault == W_LAST);
    assign memory_bready = 1, memory_rready = 1;
    always @(posedge clk) begin
        if (rst) begin
            started <= 0;
            memory_awvalid <= 0;
            memory_awaddr <= fault == AW_CROSSES ? CROSSING : GOOD;
            memory_wvalid <= 0;
            memory_wdata <= 1;
            memory_arvalid <= 0;
            memory_araddr <= fault == AR_CROSSES ? CROSSING : GOOD;
            beat <= 0;
            bursts <= 0;
            sum <= 0;
        end else begin
            started <= 1;
            if (!started) memory_awvalid <= 1;
            else if (memory_awready) memory_awvalid <= 0;
            else if (memory_awvalid && fault == AW_CHANGES) memory_awaddr <= memory_awaddr ^ 64;
            if (!started) memory_wvalid <= 1;
            else if (memory_wvalid && memory_wready) begin
                beat <= beat + 1;
                memory_wdata <= memory_wdata + 1;
                if (beat == 3) memory_wvalid <= 0;
            end else if (memory_wvalid && fault == W_CHANGES) memory_wdata <= memory_wdata + 1;
            else if (memory_wvalid && fault == W_GIVES_UP) memory_wvalid <= 0;
            if (memory_bvalid) memory_arvalid <= 1;
            else if (memory_arvalid && memory_arready) memory_arvalid <= 0;
            else if (memory_arvalid && fault == AR_CHANGES) memory_araddr <= memory_araddr ^ 64;
            if (memory_rvalid) begin
                sum <= sum + memory_rdata;
                if (memory_rlast) begin
                    bursts <= bursts + 1;
                    memory_awvalid <= 1;
                    memory_wvalid <= 1;
                end
            end
        end
    end
endmodule
