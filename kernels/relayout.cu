// Relayout of scales between linear, 128x4 and 8x4, padding written as zero; of codes between one a
// byte, a stream of bits, and ggml's split halves.
//
// One thread a byte of the destination, padding included. Layouts of scales are told by their tile's
// rows: 0 linear, 128 and 8 tiled (src/layout has the formulas).
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

namespace blockscale {

enum class Packing : uint32_t { Bytes, Dense, SplitHalves };

struct RelayoutCodesArguments {
    uint8_t const* from;
    uint8_t* to;
    uint64_t rows, k;
    uint64_t from_bytes, to_bytes;  // of a row
    uint32_t bits, block;
    Packing from_packing, to_packing;
};

// Code k of a row.
__device__ inline uint32_t code_at(RelayoutCodesArguments const& a, uint8_t const* row, uint64_t k) {
    if (a.from_packing == Packing::Bytes) return row[k];
    if (a.from_packing == Packing::SplitHalves) {
        uint32_t half = a.block / 2, i = uint32_t(k % a.block);
        return row[k / a.block * half + i % half] >> (i < half ? 0 : 4) & 0xf;
    }
    uint64_t bit = k * a.bits;
    uint32_t pair = row[bit / 8];
    if (bit % 8 + a.bits > 8) pair |= uint32_t(row[bit / 8 + 1]) << 8;
    return pair >> (bit % 8) & ((1u << a.bits) - 1);
}

__device__ inline uint32_t packed_byte(RelayoutCodesArguments const& a, uint8_t const* row, uint64_t byte) {
    if (a.to_packing == Packing::Bytes) return code_at(a, row, byte);
    if (a.to_packing == Packing::SplitHalves) {
        uint32_t half = a.block / 2;
        uint64_t first = byte / half * a.block + byte % half;
        return code_at(a, row, first) | code_at(a, row, first + half) << 4;
    }
    uint32_t packed = 0;
    for (uint64_t k = byte * 8 / a.bits; k < a.k && k * a.bits < byte * 8 + 8; ++k) {
        uint32_t code = code_at(a, row, k);
        uint64_t bit = k * a.bits;
        packed |= bit < byte * 8 ? code >> (byte * 8 - bit) : code << (bit - byte * 8);
    }
    return packed & 0xff;
}

}  // namespace blockscale

extern "C" __global__ void __launch_bounds__(128)
    blockscale_relayout_codes(__grid_constant__ blockscale::RelayoutCodesArguments const a) {
    using namespace blockscale;
    uint64_t bytes = a.rows * a.to_bytes;
    for (uint64_t at = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; at < bytes;
         at += uint64_t(gridDim.x) * blockDim.x) {
        a.to[at] = uint8_t(packed_byte(a, a.from + at / a.to_bytes * a.from_bytes, at % a.to_bytes));
    }
}
