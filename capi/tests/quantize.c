/* What a C program does with the interface: `quantize layout` prints the structs, `quantize errors`
 * makes mistakes that need no device, `quantize run FORMAT PROFILE` prints what came out, in hex. */
#include "blockscale.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE(type) printf(#type " %zu\n", sizeof(type))
#define OFFSET(type, member) printf(#type "." #member " %zu\n", offsetof(type, member))

static void layout(void) {
    SIZE(blockscale_status);
    SIZE(blockscale_input);
    OFFSET(blockscale_input, shape);
    OFFSET(blockscale_input, rank);
    OFFSET(blockscale_input, dtype);
    OFFSET(blockscale_input, row_stride);
    OFFSET(blockscale_input, batch_stride);
    SIZE(blockscale_rounding);
    OFFSET(blockscale_rounding, name);
    OFFSET(blockscale_rounding, bits);
    OFFSET(blockscale_rounding, stream);
    OFFSET(blockscale_rounding, step);
    OFFSET(blockscale_rounding, row_offset);
    OFFSET(blockscale_rounding, column_offset);
    SIZE(blockscale_quantize_arguments);
    OFFSET(blockscale_quantize_arguments, profile);
    OFFSET(blockscale_quantize_arguments, rounding);
    OFFSET(blockscale_quantize_arguments, x);
    OFFSET(blockscale_quantize_arguments, blocks);
    OFFSET(blockscale_quantize_arguments, amax);
    OFFSET(blockscale_quantize_arguments, amax_pointer);
    OFFSET(blockscale_quantize_arguments, amax_value);
    OFFSET(blockscale_quantize_arguments, codes);
    OFFSET(blockscale_quantize_arguments, scales);
    OFFSET(blockscale_quantize_arguments, tensor_scale);
    SIZE(blockscale_dequantize_arguments);
    OFFSET(blockscale_dequantize_arguments, profile);
    OFFSET(blockscale_dequantize_arguments, shape);
    OFFSET(blockscale_dequantize_arguments, rank);
    OFFSET(blockscale_dequantize_arguments, dtype);
    OFFSET(blockscale_dequantize_arguments, codes);
    OFFSET(blockscale_dequantize_arguments, scales);
    OFFSET(blockscale_dequantize_arguments, tensor_scale);
    OFFSET(blockscale_dequantize_arguments, y);
}

/* A call that must fail, with a message that has this in it. */
static void fails(blockscale_status status, blockscale_status expected, char const *says) {
    char const *message = blockscale_last_error();
    if (status != expected || !strstr(message, says)) {
        fprintf(stderr, "status %d not %d, message '%s' without '%s'\n", status, expected, message, says);
        exit(1);
    }
}

static void works(blockscale_status status) {
    if (status != BLOCKSCALE_OK) {
        fprintf(stderr, "status %d: %s\n", status, blockscale_last_error());
        exit(1);
    }
}

static void errors(void) {
    uint64_t const shape[2] = {3, 40};
    uint64_t codes, scales;
    if (strcmp(blockscale_last_error(), "") != 0) exit(1);
    works(blockscale_part_bytes("nvfp4", "torchao", shape, 2, &codes, &scales));
    if (codes != 60 || scales != 9) exit(1);
    works(blockscale_part_bytes("mxfp8-e4m3", NULL, shape, 2, &codes, &scales));
    if (codes != 120 || scales != 6) exit(1);
    fails(blockscale_part_bytes("mxfp5", NULL, shape, 2, &codes, &scales), BLOCKSCALE_ERROR_ARGUMENT, "'mxfp5'");
    fails(blockscale_part_bytes("mxfp4", "torchao", shape, 2, &codes, &scales), BLOCKSCALE_ERROR_ARGUMENT,
          "mxfp4 has no profile 'torchao'; it has: rceil");
    fails(blockscale_part_bytes(NULL, NULL, shape, 2, &codes, &scales), BLOCKSCALE_ERROR_ARGUMENT, "format is null");
    fails(blockscale_part_bytes("\xff", NULL, shape, 2, &codes, &scales), BLOCKSCALE_ERROR_ARGUMENT, "UTF-8");
    fails(blockscale_part_bytes("mxfp4", NULL, NULL, 2, &codes, &scales), BLOCKSCALE_ERROR_ARGUMENT, "shape is null");
    fails(blockscale_part_bytes("mxfp4", NULL, shape, 0, &codes, &scales), BLOCKSCALE_ERROR_ARGUMENT, "scalar");
    fails(blockscale_part_bytes("mxfp4", NULL, shape, 65, &codes, &scales), BLOCKSCALE_ERROR_ARGUMENT, "64 axes");
    fails(blockscale_part_bytes("mxfp4", NULL, shape, 2, NULL, &scales), BLOCKSCALE_ERROR_ARGUMENT, "codes is null");
    uint64_t const large[2] = {1ull << 40, 1ull << 40};
    fails(blockscale_part_bytes("mxfp4", NULL, large, 2, &codes, &scales), BLOCKSCALE_ERROR_ARGUMENT, "address space");

    works(blockscale_scale_bytes(2, 3, 5, 0, &scales));
    if (scales != 30) exit(1);
    works(blockscale_scale_bytes(2, 130, 5, 128, &scales));
    if (scales != 2 * 256 * 8) exit(1);
    works(blockscale_scale_bytes(1, 9, 4, 8, &scales));
    if (scales != 16 * 4) exit(1);
    fails(blockscale_scale_bytes(1, 1, 1, 64, &scales), BLOCKSCALE_ERROR_ARGUMENT, "0 (linear), 8 or 128");
    fails(blockscale_scale_bytes(1, UINT64_MAX, 1, 8, &scales), BLOCKSCALE_ERROR_ARGUMENT, "size of the scales");

    fails(blockscale_prepare(NULL), BLOCKSCALE_ERROR_ARGUMENT, "kernels is null");
    fails(blockscale_quantize(NULL, NULL, NULL), BLOCKSCALE_ERROR_ARGUMENT, "kernels is null");
    fails(blockscale_dequantize(NULL, NULL, NULL), BLOCKSCALE_ERROR_ARGUMENT, "kernels is null");
    fails(blockscale_amax(NULL, "mxfp4", NULL, NULL, 0, NULL), BLOCKSCALE_ERROR_ARGUMENT, "kernels is null");
    fails(blockscale_relayout_scales(NULL, 1, 1, 1, 0, 0, 0, 8, NULL), BLOCKSCALE_ERROR_ARGUMENT, "kernels is null");
    works(blockscale_release(NULL));
    blockscale_kernels *kernels = (blockscale_kernels *)&codes;
    blockscale_status status = blockscale_prepare(&kernels);
    if (kernels != NULL) exit(1);
    printf("%d %s\n", status, blockscale_last_error());
}

