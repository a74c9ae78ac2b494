//! The reader and the writer, as a library user has them.

use blockscale::QuantizedTensor;
use blockscale::checkpoint::{
    Dtype, Entry, Error, Existing, Float, Plan, Reader, Record, StoredRotation, StoredRounding,
    Values, Writer,
};
use blockscale::format::Format;
use blockscale::numerics::{DrawBits, Profile};
use proptest::collection::vec;
use proptest::prelude::*;
use safetensors::SafeTensors;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::{TempDir, tempdir};

fn record(format: Format, shape: &[usize], axis: usize) -> Record {
    Record { axis, ..Record::new(Profile::default_for(format), Float::F32, shape) }
}

fn sample(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * 0.7).sin() * (i % 13) as f32).collect()
}

/// A file with the quantized `w` and the plain `bias`.
fn file(folder: &TempDir) -> (PathBuf, Record, QuantizedTensor) {
    let path = folder.path().join("q.safetensors");
    let record = record(Format::NVFP4, &[3, 40], 1);
    let tensor = record.quantize("w").run(&sample(120), &record.stored_shape().unwrap()).unwrap();
    let mut plan = Plan::new();
    plan.metadata("note", "kept");
    plan.quantized("w", &record).unwrap();
    plan.tensor("bias", Dtype::BF16, &[2]);
    plan.tensor("empty", Dtype::F16, &[0, 4]);
    let mut writer = Writer::create(&path, plan, Existing::Keep).unwrap();
    // Any order will do.
    writer.write("bias", &[0x80, 0x3f, 0, 0xc0]).unwrap();
    writer.write("empty", &[]).unwrap();
    writer.write_quantized("w", &tensor).unwrap();
    let bytes = writer.finish().unwrap();
    assert_eq!(bytes, fs::metadata(&path).unwrap().len());
    (path, record, tensor)
}

#[test]
fn what_is_written_reads_back() {
    let folder = tempdir().unwrap();
    let (path, record, tensor) = file(&folder);
    let mut reader = Reader::open(&path).unwrap();
    assert_eq!(reader.path(), path);
    assert_eq!(reader.metadata()["note"], "kept");
    assert_eq!(reader.records()["w"], record);
    let check = |reader: &Reader| {
        let view = reader.quantized("w").unwrap();
        assert_eq!(view.codes().as_bytes(), tensor.codes().as_bytes());
        assert_eq!(view.scales().as_bytes(), tensor.scales().as_bytes());
        assert_eq!(view.tensor_scale(), tensor.tensor_scale());
        assert_eq!(reader.values("bias").unwrap().to_f32(), [1.0, -2.0]);
        assert!(reader.values("empty").unwrap().is_empty());
    };
    check(&reader);
    for name in ["w", "bias", "empty", "nothing"] {
        reader.release(name);
    }
    check(&reader);
    let names: Vec<_> = reader.tensors().map(|stored| stored.name.to_owned()).collect();
    assert_eq!(names, ["w.tensor_amax", "bias", "empty", "w.codes", "w.scales"]);
    let entries = reader.entries();
    assert_eq!(entries.iter().map(Entry::name).collect::<Vec<_>>(), ["bias", "empty", "w"]);
    assert_eq!(entries[2], Entry::Quantized { name: "w", record: &record });
    assert_eq!(reader.file_bytes() as u64, fs::metadata(&path).unwrap().len());
    // Every tensor is aligned to its type.
    for stored in reader.tensors() {
        let offset = stored.bytes.as_ptr() as usize
            - reader.tensor("w.tensor_amax").unwrap().bytes.as_ptr() as usize;
        assert!(offset.is_multiple_of(stored.dtype.bitsize() / 8), "{}", stored.name);
    }
}

#[test]
fn what_is_not_there_is_named() {
    let folder = tempdir().unwrap();
    let (path, ..) = file(&folder);
    let reader = Reader::open(&path).unwrap();
    let says = |error: Error, says: &str| {
        let text = error.to_string();
        assert!(text.contains(says) && text.contains("q.safetensors"), "{text}");
    };
    says(reader.tensor("w").unwrap_err(), "no stored tensor 'w'");
    says(reader.quantized("bias").unwrap_err(), "no quantized tensor 'bias'");
    says(reader.values("w.codes").unwrap_err(), "'w.codes' is U8");
    says(reader.values("v").unwrap_err(), "no stored tensor 'v'");
}

