//! Directives of a module: header, variables, functions.

use std::collections::HashMap;

use super::body;
use super::lex::{Kind, Token, tokens};
use super::module::{Entry, Function, Module, Parameter, Variable, VariableSpace};
use crate::error::LoadError;
use crate::isa::{Instruction, PredReg, Reg, Type};
use crate::target::{ComputeCapability, Target};

/// The newest `.version` that is understood.
pub(crate) const NEWEST_VERSION: (u32, u32) = (9, 5);

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Symbol {
    Register(Reg, u32),
    Predicate(PredReg),
    /// Offset in static shared memory.
    Shared(u32),
    /// The start of dynamic shared memory.
    DynamicShared,
    /// Offset in the local frame.
    Frame(u32),
    /// Offset in the kernel's argument buffer.
    Argument(u32),
    /// Device address.
    Memory(u64),
}

/// A variable as declared.
pub(super) struct Declaration<'s> {
    pub name: &'s str,
    pub ty: Type,
    pub align: u32,
    pub bytes: u64,
    /// `[]`: as large as the launch says.
    pub unsized_array: bool,
    /// `name<n>` declares name0 to name(n-1).
    pub family: Option<u32>,
    pub initial: Vec<Initial<'s>>,
}

pub(super) enum Initial<'s> {
    Bits(u64),
    Address(&'s str),
}

/// Puts a variable into device memory and returns its address.
pub type Allocate<'a> = dyn FnMut(&str, VariableSpace, u32, &[u8]) -> Option<u64> + 'a;

pub(super) type Result<T> = std::result::Result<T, LoadError>;

pub(super) struct Parser<'s> {
    pub source: &'s str,
    tokens: Vec<Token<'s>>,
    at: usize,
    /// Start of the statement being read, for messages.
    statement: usize,
}

