//! What a view shows: which of its columns are plain columns of what it reads, and which columns it
//! reads besides, in conditions, joins, orders and expressions. Read from the query as the server
//! keeps it (`pg_node_tree`), by its outer shape alone: what is not a plain column of the outermost
//! query counts as read elsewhere, so too much is said to be, never too little.

use std::collections::BTreeSet;
use std::ops::Range;

/// By the numbers of the server.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    /// What each column of the view is, first to last.
    pub(super) columns: Vec<Made>,
    /// Columns that the view reads in any other way; 0 is the row as a whole.
    pub(super) elsewhere: BTreeSet<(u32, u16)>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// A column of a relation, and nothing else.
    Plain(u32, u16),
    /// An expression over these.
    Of(BTreeSet<(u32, u16)>),
    /// Of what a subquery gives, or the like.
    Unknown,
}

/// Joins of joins name their columns by one another; the server nests them no deeper than this.
const JOINS_MAX: usize = 1000;

// Of what stands in FROM, by PostgreSQL's numbers.
const A_RELATION: u32 = 0;
const A_JOIN: u32 = 2;

/// `None` if it is not such a text.
pub(super) fn read(text: &str) -> Option<Shown> {
    let mut reading = Reading::default();
    for word in (Words { text, at: 0 }) {
        reading.take(word)?;
    }
    reading.open.is_empty().then(|| reading.shown())
}

#[derive(Clone, Copy, Debug)]
struct Var {
    query: usize,
    from: u32,
    column: i32,
}

#[derive(Debug, Default)]
struct Query {
    outer: Option<usize>,
    from: Vec<From>,
}

#[derive(Debug, Default)]
struct From {
    kind: u32,
    relation: u32,
    /// Of a join: what its columns are, where they are plain ones.
    aliases: Vec<Option<Var>>,
}

#[derive(Default)]
struct Reading<'t> {
    open: Vec<Frame<'t>>,
    queries: Vec<Query>,
    shows: Vec<(u32, Option<Var>, Range<usize>)>,
    elsewhere: Vec<Var>,
}

#[derive(Default)]
struct Frame<'t> {
    is_list: bool,
    kind: &'t str,
    field: &'t str,
    /// A field's name was read, and its value is next: whatever it is, it is no name.
    wants_value: bool,
    /// The query that it is in, or is.
    query: Option<usize>,
    numbers: Numbers,
    junk: bool,
    var: Option<Var>,
    aliases: Vec<Option<Var>>,
    /// How many were read elsewhere before it.
    before: usize,
}

/// Fields with a number, of whatever node.
#[derive(Default)]
struct Numbers {
    from: u32,
    column: i32,
    levels: u32,
    result: u32,
    sorted: u32,
    kind: u32,
    relation: u32,
}

impl<'t> Reading<'t> {
    fn take(&mut self, word: &'t str) -> Option<()> {
        match word {
            "(" => self.open(Frame { is_list: true, ..Frame::default() }),
            "{" => self.open(Frame::default()),
            ")" | "}" => {
                let frame = self.open.pop()?;
                (frame.is_list == (word == ")")).then_some(())?;
                self.close(frame);
            }
            word => self.atom(word)?,
        }
        Some(())
    }

    fn open(&mut self, mut frame: Frame<'t>) {
        frame.before = self.elsewhere.len();
        if let Some(parent) = self.open.last_mut() {
            parent.wants_value = false;
            frame.query = parent.query;
        }
        self.open.push(frame);
    }

    fn atom(&mut self, word: &'t str) -> Option<()> {
        let number_of_queries = self.queries.len();
        let depth = self.open.len();
        let Some(frame) = self.open.last_mut() else {
            // Behind the last one nothing comes; before the first, `<>` for none.
            return (word == "<>").then_some(());
        };
        if frame.is_list {
            // An element that is none, in a list of a join's columns.
            if word == "<>"
                && let Some(above) = depth.checked_sub(2).and_then(|at| self.open.get_mut(at))
                && above.is_aliases()
            {
                above.aliases.push(None);
            }
            return Some(());
        }
        if frame.kind.is_empty() {
            frame.kind = word;
            if word == "QUERY" {
                self.queries.push(Query { outer: frame.query, from: Vec::new() });
                frame.query = Some(number_of_queries);
            }
            return Some(());
        }
        if !frame.wants_value {
            if let Some(field) = word.strip_prefix(':') {
                frame.field = field;
                frame.wants_value = true;
            }
            return Some(());
        }
        frame.wants_value = false;
        let numbers = &mut frame.numbers;
        match (frame.kind, frame.field) {
            ("VAR", "varno") => numbers.from = word.parse().ok()?,
            ("VAR", "varattno") => numbers.column = word.parse().ok()?,
            ("VAR", "varlevelsup") => numbers.levels = word.parse().ok()?,
            ("TARGETENTRY", "resno") => numbers.result = word.parse().ok()?,
            ("TARGETENTRY", "ressortgroupref") => numbers.sorted = word.parse().ok()?,
            ("TARGETENTRY", "resjunk") => frame.junk = word == "true",
            ("RTE" | "RANGETBLENTRY", "rtekind") => numbers.kind = word.parse().ok()?,
            ("RTE" | "RANGETBLENTRY", "relid") => numbers.relation = word.parse().ok()?,
            _ => {}
        }
        Some(())
    }

