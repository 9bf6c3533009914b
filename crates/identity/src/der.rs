//! Just enough DER (X.690) to find something in a certificate. Whether the certificate is any good is
//! the question of whoever looks.

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;

/// What is left of a DER encoding. Lengths are checked against the bytes at hand; nothing recurses.
pub(crate) struct Der<'a>(pub(crate) &'a [u8]);

impl<'a> Der<'a> {
    /// The contents of the next element, which must have this tag.
    pub(crate) fn element(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&[found, length], rest) = self.0.split_first_chunk()?;
        if found != tag {
            return None;
        }
        // Up to 127 the length is in its one byte; above, that byte counts the bytes of the
        // length. More than four would be a certificate of over 4 GB.
        let (length, rest) = match length {
            0..=0x7f => (usize::from(length), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
                (bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte)), rest)
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(contents)
    }

    /// The tag of the next element.
    pub(crate) fn next(&self) -> Option<u8> {
        self.0.first().copied()
    }

    pub(crate) fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_beyond_the_bytes_is_refused() {
        assert_eq!(Der(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0]).element(0x30), None);
        assert_eq!(Der(&[0x30, 0x80, 0, 0]).element(0x30), None);
        assert_eq!(Der(&[0x30, 0x85, 0, 0, 0, 0, 0]).element(0x30), None);
        assert_eq!(Der(&[0x30, 0x81, 1, 7]).element(0x30), Some(&[7][..]));
    }
}
