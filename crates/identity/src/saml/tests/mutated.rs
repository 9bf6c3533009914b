//! Responses with pieces moved, doubled and changed at random: none proves anything but what was signed.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::super::*;
use super::forge::*;
use super::{prove, right};

proptest! {
    #[test]
    fn any_bytes_get_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "\\PC{0,200}") {
        let _ = decode(&String::from_utf8_lossy(&bytes));
        let _ = prove(&text);
        let _ = prove(&around(&text));
        let _ = Described::read(&text);
        let _ = Ticket::read(&text);
        let _ = Key::of_pem(&format!("-----BEGIN CERTIFICATE-----{}-----END CERTIFICATE-----", STANDARD.encode(&bytes)));
    }

    /// Parts of a response, cut out, doubled and moved: what comes of it proves nothing, or just what
    /// was signed.
    #[test]
    fn moved_pieces_prove_nothing_else(
        moves in proptest::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<bool>()),
            1..4,
        ),
    ) {
        let evil = Forge { id: "_evil", ..forge() }.body("anna@corp.example", "admin@corp.example");
        let mut text = format!("{}{}", SIGNED.as_str(), evil.bare());
        if moves.len() % 2 == 0 {
            text = SIGNED.clone();
        }
        for (from, length, to, keeps) in moves {
            // At the edges of tags, where it may still be XML.
            let edges: Vec<usize> = text.match_indices(['<', '>']).map(|(at, it)| at + usize::from(it == ">")).collect();
            let from = edges[from.index(edges.len())];
            let behind: Vec<usize> = edges.iter().copied().filter(|it| *it > from).take(60).collect();
            let Some(end) = behind.get(length.index(behind.len().max(1))) else { continue };
            let piece = text.get(from..*end).unwrap().to_owned();
            let to = edges[to.index(edges.len())];
            text.insert_str(to, &piece);
            if !keeps {
                text = text.replacen(&piece, "", 1);
            }
        }
        if let Ok(answer) = prove(&text) {
            prop_assert_eq!(&answer, &right());
            prop_assert_eq!(answer.identity.groups, right().identity.groups);
            prop_assert_eq!(answer.identity.claims, right().identity.claims);
        }
    }

    /// A changed character in the assertion proves nothing, unless it means the same.
    #[test]
    fn changed_characters_prove_nothing_else(at in any::<prop::sample::Index>(), with in "[ -~]{0,2}") {
        let mut text = SIGNED.clone();
        let at = at.index(text.len() - 1);
        text.replace_range(at..=at, &with);
        if let Ok(answer) = prove(&text) {
            prop_assert_eq!(&answer, &right());
            prop_assert_eq!(answer.identity.groups, right().identity.groups);
            prop_assert_eq!(answer.identity.claims, right().identity.claims);
        }
    }
}

static SIGNED: LazyLock<String> = LazyLock::new(|| forge().response());
