//! Function bodies: scopes, registers, labels, and the operands of statements.

use std::collections::HashMap;

use super::decode;
use super::lex::Kind;
use super::module::{Prefill, Special};
use super::parse::{Builder, Declaration, Parser, Result, Symbol, align_up, parse_integer};
use crate::isa::{Address, Base, Clock, Guard, Instruction, Op, PredReg, Reg, Type};
use crate::target::Feature;

/// An operand as written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand<'s> {
    Name(&'s str),
    /// Two's complement of what was written.
    Integer(u64),
    /// Bits of an f32.
    Single(u32),
    /// Bits of an f64.
    Double(u64),
    Sink,
    Memory(Box<Operand<'s>>, i64),
    Vector(Vec<Operand<'s>>),
    List(Vec<Operand<'s>>),
    /// `d|p`.
    Pair(Box<Operand<'s>>, Box<Operand<'s>>),
    Not(Box<Operand<'s>>),
}

/// One nesting level of braces.
struct Scope {
    id: usize,
    symbols: HashMap<String, Symbol>,
}

/// Where a label has to be filled in.
struct Reference {
    instruction: usize,
    /// Which of the targets of an indexed branch.
    slot: usize,
    scopes: Vec<usize>,
    label: String,
    line: u32,
}

/// The body being decoded.
pub(super) struct Body<'b, 'p, 's> {
    pub parser: &'p mut Parser<'s>,
    pub builder: &'b mut Builder,
    pub function: usize,
    scopes: Vec<Scope>,
    next_scope: usize,
    labels: HashMap<(usize, String), usize>,
    references: Vec<Reference>,
    /// `.branchtargets` lists by label.
    target_lists: HashMap<String, Vec<String>>,
    indexed_branches: Vec<(usize, String)>,
    prefilled: HashMap<Prefill, Reg>,
    constant_predicates: [Option<PredReg>; 2],
    frame_bytes: u32,
    /// Place of the statement being decoded.
    line: u32,
    text_start: u32,
}

/// Parses from `{` to the matching `}` and adds the function's code to the module.
pub(super) fn parse<'s>(
    parser: &mut Parser<'s>,
    builder: &mut Builder,
    function: usize,
    symbols: HashMap<String, Symbol>,
    frame_bytes: u32,
) -> Result<()> {
    builder.functions[function].start = builder.code.len();
    if let Some(entry) = &mut builder.functions[function].entry {
        entry.shared_bytes = builder.common_shared;
    }
    let mut body = Body {
        parser,
        builder,
        function,
        scopes: vec![Scope { id: 0, symbols }],
        next_scope: 1,
        labels: HashMap::new(),
        references: Vec::new(),
        target_lists: HashMap::new(),
        indexed_branches: Vec::new(),
        prefilled: HashMap::new(),
        constant_predicates: [None; 2],
        frame_bytes,
        line: 0,
        text_start: 0,
    };
    body.parser.expect(b'{')?;
    while !body.scopes.is_empty() {
        body.parser.begin_statement();
        body.statement()?;
    }
    body.finish()
}

impl<'s> Body<'_, '_, 's> {
    fn statement(&mut self) -> Result<()> {
        match self.parser.peek() {
            Kind::Mark(b'{') => {
                self.parser.next();
                let id = self.next_scope;
                self.next_scope += 1;
                self.scopes.push(Scope { id, symbols: HashMap::new() });
                Ok(())
            }
            Kind::Mark(b'}') => {
                self.parser.next();
                self.scopes.pop();
                Ok(())
            }
            Kind::Mark(b';') => {
                self.parser.next();
                Ok(())
            }
            Kind::Word(word) if word.starts_with('.') => self.directive(word),
            Kind::Word(label) if self.parser.peek_second() == Kind::Mark(b':') => {
                self.parser.next();
                self.parser.next();
                self.label(label)
            }
            Kind::Word(_) | Kind::Mark(b'@') => self.instruction(),
            _ => Err(self.parser.error("a statement expected")),
        }
    }

    fn label(&mut self, label: &'s str) -> Result<()> {
        if self.parser.accept_word(".branchtargets") {
            let mut list = vec![self.parser.word()?.to_owned()];
            while self.parser.accept(b',') {
                list.push(self.parser.word()?.to_owned());
            }
            self.target_lists.insert(label.to_owned(), list);
            return self.parser.expect(b';');
        }
        let scope = self.scopes.last().map_or(0, |scope| scope.id);
        if self.labels.insert((scope, label.to_owned()), self.builder.code.len()).is_some() {
            return Err(self.parser.error(format!("label {label} is defined twice")));
        }
        Ok(())
    }

    fn directive(&mut self, word: &str) -> Result<()> {
        self.parser.next();
        match word {
            ".reg" | ".local" | ".shared" | ".param" => {
                let mut declaration = self.parser.declaration()?;
                loop {
                    self.declare(word, &declaration)?;
                    if !self.parser.accept(b',') {
                        break;
                    }
                    let (ty, align, bytes) = (declaration.ty, declaration.align, declaration.bytes);
                    declaration = self.parser.declaration_like(ty, align, bytes)?;
                }
                self.parser.expect(b';')
            }
            ".loc" | ".file" => {
                self.parser.skip_line();
                Ok(())
            }
            ".pragma" => {
                self.parser.next();
                self.parser.expect(b';')
            }
            other => Err(self.parser.error(format!("unknown directive {other}"))),
        }
    }

    fn declare(&mut self, space: &str, declaration: &Declaration<'s>) -> Result<()> {
        match (space, declaration.family) {
            (".reg", Some(count)) => {
                if count > 1 << 16 {
                    return Err(self.parser.error("more than 65536 registers"));
                }
                for index in 0..count {
                    self.declare_register(format!("{}{index}", declaration.name), declaration.ty)?;
                }
                Ok(())
            }
            (".reg", None) => self.declare_register(declaration.name.to_owned(), declaration.ty),
            (".shared", _) => self.declare_shared(declaration),
            _ => {
                let offset = align_up(self.frame_bytes, declaration.align);
                let end = u64::from(offset) + declaration.bytes;
                if end > 512 << 10 {
                    return Err(self.parser.error("more than 512 KiB of local memory"));
                }
                self.frame_bytes = end as u32;
                self.define(declaration.name.to_owned(), Symbol::Frame(offset));
                Ok(())
            }
        }
    }

    fn define(&mut self, name: String, symbol: Symbol) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.symbols.insert(name, symbol);
        }
    }

    fn declare_register(&mut self, name: String, ty: Type) -> Result<()> {
        if ty == Type::B128 {
            return Err(self.parser.error("128-bit registers are not supported"));
        }
        let symbol = if ty == Type::Pred {
            Symbol::Predicate(self.new_predicate(name.clone()))
        } else {
            Symbol::Register(self.new_register(name.clone()), ty.bits())
        };
        self.define(name, symbol);
        Ok(())
    }

    fn declare_shared(&mut self, declaration: &Declaration<'s>) -> Result<()> {
        let Some(entry) = &mut self.builder.functions[self.function].entry else {
            // Kernels read before have their own variables where this one would go.
            if self.builder.functions.iter().any(|f| f.entry.is_some() && f.defined) {
                return Err(self
                    .parser
                    .error("a device function with shared variables must precede all kernels"));
            }
            let offset = align_up(self.builder.common_shared, declaration.align);
            self.builder.common_shared = offset + declaration.bytes as u32;
            self.define(declaration.name.to_owned(), Symbol::Shared(offset));
            return Ok(());
        };
        let offset = align_up(entry.shared_bytes, declaration.align);
        let end = u64::from(offset) + declaration.bytes;
        if end > 1 << 20 {
            return Err(self.parser.error("more than 1 MiB of shared memory"));
        }
        entry.shared_bytes = end as u32;
        self.define(declaration.name.to_owned(), Symbol::Shared(offset));
        Ok(())
    }

    pub fn new_register(&mut self, name: String) -> Reg {
        let registers = &mut self.builder.functions[self.function].registers;
        registers.push(name);
        Reg(registers.len() as u32 - 1)
    }

    pub fn new_predicate(&mut self, name: String) -> PredReg {
        let predicates = &mut self.builder.functions[self.function].predicates;
        predicates.push(name);
        PredReg(predicates.len() as u32 - 1)
    }

    fn instruction(&mut self) -> Result<()> {
        self.line = self.parser.line();
        self.text_start = self.parser.start();
        let guard = if self.parser.accept(b'@') {
            let negated = self.parser.accept(b'!');
            let name = self.parser.word()?;
            Some(Guard { negated, ..self.guard(&Operand::Name(name))? })
        } else {
            None
        };
        let opcode = self.parser.word()?;
        let mut operands = Vec::new();
        while !self.parser.accept(b';') {
            if self.parser.peek() == Kind::End {
                return Err(self.parser.error("`;` expected"));
            }
            operands.push(self.operand()?);
            if self.parser.peek() != Kind::Mark(b';') && !self.unified_suffix() {
                self.parser.expect(b',')?;
            }
        }
        let op = decode::instruction(self, opcode, &operands)?;
        self.emit(guard, op);
        Ok(())
    }

    /// Accepts `.unified` behind an address.
    fn unified_suffix(&mut self) -> bool {
        self.parser.accept_word(".unified")
    }

    /// Appends an instruction; its text is what has been read of the statement.
    pub fn emit(&mut self, guard: Option<Guard>, op: Op) {
        let text = (self.text_start, self.parser.previous_end().max(self.text_start));
        self.builder.code.push(Instruction { guard, op, line: self.line, text });
    }

    fn operand(&mut self) -> Result<Operand<'s>> {
        let first = self.primary()?;
        if self.parser.accept(b'|') {
            return Ok(Operand::Pair(Box::new(first), Box::new(self.primary()?)));
        }
        Ok(first)
    }

    fn primary(&mut self) -> Result<Operand<'s>> {
        match self.parser.peek() {
            Kind::Word("_") => {
                self.parser.next();
                Ok(Operand::Sink)
            }
            Kind::Word(name) => {
                self.parser.next();
                // `symbol+4` outside brackets is an address expression.
                if self.parser.peek() == Kind::Mark(b'+') {
                    let offset = self.offset()?;
                    return Ok(Operand::Memory(Box::new(Operand::Name(name)), offset));
                }
                Ok(Operand::Name(name))
            }
            Kind::Mark(b'!') => {
                self.parser.next();
                Ok(Operand::Not(Box::new(self.primary()?)))
            }
            Kind::Mark(b'[') => {
                self.parser.next();
                let base = self.primary()?;
                let (base, mut offset) = match base {
                    Operand::Memory(base, offset) => (*base, offset),
                    other => (other, 0),
                };
                offset += self.offset()?;
                self.parser.expect(b']')?;
                Ok(Operand::Memory(Box::new(base), offset))
            }
            Kind::Mark(b'{') => Ok(Operand::Vector(self.sequence(b'}')?)),
            Kind::Mark(b'(') => Ok(Operand::List(self.sequence(b')')?)),
            Kind::Mark(b'-') | Kind::Number(_) => self.number(),
            _ => Err(self.parser.error("an operand expected")),
        }
    }

    fn sequence(&mut self, close: u8) -> Result<Vec<Operand<'s>>> {
        self.parser.next();
        let mut list = Vec::new();
        while !self.parser.accept(close) {
            list.push(self.primary()?);
            if self.parser.peek() != Kind::Mark(close) {
                self.parser.expect(b',')?;
            }
        }
        Ok(list)
    }

    fn offset(&mut self) -> Result<i64> {
        if self.parser.accept(b'+') || self.parser.peek() == Kind::Mark(b'-') {
            return Ok(self.parser.integer()? as i64);
        }
        Ok(0)
    }

    fn number(&mut self) -> Result<Operand<'s>> {
        let negative = self.parser.accept(b'-');
        let Kind::Number(text) = self.parser.next() else {
            return Err(self.parser.error("a number expected"));
        };
        let bad = || self.parser.error(format!("number {text} expected to be well-formed"));
        if let Some(hex) = text.strip_prefix("0f").or_else(|| text.strip_prefix("0F")) {
            let bits = u32::from_str_radix(hex, 16).map_err(|_| bad())?;
            return Ok(Operand::Single(bits ^ u32::from(negative) << 31));
        }
        if let Some(hex) = text.strip_prefix("0d").or_else(|| text.strip_prefix("0D")) {
            let bits = u64::from_str_radix(hex, 16).map_err(|_| bad())?;
            return Ok(Operand::Double(bits ^ u64::from(negative) << 63));
        }
        if text.contains('.') && !text.starts_with("0x") {
            let value: f64 = text.parse().map_err(|_| bad())?;
            return Ok(Operand::Double(if negative { -value } else { value }.to_bits()));
        }
        let value = parse_integer(text).ok_or_else(bad)?;
        Ok(Operand::Integer(if negative { value.wrapping_neg() } else { value }))
    }

    fn lookup(&self, name: &str) -> Option<Symbol> {
        let local = self.scopes.iter().rev().find_map(|scope| scope.symbols.get(name).copied());
        local.or_else(|| self.builder.symbols.get(name).copied())
    }

    /// The register that holds a value from the start.
    pub fn prefilled(&mut self, value: Prefill) -> Reg {
        if let Some(register) = self.prefilled.get(&value) {
            return *register;
        }
        let name = match value {
            Prefill::Constant(bits) => format!("{bits:#x}"),
            Prefill::DynamicShared(offset) => format!("dynamic shared memory + {offset}"),
            Prefill::Special(special) => format!("{special:?}"),
        };
        let register = self.new_register(name);
        self.builder.functions[self.function].prefilled.push((register, value));
        self.prefilled.insert(value, register);
        register
    }

    pub fn constant(&mut self, value: u64) -> Reg {
        self.prefilled(Prefill::Constant(value))
    }

    /// A predicate that is always `value`.
    pub fn constant_predicate(&mut self, value: bool) -> PredReg {
        if let Some(predicate) = self.constant_predicates[usize::from(value)] {
            return predicate;
        }
        let predicate = self.new_predicate(value.to_string());
        self.builder.functions[self.function].constant_predicates.push((predicate.0, value));
        self.constant_predicates[usize::from(value)] = Some(predicate);
        predicate
    }

    /// A source operand of a type: register, literal, special register or address.
    pub fn source(&mut self, operand: &Operand<'s>, ty: Type) -> Result<Reg> {
        let mask = u64::MAX >> (64 - ty.bits().min(64));
        match operand {
            Operand::Integer(value) if ty == Type::F32 || ty == Type::F64 => {
                Err(self.parser.error(format!("integer {value} where a float is wanted")))
            }
            Operand::Integer(value) => Ok(self.constant(value & mask)),
            Operand::Single(bits) => Ok(self.constant(u64::from(*bits))),
            Operand::Double(bits) if ty.bits() == 32 => {
                let narrowed = f64::from_bits(*bits) as f32;
                Ok(self.constant(u64::from(narrowed.to_bits())))
            }
            Operand::Double(bits) => Ok(self.constant(*bits)),
            Operand::Name(name) => self.named_source(name, 0),
            Operand::Memory(base, offset) => match &**base {
                Operand::Name(name) => self.named_source(name, *offset),
                _ => Err(self.parser.error("an address expression needs a symbol")),
            },
            _ => Err(self.parser.error("a register or number expected")),
        }
    }

    fn named_source(&mut self, name: &str, offset: i64) -> Result<Reg> {
        let address = |base: u64| base.wrapping_add_signed(offset);
        match self.lookup(name) {
            Some(Symbol::Register(register, _)) if offset == 0 => Ok(register),
            Some(Symbol::Register(..)) => {
                Err(self.parser.error("a register with an offset is no value"))
            }
            Some(Symbol::Predicate(_)) => Err(self.parser.error(format!("{name} is a predicate"))),
            Some(Symbol::Shared(at)) => Ok(self.constant(address(at.into()))),
            Some(Symbol::DynamicShared) => Ok(self.prefilled(Prefill::DynamicShared(address(0)))),
            Some(Symbol::Argument(at)) => Ok(self.constant(address(at.into()))),
            Some(Symbol::Memory(at)) => Ok(self.constant(address(at))),
            Some(Symbol::Frame(at)) => {
                let dst = self.new_register(name.to_owned());
                self.emit(None, Op::FrameAddress { dst, offset: i64::from(at) + offset });
                Ok(dst)
            }
            None => self.special_source(name),
        }
    }

    fn special_source(&mut self, name: &str) -> Result<Reg> {
        let axis = |suffix: &str| ["x", "y", "z"].iter().position(|axis| *axis == suffix);
        let dimension =
            name.split_once('.').and_then(|(register, suffix)| Some((register, axis(suffix)?)));
        let special = match dimension {
            Some(("%tid", axis)) => Special::ThreadIndex(axis),
            Some(("%ntid", axis)) => Special::BlockSize(axis),
            Some(("%ctaid", axis)) => Special::BlockIndex(axis),
            Some(("%nctaid", axis)) => Special::GridSize(axis),
            // Without a cluster launch every block is a cluster of its own.
            Some(("%clusterid", axis)) => Special::BlockIndex(axis),
            Some(("%nclusterid", axis)) => Special::GridSize(axis),
            Some(("%cluster_ctaid", _)) => Special::Zero,
            Some(("%cluster_nctaid", _)) => Special::One,
            Some(_) => return Err(self.parser.error(format!("unknown register {name}"))),
            None => match name {
                "%laneid" => Special::Lane,
                "%warpid" => Special::Warp,
                "%nwarpid" => Special::WarpCount,
                "%smid" => Special::Multiprocessor,
                "%nsmid" => Special::MultiprocessorCount,
                "%gridid" => Special::GridId,
                "%lanemask_eq" => Special::LaneMaskEq,
                "%lanemask_le" => Special::LaneMaskLe,
                "%lanemask_lt" => Special::LaneMaskLt,
                "%lanemask_ge" => Special::LaneMaskGe,
                "%lanemask_gt" => Special::LaneMaskGt,
                "%dynamic_smem_size" => Special::DynamicSharedBytes,
                "%total_smem_size" => Special::TotalSharedBytes,
                "%cluster_ctarank" | "%is_explicit_cluster" => Special::Zero,
                "%cluster_nctarank" => Special::One,
                "WARP_SZ" => return Ok(self.constant(32)),
                "%clock" => return Ok(self.clock(Clock::Cycles { bits: 32, high: false })),
                "%clock_hi" => return Ok(self.clock(Clock::Cycles { bits: 32, high: true })),
                "%clock64" => return Ok(self.clock(Clock::Cycles { bits: 64, high: false })),
                "%globaltimer" => return Ok(self.clock(Clock::Nanoseconds)),
                _ => return Err(self.parser.error(format!("unknown register or symbol {name}"))),
            },
        };
        Ok(self.prefilled(Prefill::Special(special)))
    }

    fn clock(&mut self, clock: Clock) -> Reg {
        let dst = self.new_register("clock".to_owned());
        self.emit(None, Op::ReadClock { dst, clock });
        dst
    }

    /// A destination register and its width.
    pub fn sized_destination(&self, operand: &Operand<'s>) -> Result<(Reg, u32)> {
        match operand {
            Operand::Name(name) => match self.lookup(name) {
                Some(Symbol::Register(register, bits)) => Ok((register, bits)),
                _ => Err(self.parser.error(format!("{name} is no register"))),
            },
            _ => Err(self.parser.error("a register expected")),
        }
    }

    pub fn destination(&self, operand: &Operand<'s>) -> Result<Reg> {
        Ok(self.sized_destination(operand)?.0)
    }

    pub fn optional_destination(&self, operand: &Operand<'s>) -> Result<Option<Reg>> {
        if *operand == Operand::Sink { Ok(None) } else { self.destination(operand).map(Some) }
    }

    pub fn is_predicate(&self, operand: &Operand<'s>) -> bool {
        match operand {
            Operand::Name(name) => matches!(self.lookup(name), Some(Symbol::Predicate(_))),
            Operand::Not(inner) => self.is_predicate(inner),
            _ => false,
        }
    }

    pub fn predicate_destination(&self, operand: &Operand<'s>) -> Result<Option<PredReg>> {
        match operand {
            Operand::Sink => Ok(None),
            Operand::Name(name) => match self.lookup(name) {
                Some(Symbol::Predicate(predicate)) => Ok(Some(predicate)),
                _ => Err(self.parser.error(format!("{name} is no predicate"))),
            },
            _ => Err(self.parser.error("a predicate expected")),
        }
    }

    /// A predicate that must be there.
    pub fn predicate(&self, operand: &Operand<'s>) -> Result<PredReg> {
        self.predicate_destination(operand)?
            .ok_or_else(|| self.parser.error("a predicate expected"))
    }

    /// A predicate operand: register, its negation, or a literal.
    pub fn guard(&mut self, operand: &Operand<'s>) -> Result<Guard> {
        match operand {
            Operand::Not(inner) => {
                let guard = self.guard(inner)?;
                Ok(Guard { negated: !guard.negated, ..guard })
            }
            Operand::Integer(value) => {
                Ok(Guard { register: self.constant_predicate(*value != 0), negated: false })
            }
            _ => Ok(Guard { register: self.predicate(operand)?, negated: false }),
        }
    }

    /// An address operand, and the frame instead of the parameter space where that is meant.
    pub fn address(&mut self, operand: &Operand<'s>) -> Result<(Address, Option<AddressedSpace>)> {
        let Operand::Memory(base, offset) = operand else {
            return Err(self.parser.error("an address expected"));
        };
        match &**base {
            Operand::Integer(value) => Ok((
                Address { base: Base::Absolute, offset: (*value as i64).wrapping_add(*offset) },
                None,
            )),
            Operand::Name(name) => {
                let absolute =
                    |at: u64| Address { base: Base::Absolute, offset: at as i64 + offset };
                Ok(match self.lookup(name) {
                    Some(Symbol::Register(register, _)) => {
                        (Address { base: Base::Register(register), offset: *offset }, None)
                    }
                    Some(Symbol::Shared(at)) => (absolute(at.into()), Some(AddressedSpace::Shared)),
                    Some(Symbol::DynamicShared) => {
                        let register = self.prefilled(Prefill::DynamicShared(0));
                        (
                            Address { base: Base::Register(register), offset: *offset },
                            Some(AddressedSpace::Shared),
                        )
                    }
                    Some(Symbol::Argument(at)) => {
                        (absolute(at.into()), Some(AddressedSpace::Argument))
                    }
                    Some(Symbol::Memory(at)) => (absolute(at), Some(AddressedSpace::Memory)),
                    Some(Symbol::Frame(at)) => (
                        Address { base: Base::Frame, offset: i64::from(at) + offset },
                        Some(AddressedSpace::Frame),
                    ),
                    _ => return Err(self.parser.error(format!("{name} is no address"))),
                })
            }
            _ => Err(self.parser.error("an address expected")),
        }
    }

    /// The offset in the frame of a `.param` variable used in a call.
    pub fn frame_offset(&self, operand: &Operand<'s>) -> Result<i64> {
        match operand {
            Operand::Name(name) => match self.lookup(name) {
                Some(Symbol::Frame(at)) => Ok(i64::from(at)),
                _ => Err(self.parser.error(format!("{name} is no .param variable"))),
            },
            _ => Err(self.parser.error("a .param variable expected")),
        }
    }

    /// Refuses the statement unless the target has the feature.
    pub fn require(&self, feature: Feature) -> Result<()> {
        if self.builder.target.has(feature) {
            return Ok(());
        }
        Err(self.parser.error(format!("illegal on {}: needs {feature}", self.builder.target)))
    }

    /// Refuses the statement unless the module's `.version` has it.
    pub fn require_version(&self, major: u32, minor: u32) -> Result<()> {
        if self.builder.version >= (major, minor) {
            return Ok(());
        }
        Err(self.parser.error(format!("needs PTX version {major}.{minor}")))
    }

    /// Remembers that the instruction about to be emitted jumps to a label.
    pub fn refer(&mut self, label: &str, slot: usize) {
        let scopes = self.scopes.iter().rev().map(|scope| scope.id).collect();
        let instruction = self.builder.code.len();
        self.references.push(Reference {
            instruction,
            slot,
            scopes,
            label: label.to_owned(),
            line: self.line,
        });
    }

    /// Remembers that the instruction about to be emitted jumps to one of a list of labels.
    pub fn refer_list(&mut self, list: &str) {
        self.indexed_branches.push((self.builder.code.len(), list.to_owned()));
    }

    fn finish(mut self) -> Result<()> {
        self.line = self.parser.line();
        self.text_start = self.parser.previous_end();
        self.emit(None, Op::Return);
        for (instruction, list) in std::mem::take(&mut self.indexed_branches) {
            let Some(labels) = self.target_lists.get(&list) else {
                return Err(self.parser.error(format!("no .branchtargets {list}")));
            };
            let line = self.builder.code[instruction].line;
            for (slot, label) in labels.clone().into_iter().enumerate() {
                self.references.push(Reference {
                    instruction,
                    slot,
                    scopes: vec![1, 0],
                    label,
                    line,
                });
            }
        }
        for reference in std::mem::take(&mut self.references) {
            let place = reference
                .scopes
                .iter()
                .find_map(|scope| self.labels.get(&(*scope, reference.label.clone())));
            // Labels of an indexed branch may sit in any scope.
            let place = place.or_else(|| {
                self.labels
                    .iter()
                    .find(|((_, label), _)| *label == reference.label)
                    .map(|(_, at)| at)
            });
            let Some(&place) = place else {
                return Err(self
                    .parser
                    .error(format!("line {}: no label {}", reference.line, reference.label)));
            };
            match &mut self.builder.code[reference.instruction].op {
                Op::Branch { target } => *target = place,
                Op::BranchIndexed { targets, .. } => {
                    targets.resize(targets.len().max(reference.slot + 1), 0);
                    targets[reference.slot] = place;
                }
                _ => {}
            }
        }
        let function = &mut self.builder.functions[self.function];
        function.frame_bytes = align_up(self.frame_bytes, 16);
        function.defined = true;
        Ok(())
    }
}

/// The state space that a symbol in an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressedSpace {
    Shared,
    Argument,
    Memory,
    Frame,
}
