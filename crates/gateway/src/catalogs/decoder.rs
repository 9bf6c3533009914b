//! From a server's messages to a catalog: the answers to `sql::catalog::READS`, in that order,
//! whoever asked and over whatever connection. Knows no socket.

use sql::catalog::{Builder, Catalog, READS, Read};
use wire::backend;
use wire::frame::Frame;

/// Takes the answers as they come. Values have to be in the text format, in UTF-8.
#[derive(Default)]
pub(crate) struct Decoder {
    builder: Builder,
    /// Reads that are answered whole.
    done: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    #[error("a row of {0:?} is not what that read gives")]
    Row(Read),
    #[error("there are more answers than reads")]
    More,
    #[error("the answer to {0:?} is missing")]
    Missing(Read),
}

impl Decoder {
    /// One message of an answer. What is neither a row nor an answer's end says nothing.
    pub(crate) fn take(&mut self, frame: &Frame<'_>) -> Result<(), Undecodable> {
        match frame.tag {
            backend::DATA_ROW => {
                let read = *READS.get(self.done).ok_or(Undecodable::More)?;
                self.row(read, frame.body).ok_or(Undecodable::Row(read))
            }
            backend::COMMAND_COMPLETE if self.done < READS.len() => {
                self.done += 1;
                Ok(())
            }
            backend::COMMAND_COMPLETE => Err(Undecodable::More),
            _ => Ok(()),
        }
    }

    /// The catalog, once every read is answered.
    pub(crate) fn finish(self) -> Result<Catalog, Undecodable> {
        match READS.get(self.done) {
            Some(read) => Err(Undecodable::Missing(*read)),
            None => Ok(self.builder.build()),
        }
    }

    fn row(&mut self, read: Read, body: &[u8]) -> Option<()> {
        let values: Vec<Option<&str>> = backend::data_row(body)?
            .into_iter()
            .map(|value| value.map(std::str::from_utf8).transpose())
            .collect::<Result<_, _>>()
            .ok()?;
        self.builder.row(read, &values).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[&str]) -> Vec<u8> {
        let mut body = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
        for value in values {
            body.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
            body.extend(value.as_bytes());
        }
        body
    }

    fn frame(tag: u8, body: &[u8]) -> Frame<'_> {
        Frame { tag, body_bytes: body.len(), body }
    }

    #[test]
    fn every_read_is_answered_once() {
        let mut decoder = Decoder::default();
        decoder.take(&frame(backend::ROW_DESCRIPTION, b"")).unwrap();
        decoder.take(&frame(backend::DATA_ROW, &row(&["2200", "public"]))).unwrap();
        for read in READS {
            let partial = std::mem::take(&mut decoder);
            assert_eq!(READS.get(partial.done), Some(&read));
            decoder = partial;
            decoder.take(&frame(backend::COMMAND_COMPLETE, b"SELECT 1\0")).unwrap();
        }
        let one_more = decoder.take(&frame(backend::COMMAND_COMPLETE, b"COMMIT\0"));
        assert_eq!(one_more, Err(Undecodable::More));
        let one_more = decoder.take(&frame(backend::DATA_ROW, &row(&["1", "x"])));
        assert_eq!(one_more, Err(Undecodable::More));
        decoder.finish().unwrap();
    }

    #[test]
    fn an_answer_that_ends_early_is_no_catalog() {
        let mut decoder = Decoder::default();
        decoder.take(&frame(backend::COMMAND_COMPLETE, b"SELECT 0\0")).unwrap();
        assert_eq!(decoder.finish().err(), Some(Undecodable::Missing(READS[1])));
    }

    #[test]
    fn rows_that_are_not_what_they_should_be() {
        for body in [
            row(&["public", "2200"]),
            row(&["2200"]),
            vec![0, 9],
            row(&["2200", "\u{fffd}"])[..15].to_vec(),
        ] {
            let taken = Decoder::default().take(&frame(backend::DATA_ROW, &body));
            assert_eq!(taken, Err(Undecodable::Row(Read::Schemas)), "{body:?}");
        }
    }
}
