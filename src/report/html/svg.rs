//! The few shapes that the pictures are made of. Text is escaped here, and nowhere is markup made of anything that comes from a run.

use std::fmt::Write;

use super::text::{Esc, Px};

#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

pub(super) fn vertical(svg: &mut String, class: &str, x: f64, from: f64, to: f64) {
    let _ = write!(svg, "<line class=\"{class}\" x1=\"{0}\" x2=\"{0}\" y1=\"{1}\" y2=\"{2}\"/>", Px(x), Px(from), Px(to));
}

pub(super) fn horizontal(svg: &mut String, class: &str, y: f64, from: f64, to: f64) {
    let _ = write!(svg, "<line class=\"{class}\" x1=\"{1}\" x2=\"{2}\" y1=\"{0}\" y2=\"{0}\"/>", Px(y), Px(from), Px(to));
}

pub(super) fn text(svg: &mut String, class: &str, anchor: Anchor, x: f64, y: f64, text: &str) {
    let anchor = match anchor {
        Anchor::Start => "",
        Anchor::Middle => " text-anchor=\"middle\"",
        Anchor::End => " text-anchor=\"end\"",
    };
    let _ = write!(svg, "<text class=\"{class}\"{anchor} x=\"{}\" y=\"{}\">{}</text>", Px(x), Px(y), Esc(text));
}

/// A box that says what it is when it is pointed at. `(x, y)` is its upper left corner.
pub(super) fn area(svg: &mut String, class: &str, (x, y): (f64, f64), (width, height): (f64, f64), tip: &str) {
    let _ = write!(svg, "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"", Px(x), Px(y), Px(width), Px(height));
    if tip.is_empty() {
        svg.push_str("/>");
    } else {
        let _ = write!(svg, "><title>{}</title></rect>", Esc(tip));
    }
}

/// A table's head: what it is a table of, for those who do not see where it stands; each column's name, and a class for columns that are not numbers.
pub(super) fn table_head(class: &str, caption: &str, columns: &[(&str, &str)]) -> String {
    let mut html = format!("<div class=\"scroll\"><table class=\"{class}\"><caption>{}</caption><thead><tr>", Esc(caption));
    for (name, of) in columns {
        let _ = match *of {
            "" => write!(html, "<th scope=\"col\">{name}</th>"),
            of => write!(html, "<th scope=\"col\" class=\"{of}\">{name}</th>"),
        };
    }
    html.push_str("</tr></thead><tbody>\n");
    html
}

pub(super) const TABLE_END: &str = "</tbody></table></div>\n";

/// A remark below a picture or a table.
pub(super) fn note(html: &mut String, text: &str) {
    let _ = writeln!(html, "<p class=\"note\">{}</p>", Esc(text));
}
