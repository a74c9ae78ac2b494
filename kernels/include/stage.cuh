// Memory in 16-byte accesses whose lanes are neighbours, while a thread holds a whole run of them.
//
// A warp moves 32 runs of V vectors (16 bytes each). In global memory lane l touches vectors
// l, l + 32, …; a thread wants vectors V t … V t + V - 1. They change places in shared memory, where
// vector j of run t lies at column j ^ (t V / 8 mod V) of its run: eight lanes that access together,
// either way, touch all banks once.
#pragma once
#include <cstdint>

namespace blockscale {

template <uint32_t V>
__device__ inline uint32_t staged(uint32_t vector) {
    static_assert(V == 1 || V == 2 || V == 4 || V == 8, "a run is 1, 2, 4 or 8 vectors of 16 bytes");
    uint32_t run = vector / V, j = vector % V;
    return run * V + (j ^ (run * V / 8 % V));
}

// Reads 32 runs; `load(vector)` gives a vector of the warp's runs.
template <uint32_t V, typename Load>
__device__ inline void load_runs(uint4* stage, uint32_t lane, uint4 (&run)[V], Load load) {
#pragma unroll
    for (uint32_t i = 0; i < V; ++i) run[i] = load(i * 32 + lane);
    __syncwarp();
#pragma unroll
    for (uint32_t i = 0; i < V; ++i) stage[staged<V>(i * 32 + lane)] = run[i];
    __syncwarp();
#pragma unroll
    for (uint32_t i = 0; i < V; ++i) run[i] = stage[staged<V>(lane * V + i)];
}

// Writes 32 runs; `store(vector, value)` takes a vector of the warp's runs.
template <uint32_t V, typename Store>
__device__ inline void store_runs(uint4* stage, uint32_t lane, uint4 const (&run)[V], Store store) {
    __syncwarp();
#pragma unroll
    for (uint32_t i = 0; i < V; ++i) stage[staged<V>(lane * V + i)] = run[i];
    __syncwarp();
#pragma unroll
    for (uint32_t i = 0; i < V; ++i) store(i * 32 + lane, stage[staged<V>(i * 32 + lane)]);
}

}  // namespace blockscale
