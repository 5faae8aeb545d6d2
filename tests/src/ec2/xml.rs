//! Answers of the EC2 API as trees that can be read, changed and written again. Attributes are dropped but for the name space.

use quick_xml::Reader;
use quick_xml::events::Event;

const NAMESPACE: &str = " xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15\"";

/// An element.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Element {
    /// Its name.
    pub name: String,
    /// Its text, without that of its children.
    pub text: String,
    /// The elements in it.
    pub children: Vec<Element>,
}

impl Element {
    /// One with text alone.
    pub fn leaf(name: &str, text: &str) -> Self {
        Self { name: name.into(), text: text.into(), children: Vec::new() }
    }

    /// One with children.
    pub fn node(name: &str, children: Vec<Self>) -> Self {
        Self { name: name.into(), text: String::new(), children }
    }

    /// The root of a document.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader::from_str(text);
        let mut open = vec![Self::default()];
        loop {
            match reader.read_event().map_err(|e| e.to_string())? {
                Event::Start(start) => open.push(Self::leaf(&name(start.local_name().as_ref()), "")),
                Event::Empty(start) => last(&mut open)?.children.push(Self::leaf(&name(start.local_name().as_ref()), "")),
                Event::Text(text) => last(&mut open)?.text.push_str(&text.xml10_content()),
                Event::GeneralRef(what) => last(&mut open)?.text.push(entity(&what)?),
                Event::End(_) => {
                    let mut done = open.pop().ok_or("an end without a start")?;
                    if !done.children.is_empty() {
                        // The indentation between children.
                        done.text.clear();
                    }
                    last(&mut open)?.children.push(done);
                }
                Event::Eof => break,
                _ => {}
            }
        }
        let top = open.pop().ok_or("nothing")?;
        if !open.is_empty() {
            return Err("it ends in the middle".into());
        }
        top.children.into_iter().next().ok_or_else(|| "no element".into())
    }

    /// The document that it is the root of.
    pub fn document(&self) -> String {
        let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        self.write(NAMESPACE, &mut out);
        out
    }

    fn write(&self, attributes: &str, out: &mut String) {
        out.extend(["<", self.name.as_str(), attributes, ">"]);
        out.push_str(&quick_xml::escape::escape(self.text.as_str()));
        self.children.iter().for_each(|child| child.write("", out));
        out.extend(["</", self.name.as_str(), ">"]);
    }

    /// A child by its name.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|c| c.name == name)
    }

    /// A child by its name, to change it.
    pub fn child_mut(&mut self, name: &str) -> Option<&mut Self> {
        self.children.iter_mut().find(|c| c.name == name)
    }

    /// The element at a path of names, `a/b/c`.
    pub fn at(&self, path: &str) -> Option<&Self> {
        path.split('/').try_fold(self, |element, name| element.child(name))
    }

    /// The text at a path; empty if there is none.
    pub fn text_at(&self, path: &str) -> &str {
        self.at(path).map_or("", |e| e.text.as_str())
    }

    /// The items of a list at a path.
    pub fn items(&self, path: &str) -> impl Iterator<Item = &Self> {
        self.at(path).into_iter().flat_map(|e| e.children.iter()).filter(|c| c.name == "item")
    }

    /// The value of a tag in a `tagSet`.
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.items("tagSet").find(|tag| tag.text_at("key") == key).map(|tag| tag.text_at("value"))
    }
}

fn last(open: &mut [Element]) -> Result<&mut Element, String> {
    open.last_mut().ok_or_else(|| "more ends than starts".into())
}

fn name(bytes: impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(bytes.as_ref()).into_owned()
}

fn entity(what: &quick_xml::events::BytesRef<'_>) -> Result<char, String> {
    if let Some(c) = what.resolve_char_ref().map_err(|e| e.to_string())? {
        return Ok(c);
    }
    match &*what.xml10_content() {
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "amp" => Ok('&'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        other => Err(format!("an unknown entity {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_survive_writing() {
        let text =
            "<?xml version=\"1.0\"?><A xmlns=\"x\"><b>1 &lt; 2 &#38; 3</b><c><item><k/></item><item><k>v</k></item></c></A>";
        let tree = Element::parse(text).unwrap();
        assert_eq!(tree.text_at("b"), "1 < 2 & 3");
        assert_eq!(tree.items("c").map(|i| i.text_at("k")).collect::<Vec<_>>(), ["", "v"]);
        assert_eq!(Element::parse(&tree.document()).unwrap(), tree);
    }

    #[test]
    fn broken_documents_are_errors() {
        for text in ["", "<a>", "<a></b>", "</a>", "<a>&nope;</a>"] {
            assert!(Element::parse(text).is_err(), "{text}");
        }
    }
}
