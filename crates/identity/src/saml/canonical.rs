//! Exclusive XML Canonicalization 1.0 without comments (https://www.w3.org/TR/xml-exc-c14n/) of one
//! element, for documents as [`super::tree`] lets them through. It is compared with xmlsec's in the
//! tests; if it erred, a signature would be wrong, and nothing else.

use roxmltree::{Attribute, Node, NodeId};

const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// The text of `apex` with all that is in it but `without`. Prefixes in `inclusive` are declared
/// whether they are used or not. `None` where a name can't be told from its
/// source, which no sane document comes to.
pub(super) fn canonical(
    apex: Node<'_, '_>,
    without: Option<NodeId>,
    inclusive: &[&str],
) -> Option<String> {
    let mut writing =
        Writing { out: String::new(), inclusive, declared: Vec::new(), open: Vec::new() };
    let mut step = Some(Step::Into(apex));
    while let Some(now) = step {
        step = match now {
            Step::Into(node) if Some(node.id()) == without => Some(after(node)),
            Step::Into(node) if node.is_text() => {
                escape(&mut writing.out, node.text()?, TEXT);
                Some(after(node))
            }
            Step::Into(node) => {
                writing.begin(node)?;
                Some(node.first_child().map_or(Step::Out(node), Step::Into))
            }
            Step::Out(node) => {
                writing.end(node)?;
                (node != apex).then(|| after(node))
            }
        };
    }
    Some(writing.out)
}

enum Step<'a, 't> {
    Into(Node<'a, 't>),
    Out(Node<'a, 't>),
}

/// What follows a node below the apex. Without a parent there is nothing, which is its own end.
fn after<'a, 't>(node: Node<'a, 't>) -> Step<'a, 't> {
    match node.next_sibling() {
        Some(next) => Step::Into(next),
        None => Step::Out(node.parent_element().unwrap_or(node)),
    }
}

struct Writing<'w, 'a> {
    out: String,
    inclusive: &'w [&'w str],
    /// Prefixes and what they were last declared as, of all elements that are open.
    declared: Vec<(&'a str, &'a str)>,
    /// How many there were before each element that is open.
    open: Vec<usize>,
}

impl<'a> Writing<'_, 'a> {
    fn begin(&mut self, node: Node<'a, '_>) -> Option<()> {
        let name = qualified(node)?;
        self.out.push('<');
        self.out.push_str(name);
        self.open.push(self.declared.len());
        let mut attributes = Vec::new();
        let mut used = vec![prefix(name, node.tag_name().name())?];
        for attribute in node.attributes() {
            let name = source(node, attribute.range_qname())?;
            let prefix = prefix(name, attribute.name())?;
            if !prefix.is_empty() {
                used.push(prefix);
            }
            attributes.push((attribute, name));
        }
        let listed = node.namespaces().filter_map(|it| it.name());
        let listed = listed.filter(|prefix| self.inclusive.contains(prefix));
        used.extend(listed);
        used.sort_unstable();
        used.dedup();
        for prefix in used.into_iter().filter(|it| *it != "xml") {
            self.declare(prefix, node);
        }
        let order =
            |it: &(Attribute<'a, '_>, &str)| (it.0.namespace().unwrap_or_default(), it.0.name());
        attributes.sort_by(|one, other| order(one).cmp(&order(other)));
        for (attribute, name) in attributes {
            self.attribute(name, attribute.value());
        }
        self.out.push('>');
        Some(())
    }

    /// Unless what it is said to mean around here is just that.
    fn declare(&mut self, prefix: &'a str, node: Node<'a, '_>) {
        let name = Some(prefix).filter(|it| !it.is_empty());
        let uri = node.lookup_namespace_uri(name).unwrap_or_default();
        let before = self.declared.iter().rev().find(|it| it.0 == prefix).map_or("", |it| it.1);
        if before == uri || uri == XML {
            return;
        }
        self.declared.push((prefix, uri));
        match name {
            None => self.attribute("xmlns", uri),
            Some(prefix) => self.attribute(&format!("xmlns:{prefix}"), uri),
        }
    }

    fn attribute(&mut self, name: &str, value: &str) {
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("=\"");
        escape(&mut self.out, value, VALUE);
        self.out.push('"');
    }

    fn end(&mut self, node: Node<'a, '_>) -> Option<()> {
        self.declared.truncate(self.open.pop()?);
        self.out.push_str("</");
        self.out.push_str(qualified(node)?);
        self.out.push('>');
        Some(())
    }
}

/// The name of an element as its document writes it: the tree keeps no prefixes.
fn qualified<'a>(node: Node<'a, '_>) -> Option<&'a str> {
    let tag = source(node, node.range())?.strip_prefix('<')?;
    tag.split([' ', '\t', '\r', '\n', '/', '>']).next()
}

fn source<'a>(node: Node<'a, '_>, range: std::ops::Range<usize>) -> Option<&'a str> {
    node.document().input_text().get(range)
}

/// Empty where there is none.
fn prefix<'a>(qualified: &'a str, local: &str) -> Option<&'a str> {
    match qualified.strip_suffix(local)? {
        "" => Some(""),
        prefix => prefix.strip_suffix(':'),
    }
}

const TEXT: &[(char, &str)] = &[('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('\r', "&#xD;")];
const VALUE: &[(char, &str)] = &[
    ('&', "&amp;"),
    ('<', "&lt;"),
    ('"', "&quot;"),
    ('\t', "&#x9;"),
    ('\n', "&#xA;"),
    ('\r', "&#xD;"),
];

pub(super) fn escape(out: &mut String, text: &str, how: &[(char, &str)]) {
    for character in text.chars() {
        match how.iter().find(|it| it.0 == character) {
            Some((_, written)) => out.push_str(written),
            None => out.push(character),
        }
    }
}

/// For XML that we write ourselves: right in a text and in a value.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    escape(&mut out, text, &[TEXT, VALUE].concat());
    out
}
