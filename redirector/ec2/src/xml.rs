//! EC2's answers as a tree of elements, read within bounds.
//!
//! An answer comes from a network: it may be cut, garbage, or made to hurt. Nothing here may panic, recurse without a bound, or hold
//! more than the caps allow. Attributes, comments and namespaces carry no meaning in these answers and are skipped; a document type
//! (and with it, entities of its own) is refused.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, Event};
use std::fmt;

/// Elements inside elements, at most.
pub const DEPTH_MAX: usize = 32;
/// Elements of one answer, at most: a page of instances has some 40,000.
pub const ELEMENTS_MAX: usize = 400_000;

/// One element with its text and its children, in document order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// Its name, without a namespace prefix.
    pub name: String,
    /// Its own text, without surrounding white space.
    pub text: String,
    /// The elements in it.
    pub children: Vec<Element>,
}

/// Why an answer cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadXml(pub String);

impl fmt::Display for BadXml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadXml {}

impl Element {
    /// Reads a whole document: exactly one element, complete to its end.
    pub fn parse(document: &[u8]) -> Result<Self, BadXml> {
        let text = std::str::from_utf8(document).map_err(|e| bad(format!("not UTF-8: {e}")))?;
        let mut reader = Reader::from_str(text);
        let mut open: Vec<Self> = Vec::new();
        let mut root = None;
        let mut count = 0;
        loop {
            let event = reader.read_event().map_err(|e| bad(format!("at octet {}: {e}", reader.error_position())))?;
            match event {
                Event::Start(tag) => {
                    let name = tag.local_name().into_inner().to_owned();
                    open.push(Self::begin(name, open.len(), &mut count, root.is_some())?);
                }
                Event::Empty(tag) => {
                    let name = tag.local_name().into_inner().to_owned();
                    let element = Self::begin(name, open.len(), &mut count, root.is_some())?;
                    close(element, &mut open, &mut root);
                }
                Event::End(_) => {
                    let element = open.pop().ok_or_else(|| bad("an end without a beginning"))?;
                    close(element, &mut open, &mut root);
                }
                Event::Text(text) => append(&mut open, &text)?,
                Event::CData(data) => append(&mut open, &data)?,
                Event::GeneralRef(entity) => append(&mut open, resolve(&entity)?.as_str())?,
                Event::DocType(_) => return Err(bad("a document type")),
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
                Event::Eof => break,
            }
        }
        match root {
            Some(root) if open.is_empty() => Ok(root),
            _ => Err(bad("cut short")),
        }
    }

    fn begin(name: String, depth: usize, count: &mut usize, has_root: bool) -> Result<Self, BadXml> {
        *count += 1;
        if *count > ELEMENTS_MAX {
            return Err(bad(format!("more than {ELEMENTS_MAX} elements")));
        }
        if depth >= DEPTH_MAX {
            return Err(bad(format!("more than {DEPTH_MAX} elements inside each other")));
        }
        if depth == 0 && has_root {
            return Err(bad("more than one document"));
        }
        Ok(Self { name, ..Self::default() })
    }

    /// The first child of that name.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|c| c.name == name)
    }

    /// The text at a path of names separated by `/`; none if an element is missing or the text is empty.
    pub fn text_at(&self, path: &str) -> Option<&str> {
        let mut at = self;
        for name in path.split('/') {
            at = at.child(name)?;
        }
        Some(at.text.as_str()).filter(|t| !t.is_empty())
    }

    /// The `item`s of the list with that name; none if there is no such list.
    pub fn items(&self, list: &str) -> impl Iterator<Item = &Self> {
        self.child(list).into_iter().flat_map(|l| l.children.iter().filter(|c| c.name == "item"))
    }
}

fn bad(why: impl Into<String>) -> BadXml {
    BadXml(why.into())
}

fn close(mut element: Element, open: &mut [Element], root: &mut Option<Element>) {
    element.text.truncate(element.text.trim_end().len());
    let leading = element.text.len() - element.text.trim_start().len();
    element.text.drain(..leading);
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None => *root = Some(element),
    }
}

fn append(open: &mut [Element], text: &str) -> Result<(), BadXml> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err(bad("text outside of the document")),
    }
    Ok(())
}

fn resolve(entity: &BytesRef) -> Result<String, BadXml> {
    match entity.resolve_char_ref() {
        Ok(Some(character)) => Ok(character.into()),
        Ok(None) => {
            let name: &str = entity;
            resolve_predefined_entity(name).map(str::to_owned).ok_or_else(|| bad(format!("entity {name:?}")))
        }
        Err(e) => Err(bad(e.to_string())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tree_is_read() {
        let text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a xmlns=\"u\"><x:b> one &amp; &#x32; <![CDATA[<3>]]></x:b>\
                    <set><item><id>i-1</id></item><item><id>i-2</id></item><other/></set><empty/></a>\n";
        let root = Element::parse(text.as_bytes()).unwrap();
        assert_eq!(root.name, "a");
        assert_eq!(root.text_at("b"), Some("one & 2 <3>"));
        assert_eq!(root.items("set").filter_map(|i| i.text_at("id")).collect::<Vec<_>>(), ["i-1", "i-2"]);
        assert_eq!(root.text_at("empty"), None);
        assert_eq!(root.text_at("set/none"), None);
        assert_eq!(root.items("nothing").count(), 0);
    }

    #[test]
    fn what_is_not_one_whole_document_is_refused() {
        let deep = "<a>".repeat(DEPTH_MAX + 1) + &"</a>".repeat(DEPTH_MAX + 1);
        let many = format!("<a>{}</a>", "<b/>".repeat(ELEMENTS_MAX));
        let cases: &[&[u8]] = &[
            b"",
            b"text",
            b"<a>",
            b"<a><b></a>",
            b"</a>",
            b"<a/><b/>",
            b"<a/>text",
            b"<a>&unknown;</a>",
            b"<a>&#xD800;</a>",
            b"<!DOCTYPE a [<!ENTITY b \"bbbb\">]><a>&b;</a>",
            b"<a>\xff</a>",
            b"<a><![CDATA[</a>",
            deep.as_bytes(),
            many.as_bytes(),
        ];
        for case in cases {
            let shown = String::from_utf8_lossy(case);
            assert!(Element::parse(case).is_err(), "{}", shown.get(..80).unwrap_or(&shown));
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Element::parse(&bytes);
        }

        #[test]
        fn a_cut_document_is_never_taken_for_whole(at in 0_usize..76) {
            let text = "<Response><set><item><id>i-1</id></item></set><nextToken>abc</nextToken></Response>";
            prop_assert!(Element::parse(&text.as_bytes()[..at]).is_err());
        }
    }
}
