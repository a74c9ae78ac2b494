/* blockscale: CUDA kernels of microscaling (MX/NV) block quantization, for C and C++.
 *
 * Kernels run on the caller's pointers and stream. No function allocates device memory, waits for
 * the device or changes the current context, and after blockscale_prepare none loads anything: all
 * verbs can be captured into a CUDA graph.
 *
 *   - The context that was current in blockscale_prepare must be current in every call with its
 *     kernels. Handles may be used by several threads at once.
 *   - Device pointers are CUdeviceptr values (uint64_t). Values are aligned to their size, the
 *     workspace to 256 bytes. Buffers of a call must not overlap; their sizes are the caller's
 *     promise (blockscale_part_bytes and blockscale_scale_bytes compute them).
 *   - Texts are UTF-8. Formats and profiles have the names that `blockscale formats` lists; a profile
 *     may be altered (NAME+knob=value), and NULL is the format's default.
 *   - A struct may be zero-initialized; what 0 means stands at each member.
 *   - A call returns BLOCKSCALE_OK once its work is on the stream, else a status, and
 *     blockscale_last_error says what was given and what would do. A status other than
 *     BLOCKSCALE_ERROR_DRIVER means that nothing was launched.
 *
 * Link with -lblockscale_capi. The driver library is loaded when it is first needed.
 */
#ifndef BLOCKSCALE_H
#define BLOCKSCALE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum blockscale_status {
    BLOCKSCALE_OK = 0,
    BLOCKSCALE_ERROR_ARGUMENT = 1,             /* an argument is wrong */
    BLOCKSCALE_ERROR_NO_DRIVER = 2,            /* there is no libcuda */
    BLOCKSCALE_ERROR_NO_DEVICE = 3,            /* there is no such device */
    BLOCKSCALE_ERROR_KERNELS_NOT_COMPILED = 4, /* the library was built without nvcc */
    BLOCKSCALE_ERROR_NO_IMAGE = 5,             /* no kernels for the device's compute capability */
    BLOCKSCALE_ERROR_DRIVER_TOO_OLD = 6,       /* the driver is older than the kernels */
    BLOCKSCALE_ERROR_OUT_OF_MEMORY = 7,        /* memory is used up */
    BLOCKSCALE_ERROR_MISALIGNED = 8,           /* a pointer is not aligned */
    BLOCKSCALE_ERROR_OVERLAP = 9,              /* two buffers share bytes */
    BLOCKSCALE_ERROR_CONTEXT = 10,             /* no context is current, or another one */
    BLOCKSCALE_ERROR_CAPTURE = 11,             /* the call may not be captured into a graph */
    BLOCKSCALE_ERROR_DRIVER = 12,              /* the driver reports a failure */
    BLOCKSCALE_ERROR_INTERNAL = 13             /* a mistake of the library */
} blockscale_status;

/* Types of values. */
enum { BLOCKSCALE_F32 = 0, BLOCKSCALE_BF16 = 1, BLOCKSCALE_F16 = 2 };

/* Which elements share a scale: a block of a row, or a square of as many rows. */
enum { BLOCKSCALE_BLOCKS_ROW = 0, BLOCKSCALE_BLOCKS_TILE = 1 };

/* Where the largest magnitude of the whole tensor comes from. Only a profile that stores a tensor
 * scale needs one. */
enum {
    BLOCKSCALE_AMAX_NONE = 0,   /* refused where the profile stores a tensor scale */
    BLOCKSCALE_AMAX_HOST = 1,   /* amax_value */
    BLOCKSCALE_AMAX_DEVICE = 2, /* one f32 at amax_pointer, read when the stream comes to it */
    BLOCKSCALE_AMAX_COMPUTE = 3 /* of x, in blockscale_workspace_bytes() bytes at amax_pointer */
};

/* A batch stride: every matrix is the first one. */
#define BLOCKSCALE_REPEAT UINT64_MAX

/* The CUstream or cudaStream_t of a call; NULL is the legacy default stream. */
typedef void *blockscale_stream;

/* The kernels of a context. */
typedef struct blockscale_kernels blockscale_kernels;

