//! Splits PTX text into tokens.

/// One token, borrowed from the source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token<'s> {
    pub kind: Kind<'s>,
    /// Line from 1.
    pub line: u32,
    /// Byte range in the source.
    pub start: u32,
    pub end: u32,
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind<'s> {
    /// Identifier, opcode with its suffixes, or directive with its leading dot.
    Word(&'s str),
    /// Anything that starts with a digit.
    Number(&'s str),
    /// The inside of a quoted string.
    Text(&'s str),
    /// Any other character.
    Mark(u8),
    End,
}

fn word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'%')
}

/// All tokens of the text, closed by `End`. Comments are dropped.
pub fn tokens(source: &str) -> Vec<Token<'_>> {
    let bytes = source.as_bytes();
    let at = |index: usize| bytes.get(index).copied().unwrap_or(0);
    let (mut list, mut index, mut line) = (Vec::new(), 0, 1u32);
    while index < bytes.len() {
        let start = index;
        let first_line = line;
        let kind = match at(index) {
            b'\n' => {
                line += 1;
                index += 1;
                continue;
            }
            byte if byte.is_ascii_whitespace() || byte == 0 => {
                index += 1;
                continue;
            }
            b'/' if at(index + 1) == b'/' => {
                while index < bytes.len() && at(index) != b'\n' {
                    index += 1;
                }
                continue;
            }
            b'/' if at(index + 1) == b'*' => {
                index += 2;
                while index < bytes.len() && !(at(index) == b'*' && at(index + 1) == b'/') {
                    line += u32::from(at(index) == b'\n');
                    index += 1;
                }
                index += 2;
                continue;
            }
            b'"' => {
                index += 1;
                while index < bytes.len() && at(index) != b'"' {
                    line += u32::from(at(index) == b'\n');
                    index += 1;
                }
                index += 1;
                Kind::Text(&source[start + 1..(index - 1).min(bytes.len())])
            }
            byte if byte.is_ascii_digit() => {
                while at(index).is_ascii_alphanumeric() || at(index) == b'.' || at(index) == b'_' {
                    index += 1;
                }
                Kind::Number(&source[start..index])
            }
            byte if word_byte(byte) || (byte == b'.' && word_byte(at(index + 1))) => {
                index += 1;
                loop {
                    let next = at(index);
                    if word_byte(next) || (next == b'.' && word_byte(at(index + 1))) {
                        index += 1;
                    } else if next == b':' && at(index + 1) == b':' {
                        index += 2;
                    } else {
                        break;
                    }
                }
                Kind::Word(&source[start..index])
            }
            byte => {
                // A character beyond ASCII is one mark; the parser refuses it.
                index += 1;
                while index < bytes.len() && !source.is_char_boundary(index) {
                    index += 1;
                }
                Kind::Mark(byte)
            }
        };
        list.push(Token { kind, line: first_line, start: start as u32, end: index as u32 });
    }
    let end = bytes.len() as u32;
    list.push(Token { kind: Kind::End, line, start: end, end });
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_their_suffixes_and_lines_count() {
        let list = tokens(
            "@%p1 ld.global.L1::no_allocate.f32 %f1, [%rd1+4]; // x\n/* y\n */ $L_1: 0f3F800000 .reg",
        );
        let words: Vec<_> = list
            .iter()
            .filter_map(|t| if let Kind::Word(w) = t.kind { Some((w, t.line)) } else { None })
            .collect();
        assert_eq!(
            words,
            [
                ("%p1", 1),
                ("ld.global.L1::no_allocate.f32", 1),
                ("%f1", 1),
                ("%rd1", 1),
                ("$L_1", 3),
                (".reg", 3)
            ]
        );
        assert!(list.iter().any(|t| t.kind == Kind::Number("0f3F800000")));
        assert_eq!(list.last().unwrap().kind, Kind::End);
    }
}
