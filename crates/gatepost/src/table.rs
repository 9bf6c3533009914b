//! Rows for people to read, in columns. Whoever wrote a cell may not steer the terminal of whoever
//! reads it.

/// Lines of cells, each as wide as the widest of its column.
pub(crate) fn table<const COLUMNS: usize>(lines: &[[String; COLUMNS]]) -> String {
    let lines: Vec<Vec<String>> =
        lines.iter().map(|line| line.iter().map(|cell| plain(cell)).collect()).collect();
    let widths: Vec<usize> = (0..COLUMNS)
        .map(|column| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        })
        .collect();
    let mut text = String::new();
    for line in &lines {
        let padded: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// One line, in which nothing moves the cursor or turns the direction of writing.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|letter| if is_harmless(letter) { letter.to_string() } else { escaped(letter) })
        .collect()
}

/// The same of several lines, each behind `margin`.
pub(crate) fn block(text: &str, margin: &str) -> String {
    text.lines().map(|line| format!("{margin}{}\n", plain(line))).collect()
}

/// JSON that says the same, in which every letter is seen as what it is.
pub(crate) fn json(text: &str) -> String {
    let mut seen = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter == '\n' || is_harmless(letter) {
            seen.push(letter);
            continue;
        }
        for unit in letter.encode_utf16(&mut [0; 2]) {
            seen.push_str(&format!("\\u{unit:04x}"));
        }
    }
    seen
}

fn escaped(letter: char) -> String {
    letter.escape_default().to_string()
}

/// It is seen, where it stands, as what it is. The standard library knows what can't be printed, what
/// has no width and what is put over the letter before it; what is blank and no space it doesn't.
fn is_harmless(letter: char) -> bool {
    let is_blank = matches!(letter, '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}');
    let is_quoted = matches!(letter, '\'' | '"' | '\\');
    !is_blank && (is_quoted || letter.escape_debug().len() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns() {
        let lines = [["A".to_owned(), "B".to_owned()], ["long".to_owned(), String::new()]];
        assert_eq!(table(&lines), "A     B\nlong\n");
    }

    #[test]
    fn nothing_steers_a_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc\u{202e}d ü"), "a\\u{1b}[2Jb\\nc\\u{202e}d ü");
        for hidden in [
            '\u{ad}',
            '\u{61c}',
            '\u{180e}',
            '\u{200b}',
            '\u{2066}',
            '\u{206a}',
            '\u{a0}',
            '\u{3000}',
            '\u{fe0f}',
            '\u{336}',
            '\u{301}',
            '\u{3164}',
            '\u{2800}',
            '\u{e0041}',
            '\u{e000}',
            '\u{fff9}',
            '\u{85}',
            '\u{9b}',
        ] {
            assert!(plain(&format!("a{hidden}b")).is_ascii(), "{hidden:?}");
        }
        let seen = "SELECT 'it''s', \"é\", 'Straße', E'\\n', '日本語', 'Ω', '€', '🙂' -- x";
        assert_eq!(plain(seen), seen);
        let said = "{\n  \"sql\": \"a\u{9b}2Jb\u{202e}c\u{e0041} ü\"\n}";
        let shown = json(said);
        assert_eq!(shown, "{\n  \"sql\": \"a\\u009b2Jb\\u202ec\\udb40\\udc41 ü\"\n}");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&shown), read(said));
        assert_eq!(block("SELECT 1\n  FROM t\u{7}", "  "), "  SELECT 1\n    FROM t\\u{7}\n");
    }
}
