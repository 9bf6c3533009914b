//! Keeps secrets that stand in SQL text out of records: passwords, keys, connection strings.
//!
//! It works on tokens, so it reads any statement of any version, and half a statement too. What
//! it can't be sure of it cuts: a record with a word too few is still a record, one with a
//! password in it is a leak. What a caller does with text that can't be lexed is the caller's.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::ops::Range;

use aho_corasick::AhoCorasick;

pub use crate::lex::Unlexed;
use crate::lex::{Kind, Quote, Token, token};

/// How deep texts are read that stand in texts: a function's body, SQL inside that body, what
/// it quotes. Deeper ones are cut whole where they could hold a secret.
const NESTING_MAX: usize = 6;

/// How many open parentheses are kept apart; all that is deeper shares the last one's state.
const PARENTHESES_MAX: usize = 1000;

/// Names that hold a secret wherever they are part of a longer name.
const NAME_PARTS: [&str; 14] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "credential",
    "apikey",
    "api_key",
    "api-key",
    "access_key",
    "private_key",
    "conninfo",
    "pgpass",
];

/// Names that hold a secret when they are the whole name, or its last word.
const NAME_ENDS: [&str; 3] = ["pw", "pass", "token"];

/// Besides names, what a text has in it if anything in it is a secret.
const PLACES: [&str; 15] = [
    "connection",
    "program",
    "system",
    "pgp_",
    "crypt",
    "hmac",
    "dblink",
    "postgres_fdw",
    "mapping",
    "options",
    "set_config",
    "u&\"",
    "://",
    "scram-sha-256$",
    "private key",
];

/// The names whose values are kept out: the ones built in, and those that the user adds.
#[derive(Debug)]
pub struct Patterns {
    /// Lower case.
    names: Vec<Box<str>>,
    /// Finds whether a text can hold a secret at all, so that ordinary statements cost little.
    /// `None`, should it ever be too large to build: then every text is looked at.
    gate: Option<AhoCorasick>,
}

impl Patterns {
    /// With the `names` (of columns, settings, options, variables) that hold secrets besides the
    /// ones built in. Case does not matter.
    pub fn new<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Self {
        let names: Vec<Box<str>> = names
            .into_iter()
            .map(|name| name.as_ref().to_lowercase().into_boxed_str())
            .filter(|name| !name.is_empty())
            .collect();
        let words = NAME_PARTS.iter().chain(&NAME_ENDS).chain(&PLACES).copied();
        // The gate folds ASCII only, so it can't look for a name that has other letters: it
        // would miss the upper case of one. Such a name opens the gate for every text.
        let gate = if names.iter().all(|name| name.is_ascii()) {
            AhoCorasick::builder()
                .ascii_case_insensitive(true)
                .build(words.chain(names.iter().map(|name| &**name)))
                .ok()
        } else {
            None
        };
        Self { names, gate }
    }

    /// Whether `text` has to be looked at more closely. Where it hasn't, nothing is cut out of it, if
    /// it can be lexed.
    pub fn may_hold_secret(&self, text: &str) -> bool {
        self.gate.as_ref().is_none_or(|gate| gate.is_match(text))
    }

    /// Whether what is called `name` holds a secret.
    fn name_holds_secret(&self, name: &str) -> bool {
        // The server cuts names at 63 bytes; a longer one here is no name but an attack on time.
        let name = start_of(name, 256).to_lowercase();
        NAME_PARTS.iter().any(|part| name.contains(part))
            || NAME_ENDS.iter().any(|end| {
                name.strip_suffix(end).is_some_and(|rest| !rest.ends_with(char::is_alphanumeric))
            })
            || self.names.iter().any(|own| {
                // A setting has a qualified name, `app.pin`.
                name.strip_suffix(&**own).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            })
    }
}

/// SQL text without its secrets.
#[derive(Debug, PartialEq, Eq)]
pub struct Redacted<'t> {
    pub text: Cow<'t, str>,
    /// How many secrets were cut out.
    pub count: usize,
    /// The numbers of the parameters (`$1` is 1) that stand where a secret does: their values
    /// are secrets too. Ascending.
    pub parameters: Vec<u16>,
}

