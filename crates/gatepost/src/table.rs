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

fn escaped(letter: char) -> String {
    letter.escape_default().to_string()
}

fn is_harmless(letter: char) -> bool {
    !letter.is_control()
        && !matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
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
        assert_eq!(block("SELECT 1\n  FROM t\u{7}", "  "), "  SELECT 1\n    FROM t\\u{7}\n");
    }
}
