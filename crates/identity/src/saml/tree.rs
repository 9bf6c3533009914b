//! XML as a provider may send it: elements, attributes and text, and nothing besides. What makes two
//! readers see two documents (DTDs, entities, comments, CDATA, processing instructions) is refused
//! before anything is parsed.

use std::collections::HashSet;

use roxmltree::{Document, Node, ParsingOptions};

use super::SamlError;

pub(super) const ASSERTION: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
pub(super) const PROTOCOL: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
pub(super) const SIGNATURE: &str = "http://www.w3.org/2000/09/xmldsig#";

/// Elements inside one another.
const DEPTH_MAX: usize = 32;

/// Elements and texts of a document.
const NODES_MAX: u32 = 8192;

pub(super) fn parse(text: &str) -> Result<Document<'_>, SamlError> {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let declared = body.strip_prefix("<?xml ");
    // In well-formed XML no value and no text has a `<`, so none of these is missed.
    let beyond = declared.map_or(body, |rest| rest.split_once("?>").map_or(rest, |it| it.1));
    if beyond.contains("<!") || beyond.contains("<?") {
        return Err(SamlError::Markup);
    }
    let options = ParsingOptions { nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    let document = Document::parse_with_options(body, options).map_err(|error| match error {
        roxmltree::Error::NodesLimitReached => SamlError::TooDeep,
        _ => SamlError::NotXml,
    })?;
    // An element is its own first ancestor, and the document its last.
    let deepest = document.descendants().find(|node| node.ancestors().nth(DEPTH_MAX + 1).is_some());
    match deepest {
        Some(_) => Err(SamlError::TooDeep),
        None => Ok(document),
    }
}

/// Nothing here looks an element up by its ID; who does could find another one.
pub(super) fn has_distinct_ids(document: &Document<'_>) -> Result<(), SamlError> {
    let mut seen = HashSet::new();
    for node in document.descendants().filter(Node::is_element) {
        let ids = node.attributes().filter(|it| it.name().eq_ignore_ascii_case("id"));
        for id in ids {
            if !seen.insert(id.value()) {
                return Err(SamlError::DoubledId);
            }
        }
    }
    Ok(())
}

/// Names as they are: roxmltree's own comparisons leave out the namespace where none is given.
pub(super) trait Named<'a> {
    fn is(&self, namespace: &str, name: &str) -> bool;
    /// An attribute without a namespace.
    fn own(&self, name: &str) -> Option<&'a str>;
}

impl<'a> Named<'a> for Node<'a, '_> {
    fn is(&self, namespace: &str, name: &str) -> bool {
        let tag = self.tag_name();
        self.is_element() && tag.namespace() == Some(namespace) && tag.name() == name
    }

    fn own(&self, name: &str) -> Option<&'a str> {
        let mut attributes = self.attributes();
        let found = attributes.find(|it| it.namespace().is_none() && it.name() == name);
        found.map(|it| it.value())
    }
}

/// The child of this name, of which there may be one.
pub(super) fn only<'a, 't>(
    parent: Node<'a, 't>,
    namespace: &str,
    name: &str,
) -> Result<Option<Node<'a, 't>>, SamlError> {
    let mut found = parent.children().filter(|it| it.is(namespace, name));
    let one = found.next();
    match found.next() {
        None => Ok(one),
        Some(_) => Err(SamlError::NotAResponse),
    }
}

/// All that an element holds, where that is text: `None` if there is anything else in it.
pub(super) fn text<'a>(element: Node<'a, '_>) -> Option<&'a str> {
    let mut children = element.children();
    match (children.next(), children.next()) {
        (None, _) => Some(""),
        (Some(text), None) if text.is_text() => text.text(),
        _ => None,
    }
}
