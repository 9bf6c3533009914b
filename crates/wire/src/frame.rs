//! Frames in a stream: a tag, a length, a body.
//!
//! A [`Walker`] steps from frame to frame over whatever bytes have arrived, so that bodies which
//! nobody has to look at are moved and never collected. It decides nothing about a frame.

/// Tag and length word.
pub const HEADER_BYTES: usize = 5;

/// The longest body that PostgreSQL accepts or sends (`PQ_LARGE_MESSAGE_LIMIT`).
pub const BODY_BYTES_MAX: usize = 0x3fff_ffff;

/// A stream that is not made of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("message {tag:?} has length {length}", tag = char::from(*.tag))]
    Length { tag: u8, length: i32 },
}

/// A frame whose header, and as much of its body as was asked for, has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    pub tag: u8,
    /// Bytes of the whole body.
    pub body_bytes: usize,
    /// The part of the body that is here.
    pub body: &'a [u8],
}

/// Walks a stream of frames that arrives in pieces.
#[derive(Debug)]
pub struct Walker {
    /// Bytes of the present frame's body that have not arrived.
    rest: usize,
    /// How much of a frame's body must be here before the frame is shown.
    wanted: fn(u8) -> usize,
}

impl Walker {
    /// `wanted` says, for a tag, how many bytes of its body have to be looked at. Until they are
    /// here the frame is not shown, so the caller's buffer must be able to hold that many.
    pub fn new(wanted: fn(u8) -> usize) -> Self {
        Walker { rest: 0, wanted }
    }

    /// From the next frame on, another part of each has to be looked at.
    pub fn want(&mut self, wanted: fn(u8) -> usize) {
        self.wanted = wanted;
    }

    /// The next frame that begins in `bytes` at or after `*at`. `*at` moves over everything that
    /// is now understood: what lies before it may be passed on, what lies behind it must be kept
    /// and shown again with more bytes behind it.
    pub fn next<'a>(
        &mut self,
        bytes: &'a [u8],
        at: &mut usize,
    ) -> Result<Option<Frame<'a>>, FrameError> {
        let here = bytes.get(*at..).unwrap_or_default();
        let middle = self.rest.min(here.len());
        self.rest -= middle;
        *at += middle;
        if self.rest > 0 {
            return Ok(None);
        }
        let Some((header, body)) =
            here.get(middle..).and_then(|here| here.split_first_chunk::<HEADER_BYTES>())
        else {
            return Ok(None);
        };
        let [tag, length @ ..] = *header;
        let body_bytes = body_bytes(tag, length, BODY_BYTES_MAX)?;
        if body.len() < body_bytes.min((self.wanted)(tag)) {
            return Ok(None);
        }
        let body = body.get(..body_bytes).unwrap_or(body);
        *at += HEADER_BYTES + body.len();
        self.rest = body_bytes - body.len();
        Ok(Some(Frame { tag, body_bytes, body }))
    }

    /// Whether the stream stands between two frames, where a frame of ours may be put in.
    /// Only true of the whole stream when the caller keeps no bytes that were not walked.
    pub fn between_frames(&self) -> bool {
        self.rest == 0
    }
}

/// A whole frame at the start of `bytes`, for the login, where messages are short and answered
/// one by one. `Ok(None)` asks for more bytes.
pub fn whole(bytes: &[u8], body_bytes_max: usize) -> Result<Option<Frame<'_>>, FrameError> {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let [tag, length @ ..] = *header;
    let body_bytes = body_bytes(tag, length, body_bytes_max)?;
    Ok(bytes.get(HEADER_BYTES..HEADER_BYTES + body_bytes).map(|body| Frame {
        tag,
        body_bytes,
        body,
    }))
}

/// The body's length, judged before anything is allocated for it.
fn body_bytes(tag: u8, length: [u8; 4], max: usize) -> Result<usize, FrameError> {
    let length = i32::from_be_bytes(length);
    usize::try_from(length)
        .ok()
        .and_then(|length| length.checked_sub(4))
        .filter(|&bytes| bytes <= max)
        .ok_or(FrameError::Length { tag, length })
}

/// Appends a frame whose body `body` writes.
pub(crate) fn write(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    write_untagged(out, body);
}