impl<'s> Parser<'s> {
    pub fn peek(&self) -> Kind<'s> {
        self.tokens[self.at].kind
    }

    pub fn peek_second(&self) -> Kind<'s> {
        self.tokens[(self.at + 1).min(self.tokens.len() - 1)].kind
    }

    pub fn line(&self) -> u32 {
        self.tokens[self.at].line
    }

    pub fn start(&self) -> u32 {
        self.tokens[self.at].start
    }

    /// End of the token before the current one.
    pub fn previous_end(&self) -> u32 {
        self.tokens[self.at.saturating_sub(1)].end
    }

    pub fn begin_statement(&mut self) {
        self.statement = self.at;
    }

    pub fn next(&mut self) -> Kind<'s> {
        let kind = self.peek();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        kind
    }

    pub fn accept(&mut self, mark: u8) -> bool {
        let found = self.peek() == Kind::Mark(mark);
        if found {
            self.next();
        }
        found
    }

    pub fn accept_word(&mut self, word: &str) -> bool {
        let found = self.peek() == Kind::Word(word);
        if found {
            self.next();
        }
        found
    }

    pub fn expect(&mut self, mark: u8) -> Result<()> {
        if self.accept(mark) {
            Ok(())
        } else {
            Err(self.error(format!("`{}` expected", mark as char)))
        }
    }

    pub fn word(&mut self) -> Result<&'s str> {
        match self.next() {
            Kind::Word(word) => Ok(word),
            _ => Err(self.error("a name expected")),
        }
    }

    pub fn error(&self, reason: impl Into<String>) -> LoadError {
        let first = self.tokens[self.statement];
        let last = self.tokens[self.at.min(self.statement + 40)];
        let text = &self.source[first.start as usize..(last.end.max(first.end)) as usize];
        LoadError::Invalid {
            line: first.line,
            reason: reason.into(),
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
        }
    }

    /// Skips the rest of a directive that ends with its line (`.loc`, `.file`).
    pub fn skip_line(&mut self) {
        let line = self.line();
        while self.line() == line && self.peek() != Kind::End {
            self.next();
        }
    }

    /// Skips `{ ... }`.
    fn skip_braces(&mut self) -> Result<()> {
        self.expect(b'{')?;
        let mut depth = 1;
        while depth > 0 {
            match self.next() {
                Kind::Mark(b'{') => depth += 1,
                Kind::Mark(b'}') => depth -= 1,
                Kind::End => return Err(self.error("`}` expected")),
                _ => {}
            }
        }
        Ok(())
    }

    pub fn integer(&mut self) -> Result<u64> {
        let negative = self.accept(b'-');
        match self.next() {
            Kind::Number(text) => {
                let value = parse_integer(text).ok_or_else(|| self.error("an integer expected"))?;
                Ok(if negative { value.wrapping_neg() } else { value })
            }
            _ => Err(self.error("an integer expected")),
        }
    }

    /// Reads a declaration from after its state space up to the comma or semicolon behind it.
    pub fn declaration(&mut self) -> Result<Declaration<'s>> {
        let (mut align, mut ty, mut elements) = (0u64, None, 1u64);
        while let Kind::Word(word) = self.peek() {
            let Some(directive) = word.strip_prefix('.') else { break };
            self.next();
            match directive {
                "align" => align = self.integer()?,
                // Attributes of a pointer parameter say nothing about the parameter's own layout.
                "ptr" => self.skip_pointer_attributes()?,
                "v2" | "v4" | "v8" => elements = u64::from(directive.as_bytes()[1] - b'0'),
                _ => match Type::parse(directive) {
                    Some(found) => ty = Some(found),
                    None => {
                        return Err(
                            self.error(format!("unknown directive .{directive} in a declaration"))
                        );
                    }
                },
            }
        }
        self.declarator(align, ty, elements)
    }

    /// Reads the next name of a list such as `.reg .b32 a, b<4>;`.
    pub fn declaration_like(
        &mut self,
        ty: Type,
        align: u32,
        bytes: u64,
    ) -> Result<Declaration<'s>> {
        let element = u64::from(ty.bits().div_ceil(8));
        self.declarator(u64::from(align), Some(ty), (bytes / element).max(1))
    }

    fn skip_pointer_attributes(&mut self) -> Result<()> {
        while let Kind::Word(".global" | ".shared" | ".const" | ".local" | ".align") = self.peek() {
            if self.word()? == ".align" {
                self.integer()?;
            }
        }
        Ok(())
    }

    fn declarator(
        &mut self,
        align: u64,
        ty: Option<Type>,
        mut elements: u64,
    ) -> Result<Declaration<'s>> {
        let ty = ty.ok_or_else(|| self.error("a declaration needs a type"))?;
        let name = self.word()?;
        let (mut unsized_array, mut family, mut initial) = (false, None, Vec::new());
        if self.accept(b'<') {
            family = Some(self.integer()? as u32);
            self.expect(b'>')?;
        }
        while self.accept(b'[') {
            if self.accept(b']') {
                unsized_array = true;
                elements = 0;
            } else {
                elements = elements
                    .checked_mul(self.integer()?)
                    .filter(|count| *count < 1 << 40)
                    .ok_or_else(|| self.error("array too large"))?;
                self.expect(b']')?;
            }
        }
        if self.accept(b'=') {
            self.initialiser(&mut initial)?;
        }
        let element_bytes = u64::from(ty.bits().div_ceil(8));
        if unsized_array && !initial.is_empty() {
            elements = initial.len() as u64;
        }
        let align = if align == 0 { element_bytes } else { align };
        if !align.is_power_of_two() || align > 1 << 12 {
            return Err(self.error("alignment must be a power of two up to 4096"));
        }
        Ok(Declaration {
            name,
            ty,
            align: align as u32,
            bytes: element_bytes * elements,
            unsized_array,
            family,
            initial,
        })
    }

    fn initialiser(&mut self, into: &mut Vec<Initial<'s>>) -> Result<()> {
        match self.peek() {
            Kind::Mark(b'{') => {
                self.next();
                while !self.accept(b'}') {
                    self.initialiser(into)?;
                    self.accept(b',');
                }
            }
            Kind::Word("generic") => {
                self.next();
                self.expect(b'(')?;
                into.push(Initial::Address(self.word()?));
                self.expect(b')')?;
            }
            Kind::Word(name) => {
                self.next();
                into.push(Initial::Address(name));
            }
            Kind::Number(text) if text.starts_with("0f") || text.starts_with("0d") => {
                self.next();
                let bits = u64::from_str_radix(&text[2..], 16)
                    .map_err(|_| self.error("a number expected"))?;
                into.push(Initial::Bits(bits));
            }
            _ => into.push(Initial::Bits(self.integer()?)),
        }
        Ok(())
    }
}

