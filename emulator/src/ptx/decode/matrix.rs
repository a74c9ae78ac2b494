//! Matrix loads, stores and products.

use super::{Operand, Result, Statement};
use crate::isa::{
    Accumulator, BlockScale, Collective, CollectiveKind, FloatType, IntType, Members, MmaElement,
    MmaShape, Op, Reg, Space, Type,
};
use crate::target::Feature;

impl<'s> Statement<'_, '_, '_, 's> {
    fn aligned(&mut self, kind: CollectiveKind) -> Result<Collective> {
        if !self.modifiers.take("sync") || !self.modifiers.take("aligned") {
            return self.unsupported();
        }
        Ok(Collective {
            kind,
            members: Members::Warp,
            destinations: Vec::new(),
            sources: Vec::new(),
            predicate: None,
            condition: None,
            address: None,
        })
    }

    fn parts(&self, index: usize, count: usize) -> Result<Vec<Operand<'s>>> {
        let list = match self.at(index) {
            Operand::Vector(parts) => parts.clone(),
            single => vec![single.clone()],
        };
        if list.len() == count {
            Ok(list)
        } else {
            self.error(format!("{count} registers expected in operand {index}"))
        }
    }

    fn part_sources(&mut self, index: usize, count: usize, ty: Type) -> Result<Vec<Reg>> {
        let parts = self.parts(index, count)?;
        parts.iter().map(|part| self.body.source(part, ty)).collect()
    }

    fn part_destinations(&mut self, index: usize, count: usize) -> Result<Vec<Option<Reg>>> {
        let parts = self.parts(index, count)?;
        parts.iter().map(|part| self.body.optional_destination(part)).collect()
    }

    pub fn matrix_memory(&mut self, load: bool) -> Result<Op> {
        self.count(2..=2)?;
        let count = self.modifiers.take_one(&[("x1", 1), ("x2", 2), ("x4", 4)]);
        let transpose = self.modifiers.take("trans");
        let space = self.modifiers.take("shared") || self.modifiers.take("shared::cta");
        let (Some(count), true, true) = (count, space, self.modifiers.take("m8n8")) else {
            return self.unsupported();
        };
        if self.required_type()? != Type::B16 {
            return self.unsupported();
        }
        if !load {
            self.body.require(Feature::Sm(90))?;
        }
        let kind = if load {
            CollectiveKind::LoadMatrix { count, transpose }
        } else {
            CollectiveKind::StoreMatrix { count, transpose }
        };
        let mut collective = self.aligned(kind)?;
        let operand = self.at(if load { 1 } else { 0 }).clone();
        let (address, found) = self.body.address(&operand)?;
        if found.is_some_and(|found| found != crate::ptx::body::AddressedSpace::Shared) {
            return self.error(format!("{:?} memory expected", Space::Shared));
        }
        collective.address = Some(address);
        if load {
            collective.destinations = self.part_destinations(0, count as usize)?;
        } else {
            collective.sources = self.part_sources(1, count as usize, Type::B32)?;
        }
        Ok(Op::Collective(Box::new(collective)))
    }

    pub fn movmatrix(&mut self) -> Result<Op> {
        self.count(2..=2)?;
        let mut collective = self.aligned(CollectiveKind::MoveMatrix)?;
        if !self.modifiers.take("m8n8")
            || !self.modifiers.take("trans")
            || self.required_type()? != Type::B16
        {
            return self.unsupported();
        }
        collective.destinations.push(Some(self.destination(0)?));
        collective.sources.push(self.source(1, Type::B32)?);
        Ok(Op::Collective(Box::new(collective)))
    }

    pub fn mma(&mut self) -> Result<Op> {
        let shape = self.mma_shape()?;
        let mut collective = self.aligned(CollectiveKind::Mma(shape))?;
        let (a, b) = (
            shape.m * shape.k / 32 / shape.a.per_register(),
            shape.n * shape.k / 32 / shape.b.per_register(),
        );
        let c = if shape.accumulator == Accumulator::F16 { 2 } else { 4 };
        self.count(if shape.scales.is_some() { 8..=8 } else { 4..=4 })?;
        let accumulator_type =
            if shape.accumulator == Accumulator::F32 { Type::F32 } else { Type::B32 };
        collective.destinations = self.part_destinations(0, c)?;
        let mut sources = self.part_sources(1, a, Type::B32)?;
        sources.extend(self.part_sources(2, b, Type::B32)?);
        sources.extend(self.part_sources(3, c, accumulator_type)?);
        if shape.scales.is_some() {
            // scale-a, {byte-id-a, thread-id-a}, scale-b, {byte-id-b, thread-id-b}
            for operand in [4, 6] {
                sources.extend(self.part_sources(operand, 1, Type::B32)?);
                sources.extend(self.part_sources(operand + 1, 2, Type::B16)?);
            }
        }
        collective.sources = sources;
        Ok(Op::Collective(Box::new(collective)))
    }

    fn mma_shape(&mut self) -> Result<MmaShape> {
        let k = self.modifiers.take_one(&[
            ("m16n8k4", 4),
            ("m16n8k8", 8),
            ("m16n8k16", 16),
            ("m16n8k32", 32),
            ("m16n8k64", 64),
        ]);
        let (Some(k), true, true) = (k, self.modifiers.take("row"), self.modifiers.take("col"))
        else {
            return self.unsupported();
        };
        let kind = self.modifiers.take_one(&[
            ("kind::f8f6f4", "f8f6f4"),
            ("kind::mxf8f6f4", "mxf8f6f4"),
            ("kind::mxf4", "mxf4"),
            ("kind::mxf4nvf4", "mxf4nvf4"),
        ]);
        let scaled = self.modifiers.take("block_scale");
        let vectors = self.modifiers.take_one(&[
            ("scale_vec::1X", 1),
            ("scale_vec::2X", 2),
            ("scale_vec::4X", 4),
        ]);
        let saturate = self.modifiers.take("satfinite");
        let (d, a, b, c) = (
            self.required_type()?,
            self.required_type()?,
            self.required_type()?,
            self.required_type()?,
        );
        let accumulator = match (d, c) {
            (Type::F32, Type::F32) => Accumulator::F32,
            (Type::F16, Type::F16) => Accumulator::F16,
            (Type::S32, Type::S32) => Accumulator::S32 { saturate },
            _ => return self.unsupported(),
        };
        let integer_accumulator = matches!(accumulator, Accumulator::S32 { .. });
        let shape = |a, b| MmaShape { m: 16, n: 8, k, a, b, accumulator, scales: None };
        if let Some(kind) = kind {
            self.body.require(Feature::BlockScaledMma)?;
            let scales = self.scales(kind, scaled, vectors)?;
            return self.kind_shape(
                kind,
                shape(MmaElement::Nibble, MmaElement::Nibble),
                a,
                b,
                scales,
            );
        }
        let shape = match (a, b, k) {
            (Type::F16, Type::F16, 8 | 16) => {
                shape(MmaElement::Half(FloatType::F16), MmaElement::Half(FloatType::F16))
            }
            (Type::Bf16, Type::Bf16, 8 | 16) => {
                shape(MmaElement::Half(FloatType::Bf16), MmaElement::Half(FloatType::Bf16))
            }
            (Type::Tf32, Type::Tf32, 4 | 8) => shape(MmaElement::Tf32, MmaElement::Tf32),
            (Type::E4m3 | Type::E5m2, Type::E4m3 | Type::E5m2, 16 | 32) => {
                self.body.require(Feature::Sm(89))?;
                shape(MmaElement::Byte(a), MmaElement::Byte(b))
            }
            (Type::U8 | Type::S8, Type::U8 | Type::S8, 16 | 32) => {
                let element = |ty: Type| MmaElement::Int(IntType { bits: 8, signed: ty.signed() });
                shape(element(a), element(b))
            }
            _ => return self.unsupported(),
        };
        let integers = matches!(shape.a, MmaElement::Int(_));
        let halves_allowed =
            matches!(shape.a, MmaElement::Half(FloatType::F16) | MmaElement::Byte(_));
        let legal = integers == integer_accumulator
            && (accumulator != Accumulator::F16 || halves_allowed)
            && !scaled
            && vectors.is_none()
            && (integers || !saturate);
        if legal { Ok(shape) } else { self.unsupported() }
    }

    fn scales(
        &mut self,
        kind: &str,
        scaled: bool,
        vectors: Option<usize>,
    ) -> Result<Option<BlockScale>> {
        if !scaled {
            return if kind == "f8f6f4" && vectors.is_none() {
                Ok(None)
            } else {
                self.unsupported()
            };
        }
        let ty = self.required_type()?;
        let vectors = match (kind, vectors, ty) {
            ("mxf8f6f4", None | Some(1), Type::Ue8m0) => 1,
            ("mxf4", None | Some(2), Type::Ue8m0) => 2,
            ("mxf4nvf4", Some(2), Type::Ue8m0) => 2,
            ("mxf4nvf4", Some(4), Type::Ue4m3) => 4,
            ("mxf4nvf4", Some(4), Type::Ue8m0) => {
                self.body.require_version(9, 1)?;
                4
            }
            _ => return self.unsupported(),
        };
        Ok(Some(BlockScale { vectors, ty }))
    }

    fn kind_shape(
        &self,
        kind: &str,
        shape: MmaShape,
        a: Type,
        b: Type,
        scales: Option<BlockScale>,
    ) -> Result<MmaShape> {
        let small =
            |ty| matches!(ty, Type::E4m3 | Type::E5m2 | Type::E2m3 | Type::E3m2 | Type::E2m1);
        let legal = match kind {
            "f8f6f4" => {
                shape.k == 32
                    && small(a)
                    && small(b)
                    && !matches!(shape.accumulator, Accumulator::S32 { .. })
            }
            "mxf8f6f4" => {
                shape.k == 32 && small(a) && small(b) && shape.accumulator == Accumulator::F32
            }
            _ => {
                shape.k == 64
                    && (a, b) == (Type::E2m1, Type::E2m1)
                    && shape.accumulator == Accumulator::F32
            }
        };
        if !legal {
            return self.unsupported();
        }
        Ok(if shape.k == 32 {
            MmaShape { a: MmaElement::Byte(a), b: MmaElement::Byte(b), scales, ..shape }
        } else {
            MmaShape { scales, ..shape }
        })
    }
}