/// A frame without a tag, as in the first packet of a connection.
pub(crate) fn write_untagged(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    // What we write ourselves is far shorter than 2 GB; a length that does not fit is sent as
    // one that every peer refuses.
    let length = i32::try_from(out.len() - start).unwrap_or(-1);
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// Appends a string and its terminating zero. PostgreSQL's strings can't hold a zero: what
/// follows one is left out, so that a string can't write fields of its own.
pub(crate) fn write_cstr(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(text.iter().take_while(|&&b| b != 0));
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(frames: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (tag, body) in frames {
            write(&mut out, *tag, |out| out.extend_from_slice(body));
        }
        out
    }

    type Seen = Vec<(u8, usize, Vec<u8>)>;

    /// Feeds `bytes` in pieces that end at `cuts`, as a socket would, and collects what is seen.
    fn walk(bytes: &[u8], cuts: &[usize], wanted: fn(u8) -> usize) -> (Seen, Vec<u8>) {
        let mut walker = Walker::new(wanted);
        let (mut kept, mut passed, mut seen) = (Vec::new(), Vec::new(), Vec::new());
        let mut from = 0;
        for &cut in cuts.iter().chain([&bytes.len()]) {
            kept.extend_from_slice(&bytes[from..cut]);
            from = cut;
            let mut at = 0;
            while let Some(frame) = walker.next(&kept, &mut at).unwrap() {
                let looked_at = frame.body.len().min(wanted(frame.tag));
                seen.push((frame.tag, frame.body_bytes, frame.body[..looked_at].to_vec()));
            }
            passed.extend(kept.drain(..at));
            assert!(kept.len() < HEADER_BYTES + 8, "only what is unclear may be kept");
        }
        assert!(walker.between_frames());
        (seen, passed)
    }

    proptest! {
        #[test]
        fn pieces_give_the_same_frames(
            frames in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let wanted = |tag: u8| usize::from(tag % 3);
            let bytes = stream(&frames);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let (whole, passed) = walk(&bytes, &[], wanted);
            prop_assert_eq!(&passed, &bytes);
            prop_assert_eq!(walk(&bytes, &cuts, wanted), (whole, passed));
        }

        #[test]
        fn any_bytes_are_walked_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut walker = Walker::new(|tag| usize::from(tag % 4));
            let mut at = 0;
            while let Ok(Some(frame)) = walker.next(&bytes, &mut at) {
                prop_assert!(frame.body.len() <= frame.body_bytes);
            }
            prop_assert!(at <= bytes.len());
            let _ = whole(&bytes, 100);
        }
    }

    #[test]
    fn every_split_of_a_stream_gives_the_same_frames() {
        let bytes = stream(&[
            (b'T', vec![1; 9]),
            (b'D', vec![2; 17]),
            (b'C', b"SELECT 1\0".to_vec()),
            (b'Z', b"I".to_vec()),
            (b'n', vec![]),
        ]);
        let wanted = |tag| if tag == b'Z' { 1 } else { 0 };
        let whole = walk(&bytes, &[], wanted);
        assert_eq!(whole.0.len(), 5);
        for cut in 0..=bytes.len() {
            assert_eq!(walk(&bytes, &[cut], wanted), whole, "cut at {cut}");
        }
        let every: Vec<usize> = (0..bytes.len()).collect();
        assert_eq!(walk(&bytes, &every, wanted), whole);
    }

    #[test]
    fn lengths_that_can_not_be() {
        for (length, fits) in [
            (4i32, true),
            (3, false),
            (0, false),
            (-1, false),
            (i32::MIN, false),
            (BODY_BYTES_MAX as i32 + 4, true),
            (BODY_BYTES_MAX as i32 + 5, false),
        ] {
            let mut bytes = vec![b'Q'];
            bytes.extend_from_slice(&length.to_be_bytes());
            let got = Walker::new(|_| 0).next(&bytes, &mut 0).map(|frame| frame.is_some());
            let want = if fits { Ok(true) } else { Err(FrameError::Length { tag: b'Q', length }) };
            assert_eq!(got, want, "{length}");
        }
    }

    #[test]
    fn a_whole_frame_at_its_bound_and_one_past_it() {
        let bytes = stream(&[(b'p', vec![7; 10])]);
        assert!(whole(&bytes[..14], 10).unwrap().is_none());
        assert_eq!(whole(&bytes, 10).unwrap().map(|frame| frame.body.len()), Some(10));
        assert_eq!(whole(&bytes, 9), Err(FrameError::Length { tag: b'p', length: 14 }));
    }

    #[test]
    fn a_zero_ends_a_string() {
        let mut out = Vec::new();
        write_cstr(&mut out, b"SFATAL\0Mforged");
        assert_eq!(out, b"SFATAL\0");
    }
}