/// Cuts the secrets out of `text`. Every one becomes `***` in the quotes it had.
pub fn redact<'t>(text: &'t str, patterns: &Patterns) -> Result<Redacted<'t>, Unlexed> {
    if !patterns.may_hold_secret(text) {
        let mut position = 0;
        while let Some(token) = token(text, position)? {
            position = token.end;
        }
        return Ok(Redacted { text: Cow::Borrowed(text), count: 0, parameters: Vec::new() });
    }
    let Level { mut cuts, mut parameters, .. } = read(text, patterns)?;
    parameters.sort_unstable();
    parameters.dedup();
    if cuts.is_empty() {
        return Ok(Redacted { text: Cow::Borrowed(text), count: 0, parameters });
    }
    // A text that turned out to be a secret by what follows it may hold others that were found
    // before: the outer one is cut, and counts.
    cuts.sort_by_key(|cut| (cut.span.start, Reverse(cut.span.end)));
    let mut left = String::with_capacity(text.len());
    let mut position = 0;
    let mut count = 0;
    for cut in &cuts {
        if cut.span.start < position {
            continue;
        }
        count += 1;
        left.push_str(text.get(position..cut.span.start).unwrap_or_default());
        let (open, close) = quotes(text, cut);
        left.push_str(open);
        left.push_str("***");
        left.push_str(close);
        position = cut.span.end;
    }
    left.push_str(text.get(position..).unwrap_or_default());
    Ok(Redacted { text: Cow::Owned(left), count, parameters })
}

/// A secret's place.
struct Cut {
    kind: Kind,
    span: Range<usize>,
}

fn quotes<'t>(text: &'t str, cut: &Cut) -> (&'t str, &'t str) {
    match cut.kind {
        Kind::Text(Quote::Dollar(length)) => {
            let tag = text.get(cut.span.start..cut.span.start + length).unwrap_or("'");
            (tag, tag)
        }
        Kind::Text(Quote::Escape) => ("E'", "'"),
        Kind::Text(Quote::Unicode) => ("U&'", "'"),
        Kind::Comment if text.get(cut.span.clone()).is_some_and(|c| c.starts_with("--")) => {
            ("-- ", "")
        }
        Kind::Comment => ("/* ", " */"),
        _ => ("'", "'"),
    }
}

/// Reads `text` and, with a stack of its own, the texts inside it.
fn read<'t>(text: &'t str, patterns: &Patterns) -> Result<Level<'t>, Unlexed> {
    let mut outer: Vec<Level<'t>> = Vec::new();
    let mut level = Level::new(Cow::Borrowed(text), None, true);
    loop {
        match token(&level.text, level.position) {
            Ok(Some(token)) => {
                level.position = token.end;
                if let Some(inner) = level.take(token, patterns, outer.len()) {
                    outer.push(level);
                    level = inner;
                }
            }
            end => {
                let Some(mut parent) = outer.pop() else {
                    return match end {
                        Ok(_) => Ok(level),
                        Err(unlexed) => Err(unlexed),
                    };
                };
                parent.close(level, end.is_ok());
                level = parent;
            }
        }
    }
}

/// One text that is being read: the statement, or a text inside it.
struct Level<'t> {
    text: Cow<'t, str>,
    position: usize,
    /// In the level around it, where this one stands, and what it looks like.
    stands: Option<(Token, Hint)>,
    /// Whether `text` is byte for byte what stands there, so that places in it mean something.
    verbatim: bool,
    cuts: Vec<Cut>,
    parameters: Vec<u16>,
    parentheses: Vec<Parenthesis>,
    /// Open parentheses beyond `PARENTHESES_MAX`.
    deeper: usize,
    statement: Statement,
    /// The last token that is not white space or a comment.
    last: Last,
    /// A text that the name of a secret may still follow: `'…' AS password`.
    behind: Option<Cut>,
}

