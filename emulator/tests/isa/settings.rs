//! What a device can be told.

use crate::harness::module;
use blockscale_emulator::error::LaunchError;
use blockscale_emulator::{Config, Counters, Device, LaunchConfig};

/// Every block adds its index to a sum and marks its own word.
fn sums(config: Config) -> (Vec<u32>, Counters) {
    let body = "ld.param.u64 %x1, [p]; mov.u32 %r1, %ctaid.x; mov.u32 %r2, %tid.x; setp.eq.u32 %p1, %r2, 0;\n\
        @%p1 red.global.add.u32 [%x1], %r1; mul.wide.u32 %x2, %r1, 4; add.u64 %x3, %x1, %x2; add.u32 %r3, %r1, 1; @%p1 st.global.u32 [%x3+4], %r3;";
    let text = module("sm_80", ".param .u64 p", "", body);
    let mut device = Device::new(config);
    let module = device.load(text.as_bytes()).unwrap();
    let buffer = device.memory_mut().allocate(4 * 101).unwrap();
    device.memory_mut().fill(buffer, &[0], 4 * 101).unwrap();
    let arguments = Device::arguments(&module, "kernel", &[&buffer.to_le_bytes()]).unwrap();
    let counters =
        device.launch(&module, "kernel", LaunchConfig::linear(100, 64), &arguments, None).unwrap();
    let mut bytes = vec![0; 4 * 101];
    device.memory().read(buffer, &mut bytes).unwrap();
    (bytes.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect(), counters)
}

#[test]
fn threads_and_order_change_nothing() {
    let one = sums(Config { threads: 1, ..Config::default() });
    assert_eq!(one.0[0], 4950);
    assert_eq!(one.0[1..], (1..=100).collect::<Vec<_>>());
    assert_eq!(sums(Config { threads: 4, ..Config::default() }), one);
    assert_eq!(sums(Config { threads: 4, reversed: true, ..Config::default() }), one);
}

#[test]
fn launches_that_cannot_start() {
    let text = module("sm_80", ".param .u32 a", "", "").replace(")\n{", ")\n.reqntid 64, 1, 1\n{");
    let mut device = Device::new(Config { threads: 1, ..Config::default() });
    let module = device.load(text.as_bytes()).unwrap();
    let good = [0; 4];
    let mut launch = |config: LaunchConfig, arguments: &[u8], limit| {
        device.launch(&module, "kernel", config, arguments, limit)
    };
    let block = LaunchConfig::linear(1, 64);
    assert!(launch(block, &good, None).is_ok());
    assert!(matches!(
        launch(LaunchConfig::linear(1, 32), &good, None),
        Err(LaunchError::Geometry { .. })
    ));
    assert!(matches!(
        launch(LaunchConfig::linear(0, 64), &good, None),
        Err(LaunchError::Geometry { .. })
    ));
    assert!(matches!(
        launch(LaunchConfig::linear(1, 2048), &good, None),
        Err(LaunchError::Geometry { .. })
    ));
    assert!(matches!(launch(block, &good[..2], None), Err(LaunchError::Arguments { .. })));
    let large = LaunchConfig { dynamic_shared: 100 << 10, ..block };
    assert!(matches!(launch(large, &good, None), Err(LaunchError::SharedMemory { .. })));
    assert!(launch(large, &good, Some(100 << 10)).is_ok());
}

#[test]
fn modules_come_and_go() {
    let mut device = Device::new(Config { memory: 4096, threads: 1, ..Config::default() });
    let text = module("sm_80", "", ".global .align 8 .b8 space[4000];", "");
    let loaded = device.load(text.as_bytes()).unwrap();
    assert_eq!(device.memory().free_bytes(), 96);
    assert!(device.load(text.as_bytes()).is_err());
    device.unload(&loaded);
    // A module that is refused leaves nothing behind.
    assert!(device.load(text.replace("ret;", "unknown;").as_bytes()).is_err());
    assert_eq!(device.memory().free_bytes(), 4096);
}
