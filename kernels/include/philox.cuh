// Philox4x32-10: four words for a counter and a key (src/numerics/philox.rs has the formula).
#pragma once
#include <cstdint>

namespace blockscale {

struct Words {
    uint32_t x, y, z, w;
};

__device__ inline Words philox4x32_10(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0,
                                      uint32_t k1) {
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        uint32_t low0 = 0xd2511f53u * c0, high0 = __umulhi(0xd2511f53u, c0);
        uint32_t low1 = 0xcd9e8d57u * c2, high1 = __umulhi(0xcd9e8d57u, c2);
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    return Words{c0, c1, c2, c3};
}

}  // namespace blockscale