/// Decimal, hexadecimal, octal or binary, with an optional `U`.
pub(super) fn parse_integer(text: &str) -> Option<u64> {
    let text = text.strip_suffix('U').unwrap_or(text);
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        u64::from_str_radix(hex, 16).ok()
    } else if let Some(binary) = text.strip_prefix("0b").or_else(|| text.strip_prefix("0B")) {
        u64::from_str_radix(binary, 2).ok()
    } else if text.len() > 1 && text.starts_with('0') {
        u64::from_str_radix(&text[1..], 8).ok()
    } else {
        text.parse().ok()
    }
}

/// A module being built.
pub(super) struct Builder {
    pub target: Target,
    pub version: (u32, u32),
    pub code: Vec<Instruction>,
    pub functions: Vec<Function>,
    pub symbols: HashMap<String, Symbol>,
    pub variables: HashMap<String, Variable>,
    /// Shared memory of variables declared outside kernels.
    pub common_shared: u32,
}

impl Builder {
    pub fn function_index(&mut self, name: &str) -> usize {
        if let Some(index) = self.functions.iter().position(|f| f.name == name) {
            return index;
        }
        self.functions.push(Function { name: name.to_owned(), ..Function::default() });
        self.functions.len() - 1
    }
}

pub(super) fn align_up(value: u32, align: u32) -> u32 {
    value.div_ceil(align) * align
}

/// The kind of binary that an image is, if it is one.
fn binary_kind(image: &[u8]) -> Option<&'static str> {
    match image {
        [0x7f, b'E', b'L', b'F', ..] => Some("a cubin"),
        // The two magic numbers of fatbin wrappers and containers.
        [0xb1, 0x43, 0x62, 0x46, ..] | [0x50, 0xed, 0x55, 0xba, ..] => Some("a fatbin"),
        _ => None,
    }
}

impl Module {
    /// Parses and decodes a module for a device. `allocate` places its variables.
    pub fn load(
        image: &[u8],
        device: ComputeCapability,
        allocate: &mut Allocate<'_>,
    ) -> Result<Self> {
        if let Some(kind) = binary_kind(image) {
            return Err(LoadError::NotPtx(kind));
        }
        let text = image.split(|byte| *byte == 0).next().unwrap_or_default();
        let source = std::str::from_utf8(text).map_err(|_| LoadError::NotPtx("not text"))?;
        let mut parser = Parser { source, tokens: tokens(source), at: 0, statement: 0 };
        let (version, target) = header(&mut parser)?;
        if !target.runs_on(device) {
            return Err(LoadError::Target {
                target: target.to_string(),
                major: device.major,
                minor: device.minor,
            });
        }
        let mut builder = Builder {
            target,
            version,
            code: Vec::new(),
            functions: Vec::new(),
            symbols: HashMap::new(),
            variables: HashMap::new(),
            common_shared: 0,
        };
        while parser.peek() != Kind::End {
            parser.begin_statement();
            item(&mut parser, &mut builder, allocate)?;
        }
        if let Some(missing) = builder.functions.iter().find(|f| !f.defined) {
            return Err(
                parser.error(format!("function {} is declared but has no body", missing.name))
            );
        }
        Ok(Self {
            target,
            version,
            code: builder.code,
            functions: builder.functions,
            variables: builder.variables,
            source: source.into(),
        })
    }
}

