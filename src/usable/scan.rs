//! A small scanner of tags: enough of HTML for the pages that are made here, in which every element is closed and every attribute quoted.

/// What has no content.
const VOID: [&str; 7] = ["meta", "link", "br", "input", "img", "hr", "wbr"];

#[derive(Debug, Default)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) attributes: Vec<(String, String)>,
    pub(super) parent: usize,
    /// Elements and text, in order.
    pub(super) content: Vec<Content>,
}

#[derive(Debug)]
pub(super) enum Content {
    Element(usize),
    Text(String),
}

/// Element 0 is around all others.
pub(super) struct Page {
    pub(super) elements: Vec<Element>,
    /// What is not well formed.
    pub(super) broken: Vec<String>,
}

impl Element {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn has_class(&self, class: &str) -> bool {
        self.get("class").is_some_and(|classes| classes.split_whitespace().any(|one| one == class))
    }

    /// As it may be found again.
    pub(super) fn told(&self) -> String {
        let attributes: Vec<String> = self.attributes.iter().take(3).map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        format!("<{} {}>", self.name, attributes.join(" "))
    }
}

impl Page {
    pub(super) fn of(html: &str) -> Self {
        let mut page = Self { elements: vec![Element::default()], broken: Vec::new() };
        let (mut rest, mut at) = (html, 0);
        while let Some(start) = rest.find('<') {
            page.text(at, &rest[..start]);
            rest = &rest[start + 1..];
            let tag = &rest[..end_of_tag(rest)];
            rest = rest.get(tag.len() + 1..).unwrap_or_default();
            if tag.starts_with('!') {
                continue;
            }
            if let Some(name) = tag.strip_prefix('/') {
                if page.elements[at].name == name {
                    at = page.elements[at].parent;
                } else {
                    page.broken.push(format!("</{name}> where {} is open, which is not closed", page.elements[at].told()));
                }
                continue;
            }
            let nth = page.open(at, tag);
            let name = page.elements[nth].name.clone();
            if matches!(name.as_str(), "style" | "script") {
                let end = rest.find(&format!("</{name}")).unwrap_or(rest.len());
                page.text(nth, &rest[..end]);
                rest = &rest[end..];
            }
            if !tag.ends_with('/') && !VOID.contains(&name.as_str()) {
                at = nth;
            }
        }
        if at != 0 {
            page.broken.push(format!("{} is not closed", page.elements[at].told()));
        }
        page
    }

    fn text(&mut self, within: usize, text: &str) {
        if !text.is_empty() {
            self.elements[within].content.push(Content::Text(text.to_owned()));
        }
    }

    fn open(&mut self, parent: usize, tag: &str) -> usize {
        let tag = tag.trim_end_matches('/');
        let (name, attributes) = tag.split_once(|c: char| c.is_whitespace()).unwrap_or((tag, ""));
        let nth = self.elements.len();
        self.elements.push(Element { name: name.to_owned(), attributes: attributes_of(attributes), parent, content: Vec::new() });
        self.elements[parent].content.push(Content::Element(nth));
        nth
    }

    /// Of this name, in the order of the page.
    pub(super) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (usize, &'a Element)> {
        self.elements.iter().enumerate().filter(move |(_, element)| element.name == name)
    }

    /// From its parent outwards.
    pub(super) fn around(&self, nth: usize) -> impl Iterator<Item = &Element> {
        let mut at = nth;
        std::iter::from_fn(move || {
            at = (at != 0).then(|| self.elements[at].parent)?;
            Some(&self.elements[at])
        })
    }

    pub(super) fn children(&self, nth: usize) -> impl Iterator<Item = (usize, &Element)> {
        self.elements[nth].content.iter().filter_map(|content| match content {
            Content::Element(child) => Some((*child, &self.elements[*child])),
            Content::Text(_) => None,
        })
    }

    /// All that stands in it, whoever may see it.
    pub(super) fn text_of(&self, nth: usize) -> String {
        let mut text = String::new();
        for content in &self.elements[nth].content {
            match content {
                Content::Text(part) => text.push_str(part),
                Content::Element(child) => text.push_str(&self.text_of(*child)),
            }
        }
        text.trim().to_owned()
    }
}

/// Where it closes, which is not within quotes.
fn end_of_tag(text: &str) -> usize {
    let mut is_quoted = false;
    text.find(|c| {
        is_quoted ^= c == '"';
        c == '>' && !is_quoted
    })
    .unwrap_or(text.len())
}

fn attributes_of(text: &str) -> Vec<(String, String)> {
    let mut attributes = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let name = rest[..end].to_owned();
        rest = &rest[end..];
        let mut value = String::new();
        if let Some(quoted) = rest.strip_prefix("=\"") {
            let close = quoted.find('"').unwrap_or(quoted.len());
            value = quoted[..close].to_owned();
            rest = quoted.get(close + 1..).unwrap_or_default();
        }
        attributes.push((name, value));
        rest = rest.trim_start_matches('=').trim_start();
    }
    attributes
}