    fn close(&mut self, frame: Frame<'t>) {
        if frame.is_list {
            return;
        }
        let in_list = self.open.last().is_some_and(|parent| parent.is_list);
        let above = self.open.len().checked_sub(2);
        let list_of = above.and_then(|at| self.open.get(at)).filter(|_| in_list);
        let aliases = list_of.is_some_and(Frame::is_aliases);
        let outermost = list_of.is_some_and(|list| {
            list.kind == "QUERY" && list.field == "targetList" && list.query == Some(0)
        });
        match frame.kind {
            "VAR" => {
                let Some(var) = self.var(&frame) else { return };
                if let Some(join) = above.and_then(|at| self.open.get_mut(at)).filter(|_| aliases) {
                    join.aliases.push(Some(var));
                    return;
                }
                match self.open.last_mut() {
                    Some(entry) if entry.kind == "TARGETENTRY" && entry.field == "expr" => {
                        entry.var = Some(var);
                    }
                    _ => self.elsewhere.push(var),
                }
                return;
            }
            "TARGETENTRY" if outermost && !frame.junk => {
                let made_of = frame.before..self.elsewhere.len();
                self.shows.push((frame.numbers.result, frame.var, made_of));
                // By what it is sorted or grouped by, it does more than to show it.
                self.elsewhere.extend(frame.var.filter(|_| frame.numbers.sorted != 0));
            }
            "TARGETENTRY" => self.elsewhere.extend(frame.var),
            "RTE" | "RANGETBLENTRY" => {
                let query = frame.query.and_then(|query| self.queries.get_mut(query));
                if let Some(query) = query {
                    query.from.push(From {
                        kind: frame.numbers.kind,
                        relation: frame.numbers.relation,
                        aliases: frame.aliases,
                    });
                }
            }
            _ => {}
        }
        // Something else stands for a join's column: what is in it was noted as read elsewhere.
        if let Some(join) = above.and_then(|at| self.open.get_mut(at)).filter(|_| aliases) {
            join.aliases.push(None);
        }
    }

    fn var(&self, frame: &Frame<'t>) -> Option<Var> {
        let mut query = frame.query?;
        for _ in 0..frame.numbers.levels {
            query = self.queries.get(query)?.outer?;
        }
        Some(Var { query, from: frame.numbers.from, column: frame.numbers.column })
    }

    fn shown(self) -> Shown {
        let mut shown = Shown::default();
        let mut shows = self.shows;
        shows.sort_by_key(|(result, ..)| *result);
        for (_, var, made_of) in shows {
            let made = match var {
                Some(var) => match plain(&self.queries, var, &mut shown.elsewhere) {
                    Some((relation, column)) => Made::Plain(relation, column),
                    None => Made::Unknown,
                },
                None => {
                    let of = self.elsewhere.get(made_of).unwrap_or_default().iter();
                    let mut rows = BTreeSet::new();
                    let all: Option<BTreeSet<_>> =
                        of.map(|var| plain(&self.queries, *var, &mut rows)).collect();
                    all.map_or(Made::Unknown, Made::Of)
                }
            };
            shown.columns.push(made);
        }
        for var in self.elsewhere {
            let of = plain(&self.queries, var, &mut shown.elsewhere);
            shown.elsewhere.extend(of);
        }
        shown
    }
}

/// The column of a relation that a variable is. A whole row is none, and noted.
fn plain(
    queries: &[Query],
    mut var: Var,
    elsewhere: &mut BTreeSet<(u32, u16)>,
) -> Option<(u32, u16)> {
    for _ in 0..JOINS_MAX {
        let query = queries.get(var.query)?;
        let place = usize::try_from(var.from).ok()?.checked_sub(1)?;
        let from = query.from.get(place)?;
        match (from.kind, var.column) {
            (A_RELATION, 0) => {
                elsewhere.insert((from.relation, 0));
                return None;
            }
            (A_RELATION, column) => return Some((from.relation, u16::try_from(column).ok()?)),
            (A_JOIN, 0) => {
                let all = query.from.iter().filter(|from| from.kind == A_RELATION);
                elsewhere.extend(all.map(|from| (from.relation, 0)));
                return None;
            }
            (A_JOIN, column) => {
                let place = usize::try_from(column).ok()?.checked_sub(1)?;
                var = (*from.aliases.get(place)?)?;
            }
            // What a subquery or a function gives is read there.
            _ => return None,
        }
    }
    None
}