/* The driver, as a program that links with nothing of it has it. */
static int (*memory_new)(uint64_t *, size_t);
static int (*to_device)(uint64_t, void const *, size_t);
static int (*to_host)(void *, uint64_t, size_t);

static void *symbol(char const *name) {
    static void *driver;
    if (!driver) driver = dlopen("libcuda.so.1", RTLD_NOW);
    void *found = driver ? dlsym(driver, name) : NULL;
    if (!found) {
        fprintf(stderr, "no %s: %s\n", name, dlerror());
        exit(1);
    }
    return found;
}

static void cuda(int status) {
    if (status != 0) {
        fprintf(stderr, "the driver returned %d\n", status);
        exit(1);
    }
}

static uint64_t device(void const *from, size_t bytes) {
    uint64_t pointer;
    cuda(memory_new(&pointer, bytes ? bytes : 1));
    if (from && bytes) cuda(to_device(pointer, from, bytes));
    return pointer;
}

static void print(char const *name, uint64_t pointer, size_t bytes) {
    unsigned char *host = malloc(bytes ? bytes : 1);
    if (!host) exit(1);
    if (bytes) cuda(to_host(host, pointer, bytes));
    printf("%s ", name);
    for (size_t i = 0; i < bytes; ++i) printf("%02x", host[i]);
    printf("\n");
    free(host);
}

