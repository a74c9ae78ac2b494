// Relayout of scales between linear, 128x4 and 8x4, padding written as zero.
//
// One thread a byte of the destination, padding included. Layouts are told by their tile's rows:
// 0 linear, 128 and 8 tiled (src/layout/scales.rs has the formula).
//
// Checked against src/layout on the emulator by tests/cuda.rs.
#include <cstdint>

namespace blockscale {

struct RelayoutArguments {
    uint8_t const* from;
    uint8_t* to;
    uint64_t batches, rows, columns;
    uint32_t from_tile, to_tile;
};

__device__ inline uint64_t round_up(uint64_t n, uint32_t to) { return to == 0 ? n : (n + to - 1) / to * to; }

__device__ inline uint64_t offset(uint64_t columns, uint32_t tile, uint64_t row, uint64_t column) {
    if (tile == 0) return row * columns + column;
    uint32_t lanes = tile < 32 ? tile : 32;
    uint64_t at = row / tile * ((columns + 3) / 4) + column / 4;
    return at * 4 * tile + row % lanes * (4 * tile / lanes) + row % tile / lanes * 4 + column % 4;
}

}  // namespace blockscale

extern "C" __global__ void __launch_bounds__(128)
    blockscale_relayout_scales(__grid_constant__ blockscale::RelayoutArguments const a) {
    using namespace blockscale;
    uint64_t to_rows = round_up(a.rows, a.to_tile), to_columns = round_up(a.columns, a.to_tile ? 4 : 0);
    uint64_t from_size = round_up(a.rows, a.from_tile) * round_up(a.columns, a.from_tile ? 4 : 0);
    uint64_t bytes = a.batches * to_rows * to_columns;
    for (uint64_t at = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; at < bytes;
         at += uint64_t(gridDim.x) * blockDim.x) {
        uint64_t column = at % to_columns, row = at / to_columns % to_rows, batch = at / to_columns / to_rows;
        uint64_t to = batch * to_rows * to_columns + offset(a.columns, a.to_tile, row, column);
        bool held = row < a.rows && column < a.columns;
        a.to[to] = held ? a.from[batch * from_size + offset(a.columns, a.from_tile, row, column)] : 0;
    }
}