fn header(parser: &mut Parser<'_>) -> Result<((u32, u32), Target)> {
    if !parser.accept_word(".version") {
        return Err(parser.error("`.version` expected"));
    }
    let Kind::Number(number) = parser.next() else {
        return Err(parser.error("a version number expected"));
    };
    let version = number
        .split_once('.')
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)))
        .ok_or_else(|| parser.error("a version number expected"))?;
    if version > NEWEST_VERSION {
        return Err(LoadError::Version(version.0, version.1, NEWEST_VERSION.0, NEWEST_VERSION.1));
    }
    if !parser.accept_word(".target") {
        return Err(parser.error("`.target` expected"));
    }
    let name = parser.word()?;
    let target =
        Target::parse(name).ok_or_else(|| parser.error(format!("unknown target {name}")))?;
    while parser.accept(b',') {
        let option = parser.word()?;
        if option != "debug" {
            return Err(parser.error(format!("unknown target option {option}")));
        }
    }
    if parser.accept_word(".address_size") && parser.integer()? != 64 {
        return Err(parser.error("only 64-bit addresses are supported"));
    }
    Ok((version, target))
}

fn item<'s>(
    parser: &mut Parser<'s>,
    builder: &mut Builder,
    allocate: &mut Allocate<'_>,
) -> Result<()> {
    match parser.word()? {
        ".visible" | ".weak" | ".common" | ".extern" => Ok(()),
        ".file" | ".loc" => {
            parser.skip_line();
            Ok(())
        }
        ".section" => {
            parser.word()?;
            parser.skip_braces()
        }
        ".pragma" => {
            parser.next();
            parser.expect(b';')
        }
        ".alias" => Err(parser.error("unknown directive .alias")),
        ".global" => variable(parser, builder, allocate, VariableSpace::Global),
        ".const" => variable(parser, builder, allocate, VariableSpace::Const),
        ".shared" => shared_variable(parser, builder),
        ".entry" => entry(parser, builder),
        ".func" => function(parser, builder),
        other => Err(parser.error(format!("unknown directive {other}"))),
    }
}

fn variable<'s>(
    parser: &mut Parser<'s>,
    builder: &mut Builder,
    allocate: &mut Allocate<'_>,
    space: VariableSpace,
) -> Result<()> {
    let declaration = parser.declaration()?;
    parser.expect(b';')?;
    let element = declaration.ty.bits() as usize / 8;
    let mut bytes = vec![0u8; declaration.bytes as usize];
    for (index, initial) in declaration.initial.iter().enumerate() {
        let value = match initial {
            Initial::Bits(bits) => *bits,
            Initial::Address(name) => match builder.symbols.get(*name) {
                Some(Symbol::Memory(address)) => *address,
                _ => return Err(parser.error(format!("{name} has no address known here"))),
            },
        };
        let cell = bytes
            .get_mut(index * element..(index + 1) * element)
            .ok_or_else(|| parser.error("more initial values than elements"))?;
        cell.copy_from_slice(&value.to_le_bytes()[..element]);
    }
    let address = allocate(declaration.name, space, declaration.align, &bytes)
        .ok_or_else(|| LoadError::OutOfMemory(declaration.name.to_owned()))?;
    builder.symbols.insert(declaration.name.to_owned(), Symbol::Memory(address));
    builder
        .variables
        .insert(declaration.name.to_owned(), Variable { address, bytes: declaration.bytes, space });
    Ok(())
}

fn shared_variable(parser: &mut Parser<'_>, builder: &mut Builder) -> Result<()> {
    let declaration = parser.declaration()?;
    parser.expect(b';')?;
    let symbol = if declaration.unsized_array {
        Symbol::DynamicShared
    } else {
        let offset = align_up(builder.common_shared, declaration.align);
        builder.common_shared = offset + declaration.bytes as u32;
        Symbol::Shared(offset)
    };
    builder.symbols.insert(declaration.name.to_owned(), symbol);
    Ok(())
}