/// What has been read of the present statement.
#[derive(Default)]
struct Statement {
    first: Option<Word>,
    /// CREATE or ALTER of a ROLE, USER or GROUP.
    role: bool,
    /// … USER MAPPING.
    mapping: bool,
    /// ALTER SYSTEM.
    system: bool,
    /// SET, or ALTER … SET: a value may be a bare word.
    sets: bool,
    insert: Insert,
    /// Everything that follows is taken for a secret.
    tainted: bool,
    /// The depth of parentheses at which the name of a secret was met: values that follow it
    /// are secrets, until something ends the expression.
    armed: Option<usize>,
    /// `=` or TO or the like has been read since.
    assigned: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Insert {
    #[default]
    No,
    /// Before the list of columns, or in it.
    Columns,
}

#[derive(Clone, Copy, Default)]
struct Parenthesis {
    function: Function,
    /// Commas so far, at its own depth.
    commas: u32,
    /// All in it is secret.
    secret: bool,
    /// A name that holds a secret is in it.
    names_secret: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Function {
    /// No function: a list, or an expression in parentheses.
    #[default]
    None,
    Other,
    /// The argument with this number (from 0) is secret.
    Argument(u32),
    /// The arguments from this number on are.
    From(u32),
    /// Argument 1 is, if argument 0 names a setting that is, or can't be read.
    SetConfig {
        plain: bool,
    },
    /// OPTIONS (…).
    Options,
}

enum Last {
    Start,
    Word(Word),
    /// A name in quotes, or a word that means nothing here.
    Name {
        span: Range<usize>,
        unicode: bool,
    },
    Mark(u8),
    Other,
}

/// Words that matter here.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Word {
    #[default]
    None,
    Alter,
    As,
    Assigns,
    Connection,
    Create,
    Disarms,
    Insert,
    Mapping,
    Null,
    Options,
    Password,
    Program,
    Role,
    Set,
    Starts,
    System,
    User,
    Values,
}

fn word(text: &str) -> Word {
    let mut folded = [0; 12];
    let Some(folded) = folded.get_mut(..text.len()) else { return Word::None };
    folded.copy_from_slice(text.as_bytes());
    folded.make_ascii_lowercase();
    match &*folded {
        b"alter" => Word::Alter,
        b"as" => Word::As,
        b"connection" => Word::Connection,
        b"create" => Word::Create,
        b"insert" => Word::Insert,
        b"mapping" => Word::Mapping,
        b"null" => Word::Null,
        b"options" => Word::Options,
        b"password" => Word::Password,
        b"program" => Word::Program,
        b"role" | b"group" => Word::Role,
        b"set" => Word::Set,
        b"system" => Word::System,
        b"to" | b"in" | b"like" | b"default" => Word::Assigns,
        b"user" => Word::User,
        b"values" | b"value" => Word::Values,
        b"and" | b"or" | b"from" | b"where" | b"select" | b"order" | b"limit" | b"offset"
        | b"fetch" | b"having" | b"union" | b"except" | b"intersect" | b"returning" | b"join"
        | b"declare" | b"valid" | b"sysid" | b"window" | b"return" => Word::Disarms,
        b"begin" | b"then" | b"else" | b"loop" | b"atomic" => Word::Starts,
        _ => Word::None,
    }
}

impl<'t> Level<'t> {
    fn new(text: Cow<'t, str>, stands: Option<(Token, Hint)>, verbatim: bool) -> Self {
        Self {
            text,
            position: 0,
            stands,
            verbatim,
            cuts: Vec::new(),
            parameters: Vec::new(),
            parentheses: Vec::new(),
            deeper: 0,
            statement: Statement::default(),
            last: Last::Start,
            behind: None,
        }
    }

    fn piece(&self, span: Range<usize>) -> &str {
        self.text.get(span).unwrap_or_default()
    }

    /// Reads one token. A text that has to be read by itself comes back as a level of its own.
    fn take(&mut self, token: Token, patterns: &Patterns, nesting: usize) -> Option<Level<'t>> {
        let span = token.start..token.end;
        match token.kind {
            Kind::Space => None,
            Kind::Comment => self.inside(token, patterns, nesting),
            Kind::Word => {
                self.word(span, patterns);
                None
            }
            Kind::QuotedName { unicode } => {
                self.name(span, unicode, patterns);
                None
            }
            Kind::Number => {
                let armed = self.statement.armed.is_some() && self.statement.assigned;
                if armed || self.statement.tainted || self.value_is_secret() {
                    self.cut(token.kind, span);
                }
                self.last = Last::Other;
                None
            }
            Kind::Parameter => {
                if self.text_is_secret() {
                    let digits = self.piece(token.start + 1..token.end);
                    // The server has at most 65,535 of them.
                    if let Ok(number) = digits.parse() {
                        self.parameters.push(number);
                    }
                }
                self.last = Last::Other;
                None
            }
            Kind::Mark(mark) => {
                self.mark(mark, patterns);
                None
            }
            Kind::Text(_) => {
                let secret = self.text_is_secret();
                let inner = if secret {
                    self.cut(token.kind, span.clone());
                    None
                } else {
                    self.note_setting(token, patterns);
                    self.inside(token, patterns, nesting)
                };
                self.behind = (!secret).then_some(Cut { kind: token.kind, span });
                self.last = Last::Other;
                inner
            }
        }
    }