/* A tensor [.., rows, K]; K is contiguous. */
typedef struct blockscale_input {
    uint64_t data;         /* device pointer of the first element */
    const uint64_t *shape; /* rank numbers, on the host */
    uint32_t rank;
    int32_t dtype;
    uint64_t row_stride;   /* elements from a row to the next, at least K; 0: K */
    uint64_t batch_stride; /* elements from a matrix to the next; 0: rows * row stride */
} blockscale_input;

/* Stochastic rounding: draws are keyed by seed, name, stream, step and the coordinates in the whole
 * tensor, so that a shard gets the bytes that the whole would. */
typedef struct blockscale_rounding {
    uint64_t seed;
    const char *name; /* of the tensor; may be "" */
    uint32_t bits;    /* of a draw: 8 or 16 */
    uint32_t stream;
    uint32_t step;
    uint32_t reserved; /* 0 */
    uint64_t row_offset;    /* where the shard begins in the whole tensor */
    uint64_t column_offset; /* a multiple of the block */
} blockscale_rounding;

typedef struct blockscale_quantize_arguments {
    const char *format;
    const char *profile;
    const blockscale_rounding *rounding; /* NULL: to nearest */
    blockscale_input x;
    int32_t blocks;
    int32_t amax;
    uint64_t amax_pointer;
    float amax_value;
    uint32_t reserved; /* 0 */
    uint64_t codes;        /* [.., rows, K/2 rounded up] with 4-bit elements, else [.., rows, K] */
    uint64_t scales;       /* [.., rows, K/block rounded up] */
    uint64_t tensor_scale; /* one f32; may be 0 where the profile stores none */
} blockscale_quantize_arguments;

typedef struct blockscale_dequantize_arguments {
    const char *format;
    const char *profile;
    const uint64_t *shape;
    uint32_t rank;
    int32_t dtype; /* of y */
    uint64_t codes;
    uint64_t scales;
    uint64_t tensor_scale; /* one f32; may be 0 where the profile stores none */
    uint64_t y;            /* [.., rows, K] without gaps */
} blockscale_dequantize_arguments;

/* The version of the library: "0.1.0". */
const char *blockscale_version(void);

/* What went wrong in this thread's latest call that failed; "" if none did. Valid until this thread's
 * next call. */
const char *blockscale_last_error(void);

/* Loads the kernels into the current context; *kernels is NULL after a failure. */
blockscale_status blockscale_prepare(blockscale_kernels **kernels);

/* Unloads the kernels, when no call with them is running any more and before their context goes.
 * NULL is nothing to do. */
blockscale_status blockscale_release(blockscale_kernels *kernels);

/* Bytes of the workspace of BLOCKSCALE_AMAX_COMPUTE. */
size_t blockscale_workspace_bytes(void);

/* Bytes of the codes and of the scales of a tensor. */
blockscale_status blockscale_part_bytes(const char *format, const char *profile, const uint64_t *shape, uint32_t rank,
                                        uint64_t *codes, uint64_t *scales);

/* Bytes of the scales of `batches` matrices of rows x columns in tiles of 0 (linear), 8 or 128 rows x 4
 * columns, padding included. */
blockscale_status blockscale_scale_bytes(uint64_t batches, uint64_t rows, uint64_t columns, uint32_t tile,
                                         uint64_t *bytes);

/* The largest magnitude of x into one f32: NaN if any value is, unless the profile looks past them. */
blockscale_status blockscale_amax(const blockscale_kernels *kernels, const char *format, const char *profile,
                                  const blockscale_input *x, uint64_t amax, blockscale_stream stream);

/* Quantizes x into codes, scales and, where the profile stores one, a tensor scale. */
blockscale_status blockscale_quantize(const blockscale_kernels *kernels, const blockscale_quantize_arguments *arguments,
                                      blockscale_stream stream);

/* Decodes codes and scales into y. */
blockscale_status blockscale_dequantize(const blockscale_kernels *kernels,
                                        const blockscale_dequantize_arguments *arguments, blockscale_stream stream);

/* Scales from one layout into another, with tiles as of blockscale_scale_bytes. Padding becomes 0. */
blockscale_status blockscale_relayout_scales(const blockscale_kernels *kernels, uint64_t batches, uint64_t rows,
                                             uint64_t columns, uint64_t from, uint32_t from_tile, uint64_t to,
                                             uint32_t to_tile, blockscale_stream stream);

#ifdef __cplusplus
}
#endif

#endif