/// Reads `( .param ..., .param ... )` and lays the parameters out from `offset` on.
fn parameters<'s>(parser: &mut Parser<'s>, offset: &mut u32) -> Result<Vec<(&'s str, Parameter)>> {
    let mut list = Vec::new();
    parser.expect(b'(')?;
    while !parser.accept(b')') {
        match parser.word()? {
            ".param" => {}
            other => return Err(parser.error(format!("unknown parameter space {other}"))),
        }
        let declaration = parser.declaration()?;
        *offset = align_up(*offset, declaration.align);
        let bytes = declaration.bytes as u32;
        list.push((declaration.name, Parameter { offset: *offset, bytes }));
        *offset += bytes;
        if *offset > 32 << 10 {
            return Err(parser.error("more than 32 KiB of parameters"));
        }
        parser.accept(b',');
    }
    Ok(list)
}

fn entry<'s>(parser: &mut Parser<'s>, builder: &mut Builder) -> Result<()> {
    let name = parser.word()?;
    let mut bytes = 0;
    let list = if parser.peek() == Kind::Mark(b'(') {
        parameters(parser, &mut bytes)?
    } else {
        Vec::new()
    };
    let mut entry = Entry { parameter_bytes: bytes, max_threads: 1024, ..Entry::default() };
    attributes(parser, &mut entry)?;
    let index = builder.function_index(name);
    if builder.functions[index].defined {
        return Err(parser.error(format!("{name} is defined twice")));
    }
    let symbols =
        list.iter().map(|(name, at)| ((*name).to_owned(), Symbol::Argument(at.offset))).collect();
    builder.functions[index].parameters = list.iter().map(|(_, at)| *at).collect();
    builder.functions[index].entry = Some(entry);
    body::parse(parser, builder, index, symbols, 0)
}

/// Performance and launch directives between the parameters and the body.
fn attributes(parser: &mut Parser<'_>, entry: &mut Entry) -> Result<()> {
    loop {
        match parser.peek() {
            Kind::Word(directive @ (".maxntid" | ".reqntid")) => {
                parser.next();
                let mut block = [1u32; 3];
                for (axis, extent) in block.iter_mut().enumerate() {
                    if axis > 0 && !parser.accept(b',') {
                        break;
                    }
                    *extent = parser.integer()? as u32;
                }
                entry.max_threads = block.iter().product::<u32>().min(1024);
                if directive == ".reqntid" {
                    entry.required_block = Some(block);
                }
            }
            Kind::Word(".minnctapersm" | ".maxnreg" | ".maxnctapersm") => {
                parser.next();
                parser.integer()?;
            }
            Kind::Word(".pragma") => {
                parser.next();
                parser.next();
                parser.expect(b';')?;
            }
            Kind::Word(".noreturn") => {
                parser.next();
            }
            Kind::Word(other) => return Err(parser.error(format!("unknown directive {other}"))),
            _ => return Ok(()),
        }
    }
}

fn function<'s>(parser: &mut Parser<'s>, builder: &mut Builder) -> Result<()> {
    let mut bytes = 0;
    let results = if parser.peek() == Kind::Mark(b'(') {
        parameters(parser, &mut bytes)?
    } else {
        Vec::new()
    };
    let name = parser.word()?;
    let list = if parser.peek() == Kind::Mark(b'(') {
        parameters(parser, &mut bytes)?
    } else {
        Vec::new()
    };
    attributes(parser, &mut Entry::default())?;
    let index = builder.function_index(name);
    builder.functions[index].results = results.iter().map(|(_, at)| *at).collect();
    builder.functions[index].parameters = list.iter().map(|(_, at)| *at).collect();
    if parser.accept(b';') {
        return Ok(());
    }
    let both = results.iter().chain(&list);
    let symbols = both.map(|(name, at)| ((*name).to_owned(), Symbol::Frame(at.offset))).collect();
    body::parse(parser, builder, index, symbols, bytes)
}