    fn depth(&self) -> usize {
        self.parentheses.len()
    }

    fn cut(&mut self, kind: Kind, span: Range<usize>) {
        self.cuts.push(Cut { kind, span });
    }

    /// Whether a text at the present place is a secret.
    fn text_is_secret(&self) -> bool {
        let place = self.parentheses.last();
        let mapped = self.statement.mapping
            && place.is_some_and(|place| place.function == Function::Options)
            && match &self.last {
                Last::Word(Word::User) => false,
                Last::Name { span, .. } => {
                    !unquoted(self.piece(span.clone())).eq_ignore_ascii_case("username")
                }
                _ => true,
            };
        mapped
            || matches!(self.last, Last::Word(Word::Connection | Word::Program))
            || self.statement.tainted
            || self.statement.system
            || self.statement.armed.is_some()
            || place.is_some_and(Parenthesis::is_secret)
    }

    /// Whether a number, a bare word or a name at the present place is a value and a secret.
    fn value_is_secret(&self) -> bool {
        let after_password = self.statement.role && matches!(self.last, Last::Word(Word::Password));
        let set = self.statement.assigned
            && (self.statement.system || (self.statement.sets && self.statement.armed.is_some()));
        after_password || set
    }

    /// In `set_config('app.name', …)`: whether the setting is one that holds no secret.
    fn note_setting(&mut self, token: Token, patterns: &Patterns) {
        if !matches!((token.kind, &self.last), (Kind::Text(Quote::Plain), Last::Mark(b'('))) {
            return;
        }
        let setting = self.piece(token.start..token.end).trim_matches('\'');
        let harmless = !patterns.name_holds_secret(setting);
        if let Some(Parenthesis { function: Function::SetConfig { plain }, .. }) =
            self.parentheses.last_mut()
        {
            *plain = harmless;
        }
    }

    fn word(&mut self, span: Range<usize>, patterns: &Patterns) {
        let word = word(self.piece(span.clone()));
        let before = match self.last {
            Last::Word(word) => word,
            _ => Word::None,
        };
        if self.value_is_secret() && !matches!(word, Word::Null | Word::Assigns) {
            self.cut(Kind::Word, span);
            self.last = Last::Other;
            return;
        }
        if word == Word::None || word == Word::Password {
            self.name(span, false, patterns);
            if word == Word::Password {
                self.last = Last::Word(word);
            }
            self.statement.first.get_or_insert(word);
            return;
        }
        let depth = self.depth();
        let statement = &mut self.statement;
        let first = *statement.first.get_or_insert(word);
        match word {
            Word::Role | Word::User if matches!(before, Word::Create | Word::Alter) => {
                statement.role = true;
            }
            Word::Mapping if before == Word::User => {
                statement.mapping = true;
                statement.role = false;
            }
            Word::System if before == Word::Alter => statement.system = true,
            Word::Set if matches!(first, Word::Set | Word::Alter) => statement.sets = true,
            Word::Insert => statement.insert = Insert::Columns,
            Word::Values => statement.insert = Insert::No,
            Word::Assigns => statement.assigned = true,
            Word::Disarms => {
                // What was armed outside these parentheses stays so: `= (SELECT '…')`.
                if statement.armed.is_some_and(|armed| armed >= depth) {
                    statement.armed = None;
                }
                statement.insert = Insert::No;
            }
            Word::Starts => statement.first = None,
            _ => {}
        }
        if word != Word::As {
            self.behind = None;
        }
        self.last = Last::Word(word);
    }

