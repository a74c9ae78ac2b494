//! The stand-in library driven through cudarc, as `libcuda.so.1` on the library path.
//!
//! The loader reads the path at start only, so the tests proper are ignored and run by
//! [`on_the_stand_in`] in a child process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use cudarc::driver::sys::{
    CUfunction_attribute, CUgraphInstantiate_flags, CUresult, CUstreamCaptureMode,
};
use cudarc::driver::{
    CudaContext, CudaFunction, CudaStream, DriverError, LaunchConfig, PushKernelArg,
};
use cudarc::nvrtc::Ptx;

/// The shared library that cargo built beside this test.
fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap();
    let places = [
        folder.join("libblockscale_emulator.so"),
        folder.parent().unwrap().join("libblockscale_emulator.so"),
    ];
    let newest = places.into_iter().filter(|path| path.exists());
    newest
        .max_by_key(|path| path.metadata().and_then(|data| data.modified()).ok())
        .expect("the cdylib is built with the tests")
}

fn run_child(capability: &str, name: &str, folder: &Path) {
    let log = folder.join("launches.jsonl");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", name, "--test-threads=1", "--nocapture"])
        .env("LD_LIBRARY_PATH", folder)
        .env("BLOCKSCALE_EMULATOR_CC", capability)
        .env("BLOCKSCALE_EMULATOR_LOG", &log)
        .env("BLOCKSCALE_EMULATOR_PROFILE", "1")
        .output()
        .unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{name} on {capability}:\n{text}"
    );
}