static void run(char const *format, char const *profile, int stores_tensor_scale) {
    int cu_device, current;
    void *context, *stream;
    blockscale_kernels *kernels;
    cuda(((int (*)(unsigned))symbol("cuInit"))(0));
    fails(blockscale_prepare(&kernels), BLOCKSCALE_ERROR_CONTEXT, "no CUDA context is current");
    cuda(((int (*)(int *, int))symbol("cuDeviceGet"))(&cu_device, 0));
    cuda(((int (*)(void **, int))symbol("cuDevicePrimaryCtxRetain"))(&context, cu_device));
    cuda(((int (*)(void *))symbol("cuCtxSetCurrent"))(context));
    cuda(((int (*)(int *))symbol("cuCtxGetDevice"))(&current));
    cuda(((int (*)(void **, unsigned))symbol("cuStreamCreate"))(&stream, 0));
    int (*synchronize)(void *) = (int (*)(void *))symbol("cuStreamSynchronize");
    memory_new = (int (*)(uint64_t *, size_t))symbol("cuMemAlloc_v2");
    to_device = (int (*)(uint64_t, void const *, size_t))symbol("cuMemcpyHtoD_v2");
    to_host = (int (*)(void *, uint64_t, size_t))symbol("cuMemcpyDtoH_v2");
    works(blockscale_prepare(&kernels));

    /* Two matrices of 3 rows of 40, rows 48 apart, matrices 200: x[i] = (i * 37 % 101 - 50) / 16. */
    float x[400];
    for (int i = 0; i < 400; ++i) x[i] = (float)(i * 37 % 101 - 50) / 16.0f;
    uint64_t const shape[3] = {2, 3, 40};
    uint64_t code_bytes, scale_bytes;
    works(blockscale_part_bytes(format, profile, shape, 3, &code_bytes, &scale_bytes));
    blockscale_rounding const rounding = {.seed = 7, .name = "w", .bits = 16, .step = 3, .row_offset = 64};
    blockscale_quantize_arguments quantize = {
        .format = format,
        .profile = profile,
        .rounding = &rounding,
        .x = {.data = device(x, sizeof x), .shape = shape, .rank = 3, .row_stride = 48, .batch_stride = 200},
        .codes = device(NULL, code_bytes),
        .scales = device(NULL, scale_bytes),
    };
    uint64_t workspace = device(NULL, blockscale_workspace_bytes());
    if (stores_tensor_scale) {
        fails(blockscale_quantize(kernels, &quantize, stream), BLOCKSCALE_ERROR_ARGUMENT, "amax is 0");
        quantize.amax = BLOCKSCALE_AMAX_COMPUTE;
        fails(blockscale_quantize(kernels, &quantize, stream), BLOCKSCALE_ERROR_ARGUMENT, "amax_pointer is null");
        quantize.amax_pointer = workspace + 4;
        quantize.tensor_scale = device(NULL, 4);
        fails(blockscale_quantize(kernels, &quantize, stream), BLOCKSCALE_ERROR_MISALIGNED, "256 bytes");
        quantize.amax_pointer = workspace;
    }
    blockscale_quantize_arguments wrong = quantize;
    wrong.x.dtype = 3;
    fails(blockscale_quantize(kernels, &wrong, stream), BLOCKSCALE_ERROR_ARGUMENT, "dtype is 3");
    wrong = quantize;
    wrong.x.row_stride = 39;
    fails(blockscale_quantize(kernels, &wrong, stream), BLOCKSCALE_ERROR_ARGUMENT, "row stride is 39");
    wrong = quantize;
    wrong.blocks = 2;
    fails(blockscale_quantize(kernels, &wrong, stream), BLOCKSCALE_ERROR_ARGUMENT, "blocks is 2");
    wrong = quantize;
    wrong.codes = 0;
    fails(blockscale_quantize(kernels, &wrong, stream), BLOCKSCALE_ERROR_ARGUMENT, "codes is null");
    wrong = quantize;
    wrong.x.data += 2;
    fails(blockscale_quantize(kernels, &wrong, stream), BLOCKSCALE_ERROR_MISALIGNED, "4 bytes");
    blockscale_rounding split = rounding;
    split.column_offset = 3;
    wrong = quantize;
    wrong.rounding = &split;
    fails(blockscale_quantize(kernels, &wrong, stream), BLOCKSCALE_ERROR_ARGUMENT, "offset of a shard");
    wrong = quantize;
    wrong.amax = BLOCKSCALE_AMAX_HOST;
    wrong.amax_value = -1.0f;
    fails(blockscale_quantize(kernels, &wrong, stream), BLOCKSCALE_ERROR_ARGUMENT, "tensor amax is -1");

    works(blockscale_quantize(kernels, &quantize, stream));
    cuda(synchronize(stream));
    print("codes", quantize.codes, code_bytes);
    print("scales", quantize.scales, scale_bytes);
    if (stores_tensor_scale) print("tensor_scale", quantize.tensor_scale, 4);

    uint64_t amax = device(NULL, 4);
    works(blockscale_amax(kernels, format, profile, &quantize.x, amax, stream));
    cuda(synchronize(stream));
    print("amax", amax, 4);

    blockscale_dequantize_arguments dequantize = {
        .format = format,
        .profile = profile,
        .shape = shape,
        .rank = 3,
        .dtype = BLOCKSCALE_BF16,
        .codes = quantize.codes,
        .scales = quantize.scales,
        .tensor_scale = quantize.tensor_scale,
        .y = device(NULL, 240 * 2),
    };
    works(blockscale_dequantize(kernels, &dequantize, stream));
    cuda(synchronize(stream));
    print("y", dequantize.y, 240 * 2);

    uint64_t columns = scale_bytes / 6, tiled_bytes;
    works(blockscale_scale_bytes(2, 3, columns, 128, &tiled_bytes));
    uint64_t tiled = device(NULL, tiled_bytes);
    works(blockscale_relayout_scales(kernels, 2, 3, columns, quantize.scales, 0, tiled, 128, stream));
    cuda(synchronize(stream));
    print("tiled", tiled, tiled_bytes);

    /* The first matrix twice. */
    quantize.x.batch_stride = BLOCKSCALE_REPEAT;
    quantize.rounding = NULL;
    works(blockscale_quantize(kernels, &quantize, stream));
    cuda(synchronize(stream));
    print("repeated", quantize.codes, code_bytes);
    works(blockscale_release(kernels));
}

int main(int count, char **words) {
    if (count == 2 && strcmp(words[1], "layout") == 0) {
        layout();
    } else if (count == 2 && strcmp(words[1], "errors") == 0) {
        errors();
    } else if (count == 5 && strcmp(words[1], "run") == 0) {
        run(words[2], words[3], strcmp(words[4], "1") == 0);
    } else {
        fprintf(stderr, "layout, errors or run FORMAT PROFILE STORES_TENSOR_SCALE\n");
        return 2;
    }
    return 0;
}