    /// A name, in quotes or not.
    fn name(&mut self, span: Range<usize>, unicode: bool, patterns: &Patterns) {
        // `"password": "…"`.
        let quoted = self.piece(span.clone()).ends_with('"');
        let json =
            quoted && self.statement.armed.is_some() && matches!(self.last, Last::Mark(b':'));
        if json || self.value_is_secret() {
            self.cut(Kind::QuotedName { unicode }, span);
            self.last = Last::Other;
            return;
        }
        // What escapes hide in a name is not worth finding out.
        let place = self.parentheses.last().map_or(Function::None, |place| place.function);
        let name = unquoted(self.piece(span.clone()));
        let secret = unicode
            || patterns.name_holds_secret(name)
            || (place == Function::Options && option_holds_secret(name));
        if secret {
            let joined = matches!(self.last, Last::Mark(mark) if mark != b',' && mark != b'(')
                || matches!(self.last, Last::Word(Word::As));
            if joined && let Some(cut) = self.behind.take() {
                self.cuts.push(cut);
            }
            if self.statement.insert == Insert::Columns {
                self.statement.tainted = true;
            }
            if let Some(parenthesis) = self.parentheses.last_mut() {
                parenthesis.names_secret = true;
            }
            self.arm();
        }
        // Its first argument can't be read, or comes second by its name.
        if matches!((place, &self.last), (Function::SetConfig { .. }, Last::Mark(b'(')))
            && let Some(parenthesis) = self.parentheses.last_mut()
        {
            parenthesis.function = Function::From(0);
        }
        self.last = Last::Name { span, unicode };
    }

    fn mark(&mut self, mark: u8, patterns: &Patterns) {
        match mark {
            b'(' => self.open(patterns),
            b')' => self.shut(),
            b',' => {
                let depth = self.depth();
                if self.deeper == 0
                    && let Some(parenthesis) = self.parentheses.last_mut()
                {
                    parenthesis.commas = parenthesis.commas.saturating_add(1);
                }
                // `SET app.passwords = 'a', 'b'` is one value.
                let one_value = self.statement.sets && self.statement.assigned;
                if !one_value && self.statement.armed.is_some_and(|armed| armed >= depth) {
                    self.statement.armed = None;
                }
                self.behind = None;
            }
            b';' if self.parentheses.is_empty() => {
                self.statement = Statement::default();
                self.behind = None;
            }
            b'=' | b'<' | b'>' | b'~' => self.statement.assigned = true,
            _ => {}
        }
        if mark != b','
            && let Some(Parenthesis { function: Function::SetConfig { plain }, commas: 0, .. }) =
                self.parentheses.last_mut()
        {
            *plain = false;
        }
        self.last = if mark == b';' { Last::Start } else { Last::Mark(mark) };
    }

    fn open(&mut self, patterns: &Patterns) {
        let function = match &self.last {
            Last::Word(Word::Options) => Function::Options,
            Last::Name { span, unicode: false, .. } => {
                function(unquoted(self.piece(span.clone())), patterns)
            }
            Last::Name { unicode: true, .. } => Function::From(0),
            _ => Function::None,
        };
        self.behind = None;
        if self.parentheses.len() >= PARENTHESES_MAX {
            self.deeper += 1;
            self.statement.tainted = true;
            return;
        }
        let secret = self.parentheses.last().is_some_and(Parenthesis::is_secret);
        self.parentheses.push(Parenthesis { function, secret, ..Parenthesis::default() });
    }

    fn shut(&mut self) {
        if self.deeper > 0 {
            self.deeper -= 1;
            return;
        }
        let Some(parenthesis) = self.parentheses.pop() else { return };
        let depth = self.depth();
        if self.statement.armed.is_some_and(|armed| armed > depth) {
            // `(name, password) = ('…', '…')`.
            let list = parenthesis.function == Function::None && parenthesis.names_secret;
            self.statement.armed = list.then_some(depth);
        }
        if self.statement.insert == Insert::Columns {
            self.statement.insert = Insert::No;
        }
        self.behind = None;
    }