#[test]
fn on_the_stand_in() {
    let folder = std::env::temp_dir().join(format!("blockscale-emulator-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::os::unix::fs::symlink(library(), folder.join("libcuda.so.1")).unwrap();
    for (capability, name) in [
        ("9.0", "launches_and_copies"),
        ("12.0", "launches_and_copies"),
        ("8.0", "modules_are_refused"),
        ("9.0", "faults_stick"),
        ("9.0", "graphs_replay"),
        ("10.3", "attributes_and_events"),
        ("9.0", "streams_capture_each_other"),
    ] {
        run_child(capability, name, &folder);
    }
    let log = std::fs::read_to_string(folder.join("launches.jsonl")).unwrap();
    let first = log.lines().next().unwrap();
    assert!(
        first.starts_with(
            "{\"entry\":\"scale\",\"target\":\"sm_80\",\"grid\":[4, 1, 1],\"block\":[256, 1, 1]"
        ),
        "{first}"
    );
    assert!(first.contains("\"global_load_sectors\":125,"), "{first}");
    // 4 blocks of 8 warps: every one comes to the first instruction.
    assert!(first.contains(",\"lines\":{") && first.contains("\":32,"), "{first}");
    std::fs::remove_dir_all(folder).unwrap();
}

/// y[i] = factor * x[i] + bias, with a bias in constant memory.
const SCALE: &str = "
.version 8.0
.target sm_80
.address_size 64
.const .align 4 .f32 bias = 0f3F000000;
.visible .entry scale(.param .u64 x, .param .u64 y, .param .f32 factor, .param .u32 n)
{
    .reg .pred %p<2>; .reg .b32 %r<6>; .reg .f32 %f<6>; .reg .b64 %rd<6>;
    .shared .align 4 .b8 unused[64];
    ld.param.u64 %rd1, [x];
    ld.param.u64 %rd2, [y];
    ld.param.f32 %f1, [factor];
    ld.param.u32 %r1, [n];
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.u32 %r5, %r2, %r3, %r4;
    setp.ge.u32 %p1, %r5, %r1;
    @%p1 bra END;
    mul.wide.u32 %rd3, %r5, 4;
    add.s64 %rd4, %rd1, %rd3;
    add.s64 %rd5, %rd2, %rd3;
    ld.global.f32 %f2, [%rd4];
    ld.const.f32 %f3, [bias];
    fma.rn.f32 %f4, %f2, %f1, %f3;
    st.global.f32 [%rd5], %f4;
END:
    ret;
}
.visible .entry broken(.param .u64 x)
{
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [x];
    st.global.u32 [%rd1+4000], 1;
    ret;
}
";

struct Setup {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    scale: CudaFunction,
}

fn setup() -> Setup {
    let context = CudaContext::new(0).unwrap();
    let stream = context.new_stream().unwrap();
    let module = context.load_module(Ptx::from_src(SCALE)).unwrap();
    Setup { scale: module.load_function("scale").unwrap(), context, stream }
}

fn code<T>(result: Result<T, DriverError>) -> CUresult {
    result.err().expect("an error").0
}

#[test]
#[ignore = "run by on_the_stand_in"]
fn launches_and_copies() {
    let Setup { context, stream, scale } = setup();
    let input: Vec<f32> = (0..1000).map(|n| n as f32).collect();
    let x = stream.clone_htod(&input).unwrap();
    let mut y = stream.alloc_zeros::<f32>(1000).unwrap();
    let (factor, n) = (3f32, 1000u32);
    let config = LaunchConfig { grid_dim: (4, 1, 1), block_dim: (256, 1, 1), shared_mem_bytes: 0 };
    // SAFETY: the arguments match the kernel's parameters and the buffers hold n elements.
    unsafe {
        stream.launch_builder(&scale).arg(&x).arg(&mut y).arg(&factor).arg(&n).launch(config)
    }
    .unwrap();
    let result = stream.clone_dtoh(&y).unwrap();
    assert!(result.iter().zip(&input).all(|(y, x)| *y == 3.0 * x + 0.5));

    // Views, device copies, pinned memory, a second stream that waits for the first.
    let other = stream.fork().unwrap();
    let mut copy = other.alloc_zeros::<f32>(500).unwrap();
    other.memcpy_dtod(&y.slice(500..), &mut copy).unwrap();
    stream.join(&other).unwrap();
    // SAFETY: written before it is read.
    let mut pinned = unsafe { context.alloc_pinned::<f32>(500) }.unwrap();
    stream.memcpy_dtoh(&copy, &mut pinned).unwrap();
    assert_eq!(pinned.as_slice().unwrap()[0], 1500.5);
    stream.memset_zeros(&mut y).unwrap();
    stream.synchronize().unwrap();
    assert_eq!(stream.clone_dtoh(&y).unwrap(), vec![0.0; 1000]);
    context.synchronize().unwrap();
}

#[test]
#[ignore = "run by on_the_stand_in"]
fn modules_are_refused() {
    let context = CudaContext::new(0).unwrap();
    assert_eq!(context.compute_capability().unwrap(), (8, 0));
    let load = |text: &str| code(context.load_module(Ptx::from_src(text)));
    let cubin = Ptx::from_binary(b"\x7fELF\x02\x01\x01\x33".to_vec());
    assert_eq!(code(context.load_module(cubin)), CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU);
    assert_eq!(load(&SCALE.replace("sm_80", "sm_90")), CUresult::CUDA_ERROR_INVALID_PTX);
    assert_eq!(load(&SCALE.replace("sm_80", "sm_90a")), CUresult::CUDA_ERROR_INVALID_PTX);
    assert_eq!(
        load(&SCALE.replace(".version 8.0", ".version 12.0")),
        CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION
    );
    assert_eq!(load(&SCALE.replace("fma.rn", "fma.strange")), CUresult::CUDA_ERROR_INVALID_PTX);
    assert!(message().contains("fma"), "{}", message());
    let module = context.load_module(Ptx::from_src(SCALE)).unwrap();
    assert_eq!(code(module.load_function("nothing")), CUresult::CUDA_ERROR_NOT_FOUND);
}

/// A symbol that the stand-in exports beyond the driver API.
fn exported<T: Copy>(library: &libloading::Library, name: &str) -> T {
    // SAFETY: callers name the type that the emulator documents for the symbol.
    unsafe { *library.get::<T>(name.as_bytes()).unwrap() }
}

fn stand_in() -> libloading::Library {
    // SAFETY: already loaded by cudarc; this only takes another reference.
    unsafe { libloading::Library::new("libcuda.so.1") }.unwrap()
}

fn message() -> String {
    let library = stand_in();
    let last: unsafe extern "C" fn(*mut std::ffi::c_char, usize) -> usize =
        exported(&library, "blockscale_emulator_last_message");
    let mut buffer = vec![0u8; 4096];
    // SAFETY: the buffer has the length given.
    let length = unsafe { last(buffer.as_mut_ptr().cast(), buffer.len()) };
    String::from_utf8_lossy(&buffer[..length.min(4095)]).into_owned()
}

#[test]
#[ignore = "run by on_the_stand_in"]
fn faults_stick() {
    {
        let Setup { context, stream, .. } = setup();
        let module = context.load_module(Ptx::from_src(SCALE)).unwrap();
        let broken = module.load_function("broken").unwrap();
        let x = stream.alloc_zeros::<u32>(16).unwrap();
        let config =
            LaunchConfig { grid_dim: (1, 1, 1), block_dim: (32, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: the kernel is stopped before it writes out of bounds.
        let result = unsafe { stream.launch_builder(&broken).arg(&x).launch(config) };
        assert_eq!(code(result), CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
        assert!(message().contains("st.global.u32 [%rd1+4000], 1;"), "{}", message());
        assert_eq!(code(stream.synchronize()), CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
        assert_eq!(code(stream.alloc_zeros::<u32>(16)), CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
        let library = stand_in();
        let clear: extern "C" fn() = exported(&library, "blockscale_emulator_clear_error");
        clear();
        assert!(stream.clone_dtoh(&x).is_ok());
        // Too many threads is an error of the call, not of the context.
        let config =
            LaunchConfig { grid_dim: (1, 1, 1), block_dim: (2048, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: refused before anything runs.
        let result = unsafe { stream.launch_builder(&broken).arg(&x).launch(config) };
        assert_eq!(code(result), CUresult::CUDA_ERROR_INVALID_VALUE);
        stream.synchronize().unwrap();
    }
    // A new context starts afresh.
    setup().stream.synchronize().unwrap();
}

/// A captured launch reads its input when the graph is launched, not when it was captured.
#[test]
#[ignore = "run by on_the_stand_in"]
fn graphs_replay() {
    let Setup { context, stream, scale } = setup();
    // SAFETY: one stream orders everything here.
    unsafe { context.disable_event_tracking() };
    let mut x = stream.clone_htod(&[1f32; 64]).unwrap();
    let y = stream.alloc_zeros::<f32>(64).unwrap();
    let (factor, n) = (2f32, 64u32);
    stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
    let config = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (64, 1, 1), shared_mem_bytes: 0 };
    // SAFETY: as in `launches_and_copies`.
    unsafe { stream.launch_builder(&scale).arg(&x).arg(&y).arg(&factor).arg(&n).launch(config) }
        .unwrap();
    let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
    let graph = stream.end_capture(flags).unwrap().unwrap();
    assert_eq!(stream.clone_dtoh(&y).unwrap(), [0.0; 64]);
    graph.upload().unwrap();
    graph.launch().unwrap();
    assert_eq!(stream.clone_dtoh(&y).unwrap(), [2.5; 64]);
    stream.memcpy_htod(&[5f32; 64], &mut x).unwrap();
    graph.launch().unwrap();
    assert_eq!(stream.clone_dtoh(&y).unwrap(), [10.5; 64]);
    // Waiting inside a capture spoils it.
    stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED).unwrap();
    assert_eq!(code(stream.synchronize()), CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    assert_eq!(code(stream.end_capture(flags)), CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}

#[test]
#[ignore = "run by on_the_stand_in"]
fn streams_capture_each_other() {
    let Setup { context, stream, scale } = setup();
    // SAFETY: the events below order the two streams.
    unsafe { context.disable_event_tracking() };
    let other = context.new_stream().unwrap();
    let x = stream.clone_htod(&[1f32; 64]).unwrap();
    let (y, z) = (stream.alloc_zeros::<f32>(64).unwrap(), stream.alloc_zeros::<f32>(64).unwrap());
    let (factor, n) = (2f32, 64u32);
    let config = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (64, 1, 1), shared_mem_bytes: 0 };
    stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED).unwrap();
    // SAFETY: as above.
    unsafe { stream.launch_builder(&scale).arg(&x).arg(&y).arg(&factor).arg(&n).launch(config) }
        .unwrap();
    other.wait(&stream.record_event(None).unwrap()).unwrap();
    // SAFETY: as above.
    unsafe { other.launch_builder(&scale).arg(&y).arg(&z).arg(&factor).arg(&n).launch(config) }
        .unwrap();
    stream.wait(&other.record_event(None).unwrap()).unwrap();
    let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
    let graph = stream.end_capture(flags).unwrap().unwrap();
    graph.launch().unwrap();
    assert_eq!(stream.clone_dtoh(&z).unwrap(), [5.5; 64]);
}

#[test]
#[ignore = "run by on_the_stand_in"]
fn attributes_and_events() {
    let Setup { context, stream, scale } = setup();
    assert_eq!(context.compute_capability().unwrap(), (10, 3));
    assert_eq!(context.name().unwrap(), "blockscale emulator 10.3");
    assert_eq!(CudaContext::device_count().unwrap(), 1);
    assert!(context.total_mem().unwrap() >= 1 << 30);
    assert_eq!(
        scale.get_attribute(CUfunction_attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES).unwrap(),
        64
    );
    assert_eq!(scale.max_threads_per_block().unwrap(), 1024);
    let dynamic = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    scale.set_attribute(dynamic, 200 << 10).unwrap();
    assert_eq!(scale.get_attribute(dynamic).unwrap(), 200 << 10);
    assert_eq!(code(scale.set_attribute(dynamic, 300 << 10)), CUresult::CUDA_ERROR_INVALID_VALUE);

    let timed = Some(cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT);
    let start = stream.record_event(timed).unwrap();
    let x = stream.clone_htod(&[1f32; 64]).unwrap();
    let (factor, n) = (2f32, 64u32);
    let config =
        LaunchConfig { grid_dim: (1, 1, 1), block_dim: (64, 1, 1), shared_mem_bytes: 100 << 10 };
    // SAFETY: every element is read before it is overwritten.
    unsafe { stream.launch_builder(&scale).arg(&x).arg(&x).arg(&factor).arg(&n).launch(config) }
        .unwrap();
    let end = stream.record_event(timed).unwrap();
    end.synchronize().unwrap();
    assert!(start.elapsed_ms(&end).unwrap() > 0.0);

    let library = stand_in();
    type Counters = blockscale_emulator::Counters;
    let read: unsafe extern "C" fn(*const std::ffi::c_char, *mut Counters) -> i32 =
        exported(&library, "blockscale_emulator_counters");
    let mut counters = Counters::default();
    // SAFETY: a C string and a place for the counters.
    assert_eq!(unsafe { read(c"scale".as_ptr(), &mut counters) }, 0);
    assert_eq!((counters.global_store_sectors, counters.blocks), (8, 1));
    // SAFETY: as above.
    assert_eq!(unsafe { read(c"other".as_ptr(), &mut counters) }, 500);
}
