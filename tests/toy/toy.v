// A two-stage rigid pipeline: o.sum[l] = i.a[l] + i.b, and a counter of taken beats.
module toy (
    input clk,
    input rst,
    input [23:0] i__payload,
    input i__valid,
    output i__ready,
    output [17:0] o__payload,
    output o__valid,
    input o__ready,
    input clear,
    output [7:0] count
);
  wire signed [7:0] a0 = i__payload[7:0];
  wire signed [7:0] a1 = i__payload[15:8];
  wire signed [7:0] b = i__payload[23:16];
  reg signed [8:0] first0, first1, second0, second1;
  reg valid1, valid2;
  reg [7:0] taken;
  assign i__ready = o__ready | ~valid2;
  assign o__valid = valid2;
  assign o__payload = {second1, second0};
  assign count = taken;
  always @(posedge clk) begin
    if (i__ready) begin
      valid1 <= i__valid;
      valid2 <= valid1;
      first0 <= a0 + b;
      first1 <= a1 + b;
      second0 <= first0;
      second1 <= first1;
    end
    if (i__valid & i__ready) taken <= taken + 8'd1;
    if (clear) taken <= 8'd0;
    if (rst) begin
      valid1 <= 1'b0;
      valid2 <= 1'b0;
      taken <= 8'd0;
    end
  end
endmodule