    /// The level of a text or comment that has to be read by itself, if it has to be.
    fn inside(&mut self, token: Token, patterns: &Patterns, nesting: usize) -> Option<Level<'t>> {
        let whole = token.start..token.end;
        let piece = self.piece(whole.clone());
        let (text, verbatim) = match token.kind {
            Kind::Text(Quote::Dollar(tag)) => {
                (Cow::Borrowed(piece.get(tag..piece.len() - tag).unwrap_or_default()), true)
            }
            Kind::Text(Quote::Bits) => return None,
            Kind::Text(quote) => (Cow::Owned(value(piece, quote)), false),
            _ => {
                let inner = piece.trim_start_matches("--");
                let inner = inner.strip_prefix("/*").unwrap_or(inner);
                (Cow::Borrowed(inner.strip_suffix("*/").unwrap_or(inner)), false)
            }
        };
        if !patterns.may_hold_secret(&text) {
            return None;
        }
        let hint = hint(&text, patterns);
        if hint == Hint::Secret && !verbatim || nesting + 1 >= NESTING_MAX {
            self.cut(token.kind, whole);
            return None;
        }
        let text = Cow::Owned(text.into_owned());
        if hint == Hint::Leads && token.kind != Kind::Comment {
            self.arm();
            if let Some(parenthesis) = self.parentheses.last_mut()
                && parenthesis.function != Function::None
            {
                parenthesis.secret = true;
            }
        }
        Some(Level::new(text, Some((token, hint)), verbatim))
    }

    /// Values that follow are secret: after the name of one, or after a text that ends before
    /// one, as in `'password=' || …` and `format('… PASSWORD %L', …)`.
    fn arm(&mut self) {
        let depth = self.depth();
        self.statement.armed = Some(self.statement.armed.map_or(depth, |armed| armed.min(depth)));
        self.statement.assigned = false;
    }

    /// Takes in what was found in a text of this level.
    fn close(&mut self, inner: Level<'_>, lexed: bool) {
        let Some((token, hint)) = inner.stands else { return };
        // In dollar quotes stands code, or just text: `$$host=… password=…$$`.
        let just_text = hint == Hint::Secret && inner.cuts.is_empty() && !inner.text.contains(';');
        if !lexed || just_text || (!inner.verbatim && !inner.cuts.is_empty()) {
            self.cut(token.kind, token.start..token.end);
            self.behind = None;
        } else if let Kind::Text(Quote::Dollar(tag)) = token.kind {
            let base = token.start + tag;
            self.cuts.extend(inner.cuts.into_iter().map(|cut| Cut {
                kind: cut.kind,
                span: cut.span.start + base..cut.span.end + base,
            }));
        }
    }
}

impl Parenthesis {
    fn is_secret(&self) -> bool {
        self.secret
            || match self.function {
                Function::None | Function::Other | Function::Options => false,
                Function::Argument(number) => self.commas == number,
                Function::From(number) => self.commas >= number,
                Function::SetConfig { plain } => self.commas >= 1 && !plain,
            }
    }
}

/// What the arguments of the function `name` are. The schema it is in does not matter.
fn function(name: &str, patterns: &Patterns) -> Function {
    let name = start_of(name, 64).to_ascii_lowercase();
    match &*name {
        "crypt" => Function::Argument(0),
        "encrypt" | "decrypt" | "encrypt_iv" | "decrypt_iv" | "hmac" => Function::Argument(1),
        "set_config" => Function::SetConfig { plain: false },
        "dblink_connect" | "dblink_connect_u" => Function::From(0),
        _ if name.starts_with("pgp_") => Function::From(1),
        _ if name.starts_with("dblink") || name.starts_with("postgres_fdw") => {
            Function::Argument(0)
        }
        _ if patterns.name_holds_secret(&name) => Function::From(0),
        _ => Function::Other,
    }
}

