// One, two or four words at once, and the values in a word: one f32, or two of 16 bits.
#pragma once
#include "ptx.cuh"
#include "real.cuh"

namespace blockscale {

template <uint32_t N>
__device__ inline void load_words(void const* from, uint32_t (&words)[N]) {
    static_assert(N == 1 || N == 2 || N == 4, "an access is of 4, 8 or 16 bytes");
    if constexpr (N == 1) {
        words[0] = *static_cast<uint32_t const*>(from);
    } else if constexpr (N == 2) {
        uint2 both = *static_cast<uint2 const*>(from);
        words[0] = both.x, words[1] = both.y;
    } else {
        uint4 all = *static_cast<uint4 const*>(from);
        words[0] = all.x, words[1] = all.y, words[2] = all.z, words[3] = all.w;
    }
}

template <uint32_t N>
__device__ inline void store_words(void* to, uint32_t const (&words)[N]) {
    if constexpr (N == 1) {
        *static_cast<uint32_t*>(to) = words[0];
    } else if constexpr (N == 2) {
        // One number: of two the compiler would make two stores.
        *static_cast<uint64_t*>(to) = words[0] | uint64_t(words[1]) << 32;
    } else {
        *static_cast<uint4*>(to) = uint4{words[0], words[1], words[2], words[3]};
    }
}

__device__ inline void widen_word(float const*, uint32_t word, float* x) { x[0] = float_of(word); }
__device__ inline void widen_word(__nv_bfloat16 const*, uint32_t word, float* x) {
    x[0] = float_of(word << 16), x[1] = float_of(word & 0xffff0000u);
}
__device__ inline void widen_word(__half const*, uint32_t word, float* x) {
    x[0] = __half2float(__ushort_as_half(uint16_t(word)));
    x[1] = __half2float(__ushort_as_half(uint16_t(word >> 16)));
}

// Rounded once; an f32 stays as it is.
__device__ inline uint32_t narrow_word(float const*, float const* y) { return bits_of(y[0]); }
__device__ inline uint32_t narrow_word(__nv_bfloat16 const*, float const* y) { return to_bf16x2(y[0], y[1]); }
__device__ inline uint32_t narrow_word(__half const*, float const* y) { return to_f16x2(y[0], y[1]); }

// N values of type T that lie in a row, in one access where they are aligned so, else one by one: the first
// `there` of them, and +0 for the others.
template <uint32_t N, typename T>
__device__ inline void load_values(T const* from, bool aligned, uint32_t there, float* x) {
    constexpr uint32_t kPerWord = 4 / sizeof(T);
    if (aligned && there >= N) {
        uint32_t words[N / kPerWord];
        load_words(from, words);
#pragma unroll
        for (uint32_t i = 0; i < N / kPerWord; ++i) widen_word(from, words[i], x + i * kPerWord);
    } else {
#pragma unroll
        for (uint32_t i = 0; i < N; ++i) x[i] = i < there ? widen(from[i]) : 0.0f;
    }
}

// The first `there` of N values, likewise.
template <uint32_t N, typename U>
__device__ inline void store_values(U* to, bool aligned, uint32_t there, float const* y) {
    constexpr uint32_t kPerWord = 4 / sizeof(U);
    if (aligned && there >= N) {
        uint32_t words[N / kPerWord];
#pragma unroll
        for (uint32_t i = 0; i < N / kPerWord; ++i) words[i] = narrow_word(to, y + i * kPerWord);
        store_words(to, words);
    } else {
#pragma unroll
        for (uint32_t i = 0; i < N; ++i) {
            if (i < there) to[i] = narrow<U>(y[i]);
        }
    }
}

}  // namespace blockscale