impl Frame<'_> {
    fn is_aliases(&self) -> bool {
        matches!(self.kind, "RTE" | "RANGETBLENTRY") && self.field == "joinaliasvars"
    }
}

struct Words<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Iterator for Words<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        let bytes = self.text.as_bytes();
        while bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        let start = self.at;
        let first = *bytes.get(start)?;
        self.at += 1;
        if !matches!(first, b'(' | b')' | b'{' | b'}') {
            let mut escaped = first == b'\\';
            while let Some(byte) = bytes.get(self.at) {
                let ends = byte.is_ascii_whitespace() || matches!(byte, b'(' | b')' | b'{' | b'}');
                if ends && !escaped {
                    break;
                }
                escaped = *byte == b'\\' && !escaped;
                self.at += 1;
            }
        }
        self.text.get(start..self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "({QUERY :commandType 1 :rtable ({RANGETBLENTRY :alias {ALIAS :aliasname \
        c :colnames (\"id\" \"odd\\ :varno\")} :rtekind 0 :relid 500 :inh true}) :jointree \
        {FROMEXPR :fromlist ({RANGETBLREF :rtindex 1}) :quals WHERE} :targetList \
        ({TARGETENTRY :expr {VAR :varno 1 :varattno 2 :varlevelsup 0} :resno 1 :resname :expr \
        :ressortgroupref 0 :resorigtbl 500 :resjunk false} {TARGETENTRY :expr {FUNCEXPR :funcid 9 \
        :args ({VAR :varno 1 :varattno 3 :varlevelsup 0})} :resno 2 :ressortgroupref 0 :resjunk \
        false})})";

    #[test]
    fn plain_columns_and_what_is_read_elsewhere() {
        let shown = read(&ONE.replace("WHERE", "<>")).unwrap();
        let made = || Made::Of(BTreeSet::from([(500, 3)]));
        assert_eq!(shown.columns, [Made::Plain(500, 2), made()]);
        assert_eq!(shown.elsewhere, BTreeSet::from([(500, 3)]));
        let quals = "{OPEXPR :opno 1 :args ({VAR :varno 1 :varattno 2 :varlevelsup 0} {CONST \
                     :constvalue 4 [ 1 0 0 0 ]})}";
        let shown = read(&ONE.replace("WHERE", quals)).unwrap();
        assert_eq!(shown.elsewhere, BTreeSet::from([(500, 2), (500, 3)]));
        let sorted = ONE
            .replace("WHERE", "<>")
            .replace("ressortgroupref 0 :resorigtbl", "ressortgroupref 1 :resorigtbl");
        let shown = read(&sorted).unwrap();
        assert_eq!(shown.columns, [Made::Plain(500, 2), made()]);
        assert_eq!(shown.elsewhere, BTreeSet::from([(500, 2), (500, 3)]));
    }

    #[test]
    fn a_subquery_reads_elsewhere_and_reaches_out() {
        let below = "{SUBLINK :subselect {QUERY :rtable ({RANGETBLENTRY :rtekind 0 :relid 600}) \
                     :targetList ({TARGETENTRY :expr {VAR :varno 1 :varattno 1 :varlevelsup 0} \
                     :resno 1 :resjunk false}) :quals {OPEXPR :args ({VAR :varno 1 :varattno 4 \
                     :varlevelsup 1} {VAR :varno 1 :varattno 0 :varlevelsup 0})}}}";
        let shown = read(&ONE.replace("WHERE", below)).unwrap();
        assert_eq!(shown.columns.first(), Some(&Made::Plain(500, 2)));
        let read = [(500, 3), (500, 4), (600, 0), (600, 1)];
        assert_eq!(shown.elsewhere, BTreeSet::from(read));
    }

    #[test]
    fn a_join_names_the_columns_of_others() {
        let join = ONE
            .replace("WHERE", "<>")
            .replace(
                ":inh true}",
                ":inh true} {RTE :rtekind 2 :joinaliasvars ({VAR :varno 1 :varattno 7 \
                 :varlevelsup 0} <> {COALESCEEXPR :args ({VAR :varno 1 :varattno 8 :varlevelsup \
                 0})}) :relid 0}",
            )
            .replace("{VAR :varno 1 :varattno 2 ", "{VAR :varno 2 :varattno @ ");
        let shows = |number: &str| read(&join.replace('@', number)).unwrap();
        assert_eq!(shows("1").columns.first(), Some(&Made::Plain(500, 7)));
        assert_eq!(shows("2").columns.first(), Some(&Made::Unknown));
        assert_eq!(shows("3").columns.first(), Some(&Made::Unknown));
        assert!(shows("1").elsewhere.contains(&(500, 8)));
        assert!(shows("0").elsewhere.contains(&(500, 0)));
    }

    #[test]
    fn what_is_no_tree_shows_nothing() {
        for text in ["(", "{VAR", "}", "({QUERY :x )}", "{VAR :varno x}", "word"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read("<>"), Some(Shown::default()));
    }
}