/// In OPTIONS a name that would mean little elsewhere can hold a secret.
fn option_holds_secret(name: &str) -> bool {
    let name = start_of(name, 256).to_ascii_lowercase();
    ["pass", "pw", "token", "key", "cred", "auth"].iter().any(|part| name.contains(part))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hint {
    None,
    /// It ends where a secret would begin.
    Leads,
    Secret,
}

/// Looks for a secret in a text that need not be SQL: `password=…`, `"password": "…"`,
/// `scheme://user:secret@host`, a key.
fn hint(text: &str, patterns: &Patterns) -> Hint {
    if text.starts_with("SCRAM-SHA-256$") || text.contains("PRIVATE KEY-----") {
        return Hint::Secret;
    }
    hint_of_address(text).max_by_worth(hint_of_assignment(text, patterns))
}

impl Hint {
    fn max_by_worth(self, other: Self) -> Self {
        match (self, other) {
            (Self::Secret, _) | (_, Self::Secret) => Self::Secret,
            (Self::Leads, _) | (_, Self::Leads) => Self::Leads,
            _ => Self::None,
        }
    }
}

fn hint_of_address(text: &str) -> Hint {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("://") {
        let end = after.find(|c: char| c.is_whitespace() || c == '\'' || c == '"');
        let (address, beyond) =
            after.split_at_checked(end.unwrap_or(after.len())).unwrap_or((after, ""));
        match address.split_once(':') {
            Some((_, after)) if after.contains('@') => return Hint::Secret,
            Some((user, after))
                if !user.contains(['/', '?', '#'])
                    && (after.is_empty() && beyond.is_empty() || placeholder(after)) =>
            {
                return Hint::Leads;
            }
            _ => {}
        }
        rest = beyond;
    }
    Hint::None
}

fn hint_of_assignment(text: &str, patterns: &Patterns) -> Hint {
    let mut found = Hint::None;
    let mut rest = text;
    let in_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
    while let Some(start) = rest.find(in_name) {
        let Some((_, from)) = rest.split_at_checked(start) else { break };
        let end = from.find(|c| !in_name(c)).unwrap_or(from.len());
        let Some((name, after)) = from.split_at_checked(end) else { break };
        rest = after;
        if !patterns.name_holds_secret(name) {
            continue;
        }
        let quoted = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '\\');
        let after = after.trim_start_matches(quoted);
        let Some(value) = after.strip_prefix(['=', ':']) else {
            if after.is_empty() || placeholder(after) {
                found = Hint::Leads;
            }
            continue;
        };
        let value = value.trim_start_matches(|c| quoted(c) || matches!(c, '=' | '>'));
        if value.is_empty() || placeholder(value) {
            found = Hint::Leads;
        } else if !value.starts_with(['$', ',', '}', '&', ';']) || value.starts_with("$$") {
            return Hint::Secret;
        }
    }
    found
}

/// `%L`, `%s`, `%1$I`: where `format` puts a value.
fn placeholder(text: &str) -> bool {
    text.strip_prefix('%').is_some_and(|rest| {
        rest.starts_with(['L', 's', 'I']) || rest.starts_with(|c: char| c.is_ascii_digit())
    })
}

fn unquoted(name: &str) -> &str {
    name.trim_matches('"')
}

/// The value of a text in quotes.
fn value(piece: &str, quote: Quote) -> String {
    let inner = piece.find('\'').and_then(|open| piece.get(open + 1..piece.len() - 1));
    let inner = inner.unwrap_or_default();
    if quote != Quote::Escape {
        return inner.replace("''", "'");
    }
    let mut value = String::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(c) = rest.next() {
        match c {
            '\'' => {
                // The second of two; or the end of a piece that goes on, which then begins
                // with the quote of the next one.
                value.push('\'');
                let mut ahead = rest.clone();
                if ahead.next() == Some('\'') {
                    rest = ahead;
                }
            }
            '\\' => value.push(escaped(&mut rest)),
            c => value.push(c),
        }
    }
    value
}

/// The character that `\…` stands for. One above ASCII that is written in bytes comes out wrong,
/// which hides no word of ours.
fn escaped(rest: &mut std::str::Chars<'_>) -> char {
    let Some(c) = rest.next() else { return '\\' };
    let (radix, digits_max, mut code) = match c {
        'n' => return '\n',
        't' => return '\t',
        'r' => return '\r',
        'b' | 'f' => return ' ',
        'x' => (16, 2, 0),
        'u' => (16, 4, 0),
        'U' => (16, 8, 0),
        '0'..='7' => (8, 2, c.to_digit(8).unwrap_or(0)),
        c => return c,
    };
    for _ in 0..digits_max {
        let mut ahead = rest.clone();
        let Some(digit) = ahead.next().and_then(|c| c.to_digit(radix)) else { break };
        code = code.wrapping_mul(radix).wrapping_add(digit);
        *rest = ahead;
    }
    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// At most the first `bytes` of `text`, cut between characters.
fn start_of(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

#[cfg(test)]
mod tests;
