// Rounding of an exact quotient to an integer, and the draws of stochastic rounding.
#pragma once
#include "bits.cuh"
#include "philox.cuh"
#include "profile.cuh"

namespace blockscale {

// How one value is rounded: to nearest (draw_bits == 0) or by a draw of that many bits, at most 17.
struct Round {
    Ties ties;
    uint32_t draw_bits;
    uint32_t draw;
};

// base + significand / 2^shift, rounded; "even" is that of the sum. significand < 2^24.
__device__ __noinline__ uint32_t round_sum(Round round, uint32_t base, uint32_t significand, uint32_t shift) {
    uint64_t wide = significand;
    shift = shift < 63 ? shift : 63;  // beyond, no threshold is told apart
    uint64_t floor = wide >> shift, remainder = wide - (floor << shift);
    bool up;
    if (round.draw_bits != 0) {
        uint64_t cut = (remainder << round.draw_bits) >> shift;
        up = cut + round.draw >= (uint64_t(1) << round.draw_bits);
    } else {
        uint64_t twice = 2 * remainder, one = uint64_t(1) << shift;
        up = twice > one;
        if (twice == one) {
            up = round.ties == Ties::Even ? ((base + floor) & 1) != 0 : round.ties != Ties::Zero;
        }
        // The one quotient whose f32 sum with 0.5 rounds up to 1.
        if (round.ties == Ties::AwayByAddition && significand == 0xffffffu && shift == 25) up = true;
    }
    return base + uint32_t(floor) + uint32_t(up);
}

// Which draws a launch takes: draw_bits == 0 rounds to nearest. One bit more than the 8 or 16 of a draw
// centres it: it is drawn with a 1 behind (the midpoint rule of src/numerics/rounding.rs).
struct Draws {
    uint32_t draw_bits;
    uint32_t key[2];
    uint32_t stream;
    uint32_t step;
    uint32_t row_offset;
    uint64_t column_offset;
};

// The rounding of the element at (row, k) of the launch: counter (k / n, row, stream, step).
__device__ inline Round round_at(Draws const& draws, Ties ties, uint64_t row, uint64_t k) {
    if (draws.draw_bits == 0) return Round{ties, 0, 0};
    k += draws.column_offset;
    uint32_t centred = draws.draw_bits % 2, drawn_bits = draws.draw_bits - centred;
    uint32_t per_call = 128 / drawn_bits, field = uint32_t(k % per_call);
    Words words = philox4x32_10(uint32_t(k / per_call), uint32_t(row + draws.row_offset), draws.stream,
                                draws.step, draws.key[0], draws.key[1]);
    uint32_t bit = field * drawn_bits;
    uint32_t word = bit < 64 ? (bit < 32 ? words.x : words.y) : (bit < 96 ? words.z : words.w);
    uint32_t draw = (word >> (bit % 32)) & ((1u << drawn_bits) - 1);
    return Round{ties, draws.draw_bits, draw << centred | centred};
}

}  // namespace blockscale