#[test]
fn a_writer_keeps_to_its_plan() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("out");
    let plan = || {
        let mut plan = Plan::new();
        plan.tensor("a", Dtype::U8, &[4]);
        plan.tensor("b", Dtype::F32, &[1]);
        plan
    };
    let mut writer = Writer::create(&path, plan(), Existing::Keep).unwrap();
    writer.write("a", &[1, 2, 3, 4]).unwrap();
    for (name, bytes) in [("a", &[1, 2, 3, 4][..]), ("c", &[1]), ("b", &[1, 2, 3])] {
        assert!(matches!(writer.write(name, bytes), Err(Error::Plan { .. })), "{name}");
    }
    assert!(matches!(writer.finish(), Err(Error::Plan { tensor, .. }) if tensor == "b"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    // Dropped half-way.
    let mut writer = Writer::create(&path, plan(), Existing::Keep).unwrap();
    writer.write("a", &[1, 2, 3, 4]).unwrap();
    drop(writer);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn plans_that_no_file_can_hold_are_refused() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("out");
    let refused = |tensors: &[(&str, Dtype, &[usize])], says: &str| {
        let mut plan = Plan::new();
        tensors.iter().for_each(|(name, dtype, shape)| plan.tensor(*name, *dtype, shape));
        let error = Writer::create(&path, plan, Existing::Replace).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    };
    refused(&[("a", Dtype::U8, &[1]), ("a", Dtype::F32, &[1])], "'a': would stand there twice");
    refused(&[("a", Dtype::F32, &[usize::MAX / 16, 9])], "'a': shape");
    refused(&[("a", Dtype::F4, &[3])], "'a': shape");
    refused(&[("__metadata__", Dtype::U8, &[1])], "__metadata__");
    let mut plan = Plan::new();
    plan.quantized("w", &record(Format::MXFP4, &[1, 32], 1)).unwrap();
    plan.tensor("w.scales", Dtype::U8, &[1]);
    assert!(matches!(Writer::create(&path, plan, Existing::Keep), Err(Error::Tensor { .. })));
    // Nor one that the reader would refuse.
    let mut both = Plan::new();
    both.quantized("w", &record(Format::MXFP4, &[1, 32], 1)).unwrap();
    both.tensor("w", Dtype::U8, &[1]);
    let mut orphan = Plan::new();
    orphan.quantized("w", &record(Format::MXFP4, &[1, 32], 1)).unwrap();
    orphan.metadata("blockscale.version", "3");
    // One record needs version 2, whichever comes first; what else stood there is not heeded.
    let plain = record(Format::MXFP4, &[1, 32], 1);
    let rotated =
        Record { rotation: Some(StoredRotation::new(32, None).unwrap()), ..plain.clone() };
    for records in [[&plain, &rotated], [&rotated, &plain]] {
        let mut plan = Plan::new();
        plan.metadata("blockscale.version", "9");
        plan.quantized("a", records[0]).unwrap();
        plan.quantized("b", records[1]).unwrap();
        Writer::create(&path, plan.clone(), Existing::Keep).unwrap();
        plan.metadata("blockscale.version", "1");
        let error = Writer::create(&path, plan, Existing::Keep).unwrap_err().to_string();
        assert!(error.contains("is 1; a record with draw_bits or rotation needs 2"), "{error}");
    }
    let mut strange = Plan::new();
    strange.metadata("blockscale.version", "1");
    strange.metadata("blockscale.tensor.w", "{}");
    for (plan, says) in
        [(both, "both quantized and plain"), (orphan, "is 3"), (strange, "missing field")]
    {
        let error = Writer::create(&path, plan, Existing::Keep).unwrap_err().to_string();
        assert!(error.contains("'w'") && error.contains(says), "{error}");
    }
    let mut long = Plan::new();
    long.metadata("all", "a".repeat(100_000_000));
    let error = Writer::create(&path, long, Existing::Keep).unwrap_err();
    assert!(matches!(error, Error::LongHeader { limit: 100_000_000, .. }), "{error}");
    let error = error.to_string();
    for says in ["out: ", "would have 1000000", "at most 100000000"] {
        assert!(error.contains(says), "{says}: {error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// A record that contradicts itself is an error of every method that looks at its shape.
#[test]
fn an_axis_that_is_not_there_is_an_error() {
    for (shape, axis) in [(&[1, 16][..], 5), (&[1, 16], 2), (&[], 0), (&[4], usize::MAX)] {
        let record = record(Format::MXFP4, shape, axis);
        let mut plan = Plan::new();
        let refused = [
            record.stored_shape().map(drop),
            record.parts("w").map(drop),
            plan.quantized("w", &record),
        ];
        for refused in refused {
            let text = refused.unwrap_err().to_string();
            assert!(text.contains(&format!("the axis is {axis} of shape {shape:?}")), "{text}");
        }
        // Nothing of it entered the plan.
        let folder = tempdir().unwrap();
        let path = folder.path().join("out");
        Writer::create(&path, plan, Existing::Keep).unwrap().finish().unwrap();
        assert!(Reader::open(&path).unwrap().metadata().is_empty());
    }
}

#[test]
fn values_that_do_not_fit_are_errors() {
    let values = || Values::from_bytes(Float::F16, &[0; 8]).unwrap();
    assert!(matches!(
        values().axis_to_last(&[3, 5], 0),
        Err(blockscale::Error::WrongLength { .. })
    ));
    assert!(matches!(
        values().axis_to_last(&[2, 2], 7),
        Err(blockscale::Error::InvalidValue { .. })
    ));
    let overflowing = [usize::MAX, usize::MAX, 4];
    let shape = values().axis_from_last(&overflowing, 0);
    assert!(matches!(shape, Err(blockscale::Error::InvalidShape { .. })));
    let cut = Values::from_bytes(Float::F32, &[0; 7]);
    assert!(matches!(cut, Err(blockscale::Error::InvalidValue { .. })));
}

#[test]
fn an_output_that_came_into_being_meanwhile_is_kept() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("out");
    for (existing, kept) in [(Existing::Keep, true), (Existing::Replace, false)] {
        let _ = fs::remove_file(&path);
        let writer = Writer::create(&path, Plan::new(), existing).unwrap();
        fs::write(&path, b"precious").unwrap();
        let finished = writer.finish();
        assert_eq!(matches!(finished, Err(Error::Exists { .. })), kept);
        assert_eq!(fs::read(&path).unwrap() == b"precious", kept);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

/// An input that is replaced while it is read stays what it was.
#[test]
fn replacing_an_open_file_is_harmless() {
    let folder = tempdir().unwrap();
    let (path, _, tensor) = file(&folder);
    let mut reader = Reader::open(&path).unwrap();
    Writer::create(&path, Plan::new(), Existing::Replace).unwrap().finish().unwrap();
    reader.release("w");
    assert_eq!(reader.quantized("w").unwrap().codes().as_bytes(), tensor.codes().as_bytes());
    assert_eq!(Reader::open(&path).unwrap().tensors().count(), 0);
}

fn opens(bytes: &[u8], path: &Path) -> bool {
    fs::write(path, bytes).unwrap();
    match Reader::open(path) {
        Err(_) => false,
        Ok(reader) => {
            for entry in reader.entries() {
                match entry {
                    Entry::Plain(stored) => drop(reader.values(stored.name)),
                    Entry::Quantized { name, .. } => drop(reader.quantized(name)),
                }
            }
            true
        }
    }
}

proptest! {
    /// Any damage is refused or harmless, and what is accepted the `safetensors` crate accepts too.
    #[test]
    fn damage_never_panics(changes in vec((0usize..2000, any::<u8>()), 1..6), cut in 0usize..40) {
        let folder = tempdir().unwrap();
        let (path, ..) = file(&folder);
        let mut bytes = fs::read(&path).unwrap();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len() - cut.saturating_sub(30));
        if opens(&bytes, &path) {
            prop_assert!(SafeTensors::deserialize(&bytes).is_ok());
        }
    }

    /// Every shape, axis and format comes back.
    #[test]
    fn shapes_and_axes_round_trip(
        shape in vec(0usize..20, 1..4),
        axis in 0usize..3,
        format in 0usize..12,
        seed in proptest::option::of(any::<u64>()),
    ) {
        let folder = tempdir().unwrap();
        let path = folder.path().join("q");
        let mut record = record(Format::NAMED[format].1, &shape, axis % shape.len());
        let bits = if seed.is_some_and(|seed| seed % 2 == 1) { DrawBits::Sixteen } else { DrawBits::Eight };
        let drawn = |seed| StoredRounding::Stochastic { seed, bits };
        record.rounding = seed.map_or(StoredRounding::Nearest, drawn);
        let x = sample(shape.iter().product());
        let tensor = record.quantize("w").run(&x, &record.stored_shape().unwrap()).unwrap();
        let mut plan = Plan::new();
        plan.quantized("w", &record).unwrap();
        let mut writer = Writer::create(&path, plan, Existing::Keep).unwrap();
        writer.write_quantized("w", &tensor).unwrap();
        writer.finish().unwrap();
        let reader = Reader::open(&path).unwrap();
        prop_assert_eq!(&reader.records()["w"], &record);
        let view = reader.quantized("w").unwrap();
        prop_assert_eq!(view.dequantize::<f32>(), tensor.dequantize::<f32>());
        prop_assert!(SafeTensors::deserialize(&fs::read(&path).unwrap()).is_ok());
    }
}
