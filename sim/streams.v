// Both ends of a stream in Verilog, fed from a file and written to one: thousands of frames without
// a word of Python for a beat.

// Gives the beats of a file of hexadecimal words, one a line.
module bench_source #(parameter WIDTH = 1) (
    input clk,
    input rst,
    input [8*400-1:0] path,
    input [31:0] count,          // beats in the file
    input [31:0] seed,           // of the stalls; 0: none
    input [7:0] rest,            // how often it rests, in 256ths
    input [31:0] cycle,
    output reg valid,
    output reg [WIDTH-1:0] payload,
    input ready,
    output reg [31:0] taken,
    output reg [31:0] first      // cycle of the first transfer
);
    integer file;
    integer fields;
    reg [31:0] offered;
    reg [31:0] random;
    reg [WIDTH-1:0] word;
    wire [31:0] r1 = random ^ (random << 13);
    wire [31:0] r2 = r1 ^ (r1 >> 17);
    wire [31:0] r3 = r2 ^ (r2 << 5);
    wire rests = seed != 0 && random[15:8] < rest;
    initial begin
        file = 0;
        valid = 0;
    end
    always @(posedge clk) begin
        if (rst) begin
            if (file == 0) file = $fopen(path, "r");
            valid <= 0;
            taken <= 0;
            offered <= 0;
            first <= 0;
            random <= seed;
        end else begin
            random <= r3;
            if (valid && ready) begin
                taken <= taken + 1;
                if (taken == 0) first <= cycle;
            end
            if (!valid || ready) begin
                if (offered != count && !rests) begin
                    fields = $fscanf(file, "%h", word);
                    payload <= word;
                    valid <= 1;
                    offered <= offered + 1;
                end else begin
                    // What is not valid must not matter.
                    valid <= 0;
                    payload <= ~payload;
                end
            end
        end
    end
endmodule

// Writes every beat and its cycle to a file, and checks that an untaken beat stays as it is.
module bench_sink #(parameter WIDTH = 1) (
    input clk,
    input rst,
    input [8*400-1:0] path,
    input [31:0] seed,
    input [7:0] rest,
    input [31:0] cycle,
    input valid,
    input [WIDTH-1:0] payload,
    output reg ready,
    output reg [31:0] taken,
    output reg broken            // the stream's rules were broken
);
    integer file;
    reg waits;
    reg [WIDTH-1:0] waiting;
    reg [31:0] random;
    wire [31:0] r1 = random ^ (random << 13);
    wire [31:0] r2 = r1 ^ (r1 >> 17);
    wire [31:0] r3 = r2 ^ (r2 << 5);
    initial begin
        file = 0;
        ready = 0;
    end
    always @(posedge clk) begin
        if (rst) begin
            if (file == 0) file = $fopen(path, "w");
            ready <= seed == 0;
            taken <= 0;
            broken <= 0;
            waits <= 0;
            random <= seed;
        end else begin
            random <= r3;
            ready <= seed == 0 || random[15:8] >= rest;
            if (valid && ready) begin
                $fwrite(file, "%0d %h\n", cycle, payload);
                taken <= taken + 1;
            end
            if (waits && (!valid || payload !== waiting)) broken <= 1;
            if (valid !== 1'b0 && ^payload === 1'bx) broken <= 1;
            waits <= valid && !ready;
            waiting <= payload;
        end
    end
endmodule
